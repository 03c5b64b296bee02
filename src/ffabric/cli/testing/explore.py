"""``ffabric explore``: look for a schedule that breaks a scenario."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import msgspec

from ffabric.cli import json_file
from ffabric.cli.errors import UsageError
from ffabric.cli.json_file import JsonFile
from ffabric.cli.terminal import progress
from ffabric.lab.explore.scenario import ScenarioError, read_scenario
from ffabric.lab.explore.search import Found, as_test
from ffabric.lab.explore.search import explore as search
from ffabric.lab.faults.catalogue import find


def explore(
    scenario: Path,
    *,
    preemptions: int = 2,
    most: int = 100_000,
    fault: str = "",
    write: Path | None = None,
    json: JsonFile = None,
) -> int:
    """Try every schedule of a scenario that departs at most so often from the usual one.

    Invariants, crashes, deadlocks, runs without end and the scenario's own check are judged. Exit
    status 1 if a schedule breaks it, the first of those with the fewest departures, or if the
    search was given up.

    Parameters
    ----------
    scenario
        A Python file: a function system(), which returns the keywords of ffabric.boot; EVENTS and
        check(system, happened), if wanted.
    preemptions
        How often a schedule may depart from the usual one: another PE than the next in turn, an
        event.
    most
        Schedules after which to give up.
    fault
        A historical bug that our firmware is to have; ffabric faults lists them.
    write
        Where to write a test that plays the schedule again.
    json
        Where to write what was found, as JSON; "-" is standard output.
    """
    json_file.check(json)
    if preemptions < 0 or most < 1:
        raise UsageError("explore: --preemptions is 0 or more, --most 1 or more")
    try:
        found_scenario = read_scenario(scenario)
        with find(fault).on() if fault else nullcontext(), progress(sys.stderr) as say:
            began = time.monotonic()
            found = search(
                found_scenario,
                bound=preemptions,
                most=most,
                tell=lambda found: say(f"{found.schedules} schedules, {found.states} states"),
            )
            seconds = time.monotonic() - began
    except ScenarioError as error:
        raise UsageError(str(error)) from None
    except LookupError as error:
        raise UsageError(f"explore: {error.args[0]}") from None
    if json is not None:
        json_file.write(msgspec.to_builtins(found), json)
    if json != json_file.STDOUT:
        _report(found, seconds)
    if found.failure:
        test = as_test(found_scenario, found, fault)
        if write is not None:
            write.write_text(test, "utf-8")
        elif json != json_file.STDOUT:
            print(f"\n{test}", end="")
    return int(bool(found.failure) or not found.complete)


def _report(found: Found, seconds: float) -> None:
    rate = found.schedules / seconds if seconds else 0
    print(f"schedules  {found.schedules} ({rate:.0f}/s)")
    print(f"states     {found.states or 'not compared: there are images'}")
    print(f"exits      {found.exits}")
    if found.failure:
        deviations = sum(1 for each in found.choices if each)
        print(f"broken     {found.failure}")
        print(f"schedule   {found.choices} ({deviations} departure{'s' * (deviations != 1)})")
        if found.happened:
            print(f"events     {', '.join(found.happened)}")
    elif found.whole:
        print("nothing breaks it, with any number of departures")
    elif found.complete:
        print(f"nothing breaks it with up to {found.bound} departures")
    else:
        print(f"given up after {found.schedules} schedules: nothing is proved")
