"""What episodes amount to: counts that add up, and a failure that can be brought back."""

from __future__ import annotations

from collections import Counter

import msgspec


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
    deaths: int = 0
    """Hostile partitions that died of a call."""
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    """How often each rule refused."""

    def add(self, other: Report) -> None:
        """Add what ``other`` counts."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def rows(self) -> list[tuple[str, str]]:
        """The counts for a person: (what, how much)."""
        refused = f"{self.errors}, by {len(self.refusals)} rules"
        return [
            ("calls", str(self.calls)),
            ("episodes", str(self.episodes)),
            ("calls of hostile partitions", str(self.hostile)),
            ("refused", refused if self.errors else "none"),
            ("gave the PE away", str(self.blocked)),
            ("undisturbed memory life cycles", str(self.cycles)),
            ("deaths of hostile partitions", str(self.deaths)),
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
