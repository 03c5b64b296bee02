"""Refusals are rules: every check of the specification has an id, a section, versions and a status.

A rule is declared once, beside the code that judges it, and registers itself in :data:`RULES`. Code
that finds a rule broken calls :func:`refuse` with the compared values; whoever dispatched the call
turns the :class:`Refused` into ``FFA_ERROR`` and hands it to whoever watches.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NoReturn

import msgspec

from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import LATEST, V1_0
from ffabric.abi.optee.smc import Return


class Rule(msgspec.Struct, frozen=True, eq=False):
    """One check of the specification."""

    id: str
    """Dotted path: room, call, what is wrong (``mem.share.unaligned_base``)."""
    status: Status | Return
    """What the caller is answered: an FF-A status, or a code of OP-TEE."""
    section: str
    """Document and section that demand it."""
    text: str
    """The rule as a sentence: what must hold."""
    since: int = V1_0
    until: int = LATEST
    waivable: bool = False
    """Whether a system may let calls pass that break it: what comes after does not rely on it."""
    optional: bool = False
    """Whether it is judged only in systems that enforce it: the specification leaves it open."""

    def holds(self, version: int) -> bool:
        """Whether the rule is in force for a caller that negotiated ``version``."""
        return self.since <= version <= self.until


class Refused(Exception):  # noqa: N818 - a refusal is an answer of the protocol, not an error
    """A rule refused the call that is being handled."""

    def __init__(self, rule: Rule, got: Any, expected: Any) -> None:
        super().__init__(rule.id)
        self.rule = rule
        self.status = rule.status
        """What the caller is answered; a manager's `Conventions` may say another one."""
        self.got = got
        self.expected = expected

    def __deepcopy__(self, memo: dict[int, Any]) -> Refused:
        """This refusal, without the place where it was raised."""
        copied = Refused(self.rule, deepcopy(self.got, memo), deepcopy(self.expected, memo))
        copied.status = self.status
        return copied

    def __str__(self) -> str:
        return f"{self.rule.id}: got {show(self.got)}, expected {show(self.expected)}"


class Rules:
    """Every rule of the firmware, by id; importing `ffabric.RULES` loads all that declares one."""

    def __init__(self) -> None:
        self._by_id: dict[str, Rule] = {}

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, rule_id: object) -> bool:
        return rule_id in self._by_id

    def __getitem__(self, rule_id: str) -> Rule:
        return self._by_id[rule_id]

    def add(self, rule: Rule) -> Rule:
        """Register ``rule``; its id must be new."""
        if rule.id in self._by_id:
            raise ValueError(f"rule {rule.id} is declared twice")
        self._by_id[rule.id] = rule
        return rule

    def __repr__(self) -> str:
        return f"<{len(self)} rules>"


RULES = Rules()


def rule(
    rule_id: str,
    status: Status | Return,
    section: str,
    text: str,
    *,
    since: int = V1_0,
    until: int = LATEST,
    waivable: bool = False,
    optional: bool = False,
) -> Rule:
    """Declare a rule and register it."""
    return RULES.add(
        Rule(rule_id, status, section, text, since, until, waivable=waivable, optional=optional)
    )


def refuse(broken: Rule, *, got: Any = None, expected: Any = None) -> NoReturn:
    """End the handling of the present call: ``broken`` refuses it."""
    raise Refused(broken, got, expected)


def show(value: Any) -> str:
    """A compared value as a person reads it: integers in hexadecimal, sequences by item."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(show(item) for item in value) + "]"
    return str(value)
