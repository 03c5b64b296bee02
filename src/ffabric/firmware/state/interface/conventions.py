"""What a partition manager does otherwise than the rules say: which it waives, which it adds.

Software in the field is written against implementations, and these differ from the specification
and from each other. Each difference is a `Switch` (`switches.py`), a *personality* is the set of
switches of an implementation, and a system may waive or enforce single rules besides. All of that
comes down to one `Conventions` for each partition manager, in which rules are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ffabric.abi.ffa.functions import Instance
from ffabric.abi.ffa.status import Status
from ffabric.firmware.state.interface.call_table import CallTable
from ffabric.firmware.state.rules import RULES, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.abi.optee.smc import Return
    from ffabric.firmware.state.rules import Rule

_Changes = tuple[frozenset[int], frozenset[int]]
SPMC, HYPERVISOR = "spmc", "hypervisor"

_NO_STATUSES: Mapping[str, Status] = MappingProxyType({})
_NO_FEATURES: Mapping[int, int] = MappingProxyType({})
_NO_CALLS: frozenset[int] = frozenset()
_NO_CHANGES: Mapping[Instance, _Changes] = dict.fromkeys(Instance, (_NO_CALLS, _NO_CALLS))


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between an implementation in the field and the specification, or its reading.

    ``waives`` are rules that it does not judge, ``enforces`` optional ones that it does,
    ``statuses`` what it answers by other rules instead. It does not serve the calls ``withholds``;
    ``older`` calls it serves callers of versions that do not have them, too. ``answers`` are calls
    with which a direct request may be answered besides responses.
    """

    name: str
    at: tuple[str, ...]
    """Which managers it is about: ``spmc``, ``hypervisor``."""
    of: tuple[str, ...]
    """The personalities that have it."""
    differs: str
    """What differs, as a sentence."""
    source: str
    """File and function of the implementation."""
    test: str
    """The test that shows it, as pytest names it."""
    waives: tuple[str, ...] = ()
    enforces: tuple[str, ...] = ()
    statuses: Mapping[str, Status] = _NO_STATUSES
    instances: tuple[Instance, ...] = tuple(Instance)
    """The FF-A instances at which calls are withheld, or answered to older callers."""
    features: Mapping[int, int] = _NO_FEATURES
    """By function or feature ID: bits that FFA_FEATURES tells besides."""
    withholds: frozenset[int] = _NO_CALLS
    older: frozenset[int] = _NO_CALLS
    answers: frozenset[int] = _NO_CALLS


class Conventions:
    """The rules that one partition manager waives, adds, or answers otherwise.

    ``used`` counts, by rule id, the calls that a waived rule would have refused.
    """

    __slots__ = ("answers", "changes", "enforced", "features", "statuses", "used", "waived")

    def __init__(
        self,
        switches: Iterable[Switch] = (),
        *,
        waive: Iterable[str] = (),
        enforce: Iterable[str] = (),
    ) -> None:
        found = [*switches]
        self.enforced = frozenset(enforce).union(*(each.enforces for each in found))
        rules = [rule_id for each in found for rule_id in each.waives]
        self.waived = frozenset([*rules, *waive]) - self.enforced
        self.features: dict[int, int] = {}
        self.statuses: dict[str, Status] = {}
        for each in found:
            self.statuses.update(each.statuses)
            self.features.update(each.features)
        self.answers = _NO_CALLS.union(*(each.answers for each in found))
        """Calls with which a direct request may be answered besides responses."""
        self.changes = _changes(found) if found else _NO_CHANGES
        """By FF-A instance: calls that are withheld, and such that older callers may make."""
        self.used: dict[str, int] = {}

    def refuse(self, broken: Rule, *, got: Any, expected: Any) -> None:
        """Refuse the present call by a waivable rule that it breaks, unless the rule is waived."""
        assert broken.waivable, broken.id
        if broken.id not in self.waived:
            raise Refused(broken, got, expected)
        self.used[broken.id] = self.used.get(broken.id, 0) + 1

    def wants(self, rule: Rule) -> bool:
        """Whether an optional rule is judged: only where a system enforces it."""
        return rule.id in self.enforced

    def status(self, broken: Rule) -> Status | Return:
        """What a call is answered that a rule refuses."""
        return self.statuses.get(broken.id, broken.status)

    def offered(self, table: CallTable[AnyHandler]) -> CallTable[AnyHandler]:
        """The calls of an FF-A instance, as far as they are served."""
        return table if table.at is None else _changed(table, *self.changes[table.at])


def _changes(found: Sequence[Switch]) -> Mapping[Instance, _Changes]:
    return {
        instance: (
            _NO_CALLS.union(*(each.withholds for each in found if instance in each.instances)),
            _NO_CALLS.union(*(each.older for each in found if instance in each.instances)),
        )
        for instance in Instance
    }


AnyHandler = TypeVar("AnyHandler", bound="Callable[..., object]")
SPECIFICATION = Conventions()
"""Those of nobody: every rule is judged that is not optional."""


@cache
def _changed(
    table: CallTable[Any], withheld: frozenset[int], older: frozenset[int]
) -> CallTable[Any]:
    return table.changed(without=withheld, for_older=older) if withheld or older else table


def waivable() -> list[str]:
    """The ids of the rules that a system may waive."""
    return sorted(each.id for each in RULES if each.waivable)


def optional() -> list[str]:
    """The ids of the rules that are judged only where a system enforces them."""
    return sorted(each.id for each in RULES if each.optional)
