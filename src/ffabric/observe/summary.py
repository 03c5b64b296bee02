"""What a run amounted to: calls by name, switches, pages moved, rules hit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ffabric.abi.ffa.functions import function_name
from ffabric.abi.words import MASK32

_MOVES = ("share", "lend", "donate", "retrieve", "relinquish", "restore")
_NO_EVENTS = frozenset({"return", "choices"})


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

    def add(self, lines: Iterable[dict[str, Any]]) -> Summary:
        """Count ``lines`` too."""
        for line in lines:
            kind = str(line.get("kind"))
            self.nanoseconds = max(self.nanoseconds, line.get("t", 0))
            counter = _COUNTERS.get(kind)
            if counter is not None:
                counter(self, line)
            elif kind not in _NO_EVENTS:
                self.events[kind] += 1
        return self

    def _header(self, line: dict[str, Any]) -> None:
        self.before += self.nanoseconds
        self.nanoseconds = 0
        self.relays = line.get("hypervisor", False)
        self.endpoints = frozenset(line.get("endpoints", ()))

    def _call(self, line: dict[str, Any]) -> None:
        self.calls[function_name(int(line["x"][0], 16) & MASK32)] += 1
        self.callers[line["endpoint"]] += 1

    def _hop(self, _line: dict[str, Any]) -> None:
        self.hops += 1

    def _refuse(self, line: dict[str, Any]) -> None:
        self.refusals[line["rule"]] += 1

    def _world(self, _line: dict[str, Any]) -> None:
        self.world_switches += 1

    def _move(self, line: dict[str, Any]) -> None:
        whose = line.get("owner") or line["borrower"]
        if whose in self.endpoints or not self.relays:
            self.pages[line["kind"]] += sum(int(each[-1], 16) for each in line["ranges"])

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


_COUNTERS: dict[str, Callable[[Summary, dict[str, Any]], None]] = {
    "header": Summary._header,
    "call": Summary._call,
    "hop": Summary._hop,
    "refuse": Summary._refuse,
    "world": Summary._world,
    **dict.fromkeys(_MOVES, Summary._move),
}
