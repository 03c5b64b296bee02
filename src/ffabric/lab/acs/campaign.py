"""Which boots a user asks for, and running them, in several processes if there are many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from ffabric.abi.errors import DecodeError
from ffabric.lab.acs.build import VM1
from ffabric.lab.acs.console import Case, Verdict
from ffabric.lab.acs.listing import Listed, find_listing
from ffabric.lab.acs.run import Bench, Job, Settings, run_job
from ffabric.lab.processes import spread
from ffabric.system.files.images import parse_image
from ffabric.system.files.reading import IMAGE, read_bytes
from ffabric.system.options.problems import Problem, Problems, SystemErrors, did_you_mean
from ffabric.system.spec import RAM

ALL = "acs"
_NUMBERED = re.compile(r"(?:\d+[-_])?(\w+)")

Finished = tuple[Job, list[Case]]


def one_boot(bench: Bench, only: Sequence[str] = ()) -> list[Job]:
    """One boot of everything, or of the tests that ``only`` matches.

    Raises SystemErrors for a pattern that matches nothing, or if the tests are not known.
    """
    if not only:
        return [Job(ALL, bench.tests)]
    return [Job(ALL, _chosen(_known(bench), only), edited=True)]


def boot_each(bench: Bench, only: Sequence[str] = ()) -> list[Job]:
    """A boot for each test that ``only`` matches, as `one_boot`."""
    tests = _chosen(_known(bench), only)
    return [Job(each.name, (each,), edited=True) for each in tests]


def boot_images(bench: Bench, folder: Path, only: Sequence[str] = ()) -> list[Job]:
    """A boot for each image of VM1 in ``folder``, each built for one test and called by its name.

    A number before the name gives the order. Raises SystemErrors if there are no images, for
    images that cannot be booted, and for a pattern that matches none.
    """
    problems = Problems()
    (vm1,) = bench.spec.vms
    room = sum(each.size for each in vm1.memory if each.name == RAM)
    paths, tests = {}, []
    for path in sorted(folder.glob("*.bin")):
        try:
            data = read_bytes(path, IMAGE)
            if parse_image(data).end > room:
                problems.add(str(path), "", f"larger than VM1's {room:#x} bytes")
        except (OSError, DecodeError) as error:
            problems.add(str(path), "", str(error))
            continue
        match = _NUMBERED.fullmatch(path.stem)
        name = match[1] if match else path.stem
        listing = find_listing(data)
        known = {each.name: each for each in listing.tests} if listing else {}
        tests.append(known.get(name, Listed(0, name, "")))
        paths[name] = path
    if not tests:
        problems.add(str(folder), "", "no images (*.bin)")
    problems.check(SystemErrors)
    chosen = _chosen(tests, only)
    return [Job(each.name, (each,) if each.row else (), paths[each.name]) for each in chosen]


def _known(bench: Bench) -> tuple[Listed, ...]:
    if bench.tests:
        return bench.tests
    lost = [each.name for each in bench.spec.partitions if each.name not in bench.listings]
    why = f"none is found in {', '.join(lost)}" if lost else "those of the images differ"
    text = f"tests cannot be chosen without the lists of tests in the images: {why}"
    raise SystemErrors([Problem("", "", "", text)])


def _chosen(tests: Sequence[Listed], only: Sequence[str]) -> tuple[Listed, ...]:
    """The tests whose name, or whose suite's, matches one of the patterns."""
    names = {name for each in tests for name in (each.name, each.suite)}
    problems = Problems()
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in names):
            problems.add(pattern, "", f"no such test or suite{did_you_mean(pattern, names)}")
    problems.check(SystemErrors)
    return tuple(
        each
        for each in tests
        if not only or any(fnmatchcase(n, o) for n in (each.name, each.suite) for o in only)
    )


def run_jobs(
    bench: Bench,
    jobs: Sequence[Job],
    settings: Settings,
    processes: int = 1,
    on_test: Callable[[Case], object] | None = None,
) -> Iterator[Finished]:
    """Run ``jobs``, in order, each with its tests; those that a boot did not reach are booted anew.

    ``on_test`` gets each test that begins, in this process. Raises KeyboardInterrupt after Ctrl-C;
    no other process is left then.
    """
    processes = min(processes, len(jobs))
    if processes <= 1:
        for job in jobs:
            yield from run_on(bench, job, settings, on_test)
        return
    with closing(spread(partial(_work, bench, settings), jobs, processes)) as answers:
        for found in answers:
            yield from found


def _work(bench: Bench, settings: Settings, job: Job) -> list[Finished]:
    return list(run_on(bench, job, settings))


def run_on(
    bench: Bench, job: Job, settings: Settings, on_test: Callable[[Case], object] | None = None
) -> Iterator[Finished]:
    """Run ``job``; as long as it ends before its tests do, another with those that are left."""
    number = 1
    part = job
    while True:
        cases = run_job(bench, part, settings, on_test)
        names = {case.name for case in cases if case.verdict is Verdict.NOT_RUN}
        left = tuple(each for each in part.tests if each.name in names)
        if not left or len(left) == len(part.tests) or job.image or VM1 not in bench.listings:
            yield part, cases
            return
        yield part, [case for case in cases if case.name not in names]
        number += 1
        part = replace(job, name=f"{job.name}-{number}", tests=left, edited=True)
