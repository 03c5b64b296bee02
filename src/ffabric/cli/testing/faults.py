"""``ffabric faults``: the historical bugs that can be switched on in our firmware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.cli.errors import UsageError
from ffabric.lab.faults.catalogue import CLASSES, all_faults, find
from ffabric.lab.faults.stage import Stage

if TYPE_CHECKING:
    from ffabric.lab.faults.fault import Fault

_FAILED = 1


def faults(*what: str, check: bool = False) -> int:
    """List the bugs of FF-A software that our firmware can be given, or describe some of them.

    With ``--check``, the scenario of each is played without the bug, which must pass, and with it,
    which must fail. Exit status 1 if one does not.

    Parameters
    ----------
    what
        Names of bugs, or letters of classes (A to P); without any, all.
    check
        Play the scenarios.
    """
    chosen = _chosen(what)
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
