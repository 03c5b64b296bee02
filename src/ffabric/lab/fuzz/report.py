"""What episodes amount to: counts that add up, and a failure that can be brought back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from ffabric.firmware.catalogue import RULES

if TYPE_CHECKING:
    from ffabric.lab.fuzz.watch import Watch


class Report(msgspec.Struct):
    """What one or more episodes have done."""

    episodes: int = 0
    calls: int = 0
    hostile: int = 0
    """Calls of the hostile partitions."""
    errors: int = 0
    """Calls of theirs that were answered with FFA_ERROR."""
    blocked: int = 0
    """Calls of theirs that gave the PE to somebody else."""
    cycles: int = 0
    """Life cycles of memory between partitions that behave."""
    events: int = 0
    """What happened from outside: VMs that come and go, interrupts, crashes, time."""
    deaths: int = 0
    """Partitions that have died."""
    refused_calls: dict[str, int] = msgspec.field(default_factory=dict)
    """How often a rule refused a function: "rule function-id"."""
    passed: dict[str, int] = msgspec.field(default_factory=dict)
    """How often a function was not refused, by its id."""

    def add(self, other: Report) -> None:
        """Add what ``other`` counts."""
        for name in self.__struct_fields__:
            mine, more = getattr(self, name), getattr(other, name)
            if isinstance(mine, int):
                setattr(self, name, mine + more)
            else:
                for key, count in more.items():
                    mine[key] = mine.get(key, 0) + count

    def watched(self, watch: Watch) -> None:
        """Add what a tracer has counted."""
        for (rule, function), count in watch.refused_calls.items():
            key = f"{rule} {function:#x}"
            self.refused_calls[key] = self.refused_calls.get(key, 0) + count
        for function, count in watch.passed.items():
            key = f"{function:#x}"
            self.passed[key] = self.passed.get(key, 0) + count

    @property
    def refusals(self) -> Counter[str]:
        """How often each rule has refused."""
        found: Counter[str] = Counter()
        for key, count in self.refused_calls.items():
            rule, _, _ = key.partition(" ")
            found[rule] += count
        return found

    @property
    def both_ways(self) -> list[str]:
        """The rules that have refused a call of a function another call of which has passed."""
        keys = (key.partition(" ") for key in self.refused_calls)
        return sorted({rule for rule, _, function in keys if function in self.passed})

    def rows(self) -> list[tuple[str, str]]:
        """The counts for a person: (what, how much)."""
        rules = f"{len(self.refusals)} of {len(RULES)}, both ways {len(self.both_ways)}"
        return [
            ("calls", str(self.calls)),
            ("episodes", str(self.episodes)),
            ("calls of hostile partitions", str(self.hostile)),
            ("refused", str(self.errors)),
            ("rules that refused", rules),
            ("gave the PE away", str(self.blocked)),
            ("undisturbed memory life cycles", str(self.cycles)),
            ("events from outside", str(self.events)),
            ("deaths of partitions", str(self.deaths)),
        ]


class Failure(msgspec.Struct, frozen=True):
    """Something that must not be, found by an episode."""

    episode: str
    """Its name, which brings the failure back."""
    call: int
    """How many calls had been made."""
    what: str
    """What was found."""
    where: str
    """The function that noticed it: file, line and name."""

    def __str__(self) -> str:
        return f"episode {self.episode}, call {self.call}: {self.what} (in {self.where})"


class Played(msgspec.Struct, frozen=True):
    """An episode, played to its end or to what is wrong."""

    episode: str
    report: Report
    failure: Failure | None = None
