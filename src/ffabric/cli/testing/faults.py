"""``ffabric faults``: the historical bugs that can be switched on in our firmware."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ffabric.cli.errors import UsageError
from ffabric.lab.faults.catalogue import CLASSES, all_faults, find
from ffabric.lab.faults.stage import Stage
from ffabric.lab.fuzz.searched import searched
from ffabric.lab.processes import Players, spread

if TYPE_CHECKING:
    from ffabric.lab.faults.fault import Fault

_FAILED = 1


def faults(
    *what: str,
    check: bool = False,
    fuzz: float | None = None,
    least: int = 0,
    processes: int | None = None,
) -> int:
    """List the bugs of FF-A software that our firmware can be given, or describe some of them.

    With ``--fuzz CALLS``, each is switched on and looked for with so many random calls of hostile
    partitions, as `ffabric fuzz` makes them, and so many of ``ffabric fuzz --properties``; exit
    status 1 if fewer than ``--least`` are found.
    With ``--check``, the scenario of each is played without the bug, which must pass, and with it,
    which must fail. Exit status 1 if one does not.

    Parameters
    ----------
    what
        Names of bugs, or letters of classes (A to P); without any, all.
    check
        Play the scenarios.
    fuzz
        Look for each with so many random calls of either kind (1e4 will do).
    least
        With --fuzz: how many have to be found.
    processes
        With --fuzz: how many processes look; by default one for each CPU.
    """
    chosen = _chosen(what)
    if fuzz is not None:
        if fuzz < 1 or check:
            raise UsageError("faults: --fuzz takes at least one call, and no --check")
        return _fuzz(chosen, int(fuzz), least, Players(spread, processes))
    if least or processes is not None:
        raise UsageError("faults: --least and --processes need --fuzz CALLS")
    if check:
        return _check(chosen)
    if len(what) == 1 and chosen[0].name == what[0]:
        print("\n".join(_described(chosen[0])))
        return 0
    letter = ""
    for fault in chosen:
        if fault.class_ != letter:
            letter = fault.class_
            print(f"{letter}: {CLASSES[letter]}")
        print(f"  {fault.name:20} {fault.title}")
    return 0


def _chosen(what: tuple[str, ...]) -> list[Fault]:
    known = all_faults()
    found: dict[str, Fault] = {} if what else known
    for word in what:
        if word.upper() in CLASSES:
            found |= {name: each for name, each in known.items() if each.class_ == word.upper()}
        else:
            try:
                found[word] = find(word)
            except LookupError as error:
                raise UsageError(f"faults: {error.args[0]}") from None
    return [*found.values()]


def _described(fault: Fault) -> list[str]:
    lines = [f"{fault.name} ({fault.class_}: {CLASSES[fault.class_]})", ""]
    lines += [*fault.text.splitlines(), "", f"Found in: {fault.source}"]
    return lines + [f"Changes:  {each}" for each in fault.places]


def _fuzz(chosen: list[Fault], calls: int, least: int, players: Players) -> int:
    found: dict[str, int] = {}
    there = Counter(fault.class_ for fault in chosen)
    results = searched([fault.name for fault in chosen], calls, players)
    for fault, result in zip(chosen, results, strict=True):
        failure = result.failure
        word = "-" if failure is None else f"call {result.calls}: {failure.what}"
        print(f"{fault.class_} {fault.name:20} {word}", flush=True)
        found[fault.class_] = found.get(fault.class_, 0) + (failure is not None)
    classes = ", ".join(f"{letter} {found[letter]} of {there[letter]}" for letter in there)
    total = sum(found.values())
    print(f"found {total} of {len(chosen)} within {calls} calls each: {classes}")
    return _FAILED if total < least else 0


def _check(chosen: list[Fault]) -> int:
    failed = 0
    for fault in chosen:
        with Stage() as stage:
            fault.scenario(stage)
        killed = _kills(fault)
        failed += not killed
        print(f"{'killed' if killed else 'LIVES ':6} {fault.class_} {fault.name}")
    print(f"{len(chosen) - failed} of {len(chosen)} are killed by their scenarios")
    return _FAILED if failed else 0


def _kills(fault: Fault) -> bool:
    with fault.on(), Stage() as stage:
        try:
            fault.scenario(stage)
        except Exception:  # noqa: BLE001 - whatever a bug makes of the firmware
            return True
    return False
