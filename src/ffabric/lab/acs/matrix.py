"""The suite in every form: builds, in one boot and in a boot for each test, by personalities.

What differs between two forms of a build has a reason: a row of `reasons`, or a test that failed
earlier in the same boot. The latter is found out: a third form boots the system anew after each
test that does not pass. A test that passes there and not in one boot follows from one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from ffabric.firmware.state.interface.switches import SPEC
from ffabric.lab.acs import reasons
from ffabric.lab.acs.build import Build
from ffabric.lab.acs.campaign import boot_each, one_boot, run_on
from ffabric.lab.acs.console import GOOD, Case, Verdict
from ffabric.lab.acs.run import Bench, Job, Settings, make_bench
from ffabric.lab.processes import spread

ONE_BOOT, AFTER_FAILURE, PER_TEST = "one boot", "boot after failure", "boot per test"
FORMS = (ONE_BOOT, AFTER_FAILURE, PER_TEST)
PERSONALITIES = {
    "s-el2": ((SPEC,), ("hafnium",)),
    "s-el1": ((SPEC,), ("optee-spmc",)),
    "el3": ((SPEC,), ("tf-a-el3",)),
}
"""Where the SPMC runs -> the specification, and the implementation that runs there."""
FOLLOWS = "a test before it in the same boot failed: booted anew after each failure, it passes"
UNKNOWN = "no reason is known"


class Column(msgspec.Struct, frozen=True):
    """A build in one form, under one personality or several together."""

    build: Build
    form: str
    personality: tuple[str, ...]

    @property
    def runs(self) -> tuple[Path, tuple[str, ...]]:
        """What the forms of a build under a personality have in common."""
        return self.build.folder, self.personality

    def folder(self, logs: Path | None) -> Path | None:
        """Where its boots leave their logs."""
        names = (
            self.build.folder.resolve().name,
            "+".join(self.personality),
            self.form.replace(" ", "-"),
        )
        return None if logs is None else logs.joinpath(*names)


class Result(msgspec.Struct):
    """What came out of a column; `boots` is how many it took."""

    column: Column
    boots: int
    cases: list[Case]

    def add(self, cases: Sequence[Case]) -> None:
        """What came out of one more boot."""
        self.boots += 1
        self.cases += cases

    @property
    def failed(self) -> list[Case]:
        """The tests that did not pass and were not skipped."""
        return [case for case in self.cases if case.verdict not in GOOD]

    def unverified(self) -> tuple[int, int]:
        """Of the tests that nobody has seen pass, says the suite: (passed, run here)."""
        listed = self.column.build.unverified
        found = [case.verdict for case in self.cases if case.name in listed]
        return found.count(Verdict.PASSED), len(found)


class Why(NamedTuple):
    """Why tests fail in some of the columns; `by` is whose it is, "": nobody knows."""

    text: str
    by: str
    columns: list[Column]
    tests: list[str]


_Key = tuple[int, str]
"""The number of a build and personality, and a form."""


def run(
    builds: Sequence[Build],
    settings: Settings,
    *,
    only: Sequence[str] = (),
    personality: Sequence[str] = (),
    processes: int = 1,
    on_boot: Callable[[int, int], object] = lambda _done, _of: None,
) -> list[Result]:
    """All forms of ``builds``, under a ``personality`` or those of `PERSONALITIES`.

    ``on_boot`` gets how many jobs are done, and of how many.

    Raises SystemErrors for a build that cannot be run, and for a pattern in ``only`` that matches
    none of its tests; KeyboardInterrupt after Ctrl-C.
    """
    pairs = [
        (build, each, make_bench(build, each))
        for build in builds
        for each in ([tuple(personality)] if personality else PERSONALITIES[build.spmc_level])
    ]
    benches = [bench for _, _, bench in pairs]

    def play(forms: Sequence[_Key]) -> dict[_Key, Result]:
        """Run pairs in forms."""
        tasks = [(key, job) for key in forms for job in _jobs(benches[key[0]], key[1], only)]
        found = {
            key: Result(Column(pairs[key[0]][0], key[1], pairs[key[0]][1]), 0, []) for key in forms
        }
        logs = {key: found[key].column.folder(settings.logs) for key in forms}
        work = partial(_work, benches, settings, logs)
        with closing(spread(work, tasks, processes)) as answers:
            for number, ((key, _), answer) in enumerate(zip(tasks, answers, strict=True), 1):
                for cases in answer:
                    found[key].add(cases)
                on_boot(number, len(tasks))
        return found

    numbers = range(len(pairs))
    found = play([(number, form) for form in (ONE_BOOT, PER_TEST) for number in numbers])
    failing = [number for number in numbers if found[number, ONE_BOOT].failed]
    if failing:
        found |= play([(number, AFTER_FAILURE) for number in failing])
    keys = [(number, form) for number in numbers for form in FORMS]
    return [found[key] for key in keys if key in found]


def _jobs(bench: Bench, form: str, only: Sequence[str]) -> list[Job]:
    if form == PER_TEST:
        return boot_each(bench, only)
    (job,) = one_boot(bench, only)
    if form == ONE_BOOT:
        return [job]
    return [msgspec.structs.replace(job, stop_on_failure=True)]


def _work(
    benches: Sequence[Bench],
    settings: Settings,
    logs: dict[_Key, Path | None],
    task: tuple[_Key, Job],
) -> list[list[Case]]:
    key, job = task
    theirs = msgspec.structs.replace(settings, logs=logs[key])
    return [cases for _, cases in run_on(benches[key[0]], job, theirs)]


def explain(results: Sequence[Result]) -> list[Why]:
    """Why tests fail, each reason once, those that are not known last."""
    found: dict[tuple[str, str], Why] = {}
    alone = {
        (result.column.build.folder, result.column.personality): {
            case.name for case in result.failed
        }
        for result in results
        if result.column.form == AFTER_FAILURE
    }
    for result in results:
        column = result.column
        failing = alone.get(column.runs, set())
        for case in result.failed:
            text, by = _reason(case, column, failing)
            why = found.setdefault((text, by), Why(text, by, [], []))
            if column not in why.columns:
                why.columns.append(column)
            if case.name not in why.tests:
                why.tests.append(case.name)
    return sorted(found.values(), key=lambda why: not why.by)


def _reason(case: Case, column: Column, failing_alone: set[str]) -> tuple[str, str]:
    """The reason and whose it is."""
    for row in reasons.known():
        if row.holds(case.name, column.build, column.form, column.personality):
            return row.text, row.by
    if column.form == ONE_BOOT and case.name not in failing_alone:
        return FOLLOWS, "an earlier test"
    return UNKNOWN, ""


def left_behind(results: Sequence[Result]) -> Iterator[tuple[str, list[str]]]:
    """(Test, what it has left behind) of those that fail where another follows from it."""
    seen: dict[str, list[str]] = {}
    for result in results:
        if result.column.form == AFTER_FAILURE:
            seen |= {case.name: case.left for case in result.failed if case.left}
    yield from seen.items()
