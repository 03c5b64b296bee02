"""Clauses of virtio-msg and of its bus over FF-A as rules, and what a run has said about each.

A rule binds a side: what the driver side sends is judged by the rules of drivers, what the device
side sends by those of devices, and the form of a message by rules that bind both. A rule that no
message was judged by was not exercised, which is not the same as kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.virtio_msg.generations import PR28, V2, Generation
from ffabric.abi.virtio_msg.message import Message
from ffabric.firmware.state.rules import show

TRANSPORT: Final = "virtio-msg pr28"
FFA_BUS: Final = "DEN0153, as Linux 2026 has it"
VIRTIO: Final = "virtio 1.3"
LINUX_2025: Final = "Linux of July 2025"


class Side(Enum):
    """Who has sent a message."""

    DRIVER = "driver"
    DEVICE = "device"


BOTH: Final = (Side.DRIVER, Side.DEVICE)


class Rule(Struct, frozen=True, eq=False):
    """One clause: what must hold, who is bound by it, and where it stands."""

    id: str
    sides: tuple[Side, ...]
    section: str
    text: str
    since: int = PR28.number
    until: int = V2.number
    rfc2: str = ""
    """Where it stands for rfc2; "": it does not hold there."""

    def holds(self, generation: Generation) -> bool:
        """Whether the clause is in force in a generation."""
        if generation.narrow:
            return bool(self.rfc2)
        return self.since <= generation.number <= self.until


RULES: Final[dict[str, Rule]] = {}
"""All of them, by id."""


def rule(
    sides: Side | tuple[Side, ...],
    id_: str,
    section: str,
    text: str,
    *,
    rfc2: str = "",
    **when: int,
) -> Rule:
    """Declare a rule; `since` and `until` are numbers of generations, ``rfc2`` where it has it."""
    if id_ in RULES:
        raise ValueError(f"rule {id_} is declared twice")
    bound = sides if isinstance(sides, tuple) else (sides,)
    declared = RULES[id_] = Rule(id_, bound, section, text, rfc2=rfc2, **when)
    return declared


class Verdict(Enum):
    """What is to be said of a rule after a run."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_EXERCISED = "not exercised"


class Tally(Struct):
    """How often a side was judged by a rule, and the first message that broke it."""

    rule: Rule
    side: Side
    passed: int = 0
    failed: int = 0
    first: str = ""

    @property
    def verdict(self) -> Verdict:
        """Broken once is broken."""
        if self.failed:
            return Verdict.FAILED
        return Verdict.PASSED if self.passed else Verdict.NOT_EXERCISED


class Report:
    """What is known of every rule and side."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._tallies = {
            (each.id, side): Tally(each, side)
            for each in RULES.values()
            if each.holds(generation)
            for side in each.sides
        }

    def __iter__(self) -> Iterator[Tally]:
        return iter(self._tallies.values())

    def __getitem__(self, key: tuple[str, Side]) -> Tally:
        return self._tallies[key]

    def of(self, verdict: Verdict) -> list[Tally]:
        """Those with that verdict."""
        return [each for each in self if each.verdict is verdict]

    def judge(
        self,
        broken: Rule,
        side: Side,
        holds: object,
        message: Message | str,
        *,
        got: Any = None,
        expected: Any = None,
    ) -> bool:
        """Count a message of ``side`` for or against a rule: whether it is kept.

        ``got`` and ``expected`` are the compared values, of which the first failure tells.
        """
        tally = self._tallies.get((broken.id, side))
        if tally is None:  # not of this generation
            return True
        if holds:
            tally.passed += 1
            return True
        tally.failed += 1
        if not tally.first:
            compared = "" if got is None else f": got {show(got)}, expected {show(expected)}"
            tally.first = f"{message}{compared}"
        return False

    def merge(self, others: Iterable[Report]) -> None:
        """Add what other runs have said."""
        for other in others:
            for tally in other:
                mine = self._tallies[tally.rule.id, tally.side]
                mine.passed += tally.passed
                mine.failed += tally.failed
                mine.first = mine.first or tally.first
