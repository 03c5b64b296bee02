"""What a run amounted to: calls by name, switches, pages moved, rules hit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ffabric.abi.ffa.calls import call_name
from ffabric.abi.words import MASK32
from ffabric.firmware.state.events import (
    BorrowerEvent,
    Donate,
    Hop,
    Lend,
    OwnerEvent,
    Refuse,
    Relinquish,
    Restore,
    Retrieve,
    Share,
    VmCreated,
    World,
)
from ffabric.machine.events import Call, Event, Record, Resume, Return
from ffabric.observe.lines import Choices, Header, Unknown

_MOVES = ("share", "lend", "donate", "retrieve", "relinquish", "restore")


class Summary(msgspec.Struct):
    """Counts over the lines of a trace, header first. It may hold several runs, one by one."""

    calls: Counter[str] = msgspec.field(default_factory=Counter)
    callers: Counter[str] = msgspec.field(default_factory=Counter)
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    pages: Counter[str] = msgspec.field(default_factory=Counter)
    events: Counter[str] = msgspec.field(default_factory=Counter)
    world_switches: int = 0
    hops: int = 0
    nanoseconds: int = 0
    """Virtual time of the present run."""
    before: int = 0
    """Virtual time of the runs before it."""
    relays: bool = False
    """A hypervisor passes memory transactions on; the SPMC's view of them is not counted again."""
    endpoints: frozenset[str] = frozenset()

    def add(self, lines: Iterable[Record]) -> Summary:
        """Count ``lines`` too."""
        for line in lines:
            if isinstance(line, Event):
                self.nanoseconds = max(self.nanoseconds, line.t)
            counter = _COUNTERS.get(type(line), Summary._event)
            counter(self, line)
        return self

    def _header(self, line: Header) -> None:
        self.before += self.nanoseconds
        self.nanoseconds = 0
        self.relays = line.hypervisor
        self.endpoints = frozenset({*line.endpoints, *line.secure})

    def _call(self, line: Call) -> None:
        self.calls[call_name(line.x[0] & MASK32)] += 1
        self.callers[line.endpoint] += 1

    def _hop(self, _line: Hop) -> None:
        self.hops += 1

    def _refuse(self, line: Refuse) -> None:
        self.refusals[line.rule] += 1

    def _world(self, _line: World) -> None:
        self.world_switches += 1

    def _owned(self, line: OwnerEvent) -> None:
        if line.owner in self.endpoints or not self.relays:
            self.pages[line.kind] += sum(count for _, count in line.ranges)

    def _borrowed(self, line: BorrowerEvent) -> None:
        if line.borrower in self.endpoints or not self.relays:
            self.pages[line.kind] += sum(count for *_, count in line.ranges)

    def _created(self, line: VmCreated) -> None:
        self.endpoints |= {line.partition}
        self._event(line)

    def _event(self, line: Event) -> None:
        self.events[line.kind] += 1

    def _unknown(self, line: Unknown) -> None:
        self.events[line.name] += 1

    def _nothing(self, _line: Record) -> None:
        """What is no event of its own."""

    def rows(self) -> list[tuple[str, str]]:
        """What to print, as (what, how much)."""
        rows = [("calls", f"{self.calls.total()} by {len(self.callers)} endpoints")]
        rows += [(f"  {name}", str(n)) for name, n in self.calls.most_common()]
        rows.append(("world switches", str(self.world_switches)))
        rows += [(f"pages: {move}", str(self.pages[move])) for move in _MOVES if self.pages[move]]
        rows += [(f"refused by {rule}", str(n)) for rule, n in sorted(self.refusals.items())]
        rows += [(f"events: {kind}", str(n)) for kind, n in sorted(self.events.items())]
        rows.append(("virtual time", f"{(self.before + self.nanoseconds) / 1e6:.3f} ms"))
        return rows


_COUNTERS: dict[type[Record], Callable[[Summary, Any], None]] = {
    Header: Summary._header,
    Call: Summary._call,
    Hop: Summary._hop,
    Refuse: Summary._refuse,
    World: Summary._world,
    **dict.fromkeys((Share, Lend, Donate, Restore), Summary._owned),
    **dict.fromkeys((Retrieve, Relinquish), Summary._borrowed),
    VmCreated: Summary._created,
    Unknown: Summary._unknown,
    **dict.fromkeys((Return, Resume, Choices), Summary._nothing),
}
