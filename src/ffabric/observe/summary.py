"""What a run amounted to: calls, switches, pages moved, rules hit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from ffabric.abi.ffa.functions import function_name

_MOVES = ("share", "lend", "donate", "retrieve", "relinquish", "restore")


class Summary(msgspec.Struct):
    """Counts over the lines of a trace."""

    calls: Counter[str] = msgspec.field(default_factory=Counter)
    callers: Counter[str] = msgspec.field(default_factory=Counter)
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    pages: Counter[str] = msgspec.field(default_factory=Counter)
    events: Counter[str] = msgspec.field(default_factory=Counter)
    world_switches: int = 0
    hops: int = 0
    nanoseconds: int = 0

    def add(self, lines: Iterable[dict[str, Any]]) -> Summary:
        """Count ``lines`` too."""
        for line in lines:
            kind = line.get("kind")
            self.nanoseconds = max(self.nanoseconds, line.get("t", 0))
            if kind == "call":
                self.calls[function_name(int(line["x"][0], 16) & 0xFFFFFFFF)] += 1
                self.callers[line["endpoint"]] += 1
            elif kind == "hop":
                self.hops += 1
            elif kind == "refuse":
                self.refusals[line["rule"]] += 1
            elif kind == "world":
                self.world_switches += 1
            elif kind in _MOVES:
                self.pages[kind] += sum(int(each[-1], 16) for each in line["ranges"])
            elif kind not in ("return", "header", "choices"):
                self.events[str(kind)] += 1
        return self

    def rows(self) -> list[tuple[str, str]]:
        """What to print, as (what, how much)."""
        rows = [
            ("calls", f"{self.calls.total()} by {len(self.callers)} endpoints"),
            ("world switches", str(self.world_switches)),
        ]
        rows += [(f"pages: {move}", str(self.pages[move])) for move in _MOVES if self.pages[move]]
        rows += [(f"refused by {rule}", str(n)) for rule, n in sorted(self.refusals.items())]
        rows.append(("virtual time", f"{self.nanoseconds / 1e6:.3f} ms"))
        return rows
