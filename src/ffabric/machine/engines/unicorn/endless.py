"""What never ends by itself: exceptions upon exceptions, and computing without a call.

**Exceptions without end.** A vCPU without working vectors takes an exception at the first
instruction of its vector, for ever; one whose handler faults, or whose handler returns to what it
has not mended, goes through a few instructions each time. Both are told from software that handles
many exceptions by what repeats: `_TIGHT` exceptions in a row of the level that takes them, each at
the first instruction after the one before; or `_LOOSE` exceptions in a row, each of the level that
takes it, or the same as the one before at the same instruction. A row ends with a call, with WFI,
with an exception that is neither, and with an SVC, which is how some systems yield.

**Wedged.** Software that executes more instructions than `limit` without a call (SMC or HVC; SVC
where there is no EL1) is taken for one that never makes another. What it executes then is sampled
`SAMPLES` times, at distances that share no factor with short loops.
"""

from __future__ import annotations

from collections import Counter

from ffabric.machine.engines.unicorn.fault_report import ExceptionState

SAMPLES = 32
SAMPLE_DISTANCE = 997
"""Instructions between two samples."""

_NEVER = 1 << 62
_TIGHT = 16
_LOOSE = 20_000
_EC_SHIFT, _EC_SVC = 26, 0x15


class Exceptions:
    """The present row of exceptions."""

    __slots__ = ("_at", "_called_at", "_last", "_loose", "_tight", "first")

    def __init__(self) -> None:
        self.first = ExceptionState(0, 0)
        """The exception that began the row."""
        self._last = (-1, -1)
        self._at = -1
        self._called_at = -1
        self._tight = 0
        self._loose = 0

    def ends(self) -> None:
        """The vCPU has waited: the row has come to its end."""
        self._loose = self._tight = 0

    def unending(
        self, taken: ExceptionState, instructions: int, called_at: int, *, same_level: bool
    ) -> bool:
        """Another exception, after so many `instructions` in all: whether the row has no end.

        `called_at`: how many instructions it had executed at its last call.
        """
        if called_at != self._called_at:
            self._called_at = called_at
            self.ends()
        this = taken.pc, taken.esr
        svc = taken.esr >> _EC_SHIFT == _EC_SVC
        if same_level and instructions - self._at <= 1:
            self._tight += 1
        elif not svc and (same_level or this == self._last):
            self._tight = 0
        else:
            self.ends()
        if not self._loose:
            self.first = taken
        self._loose += 1
        self._last = this
        self._at = instructions
        return self._tight >= _TIGHT or self._loose >= _LOOSE


class Wedge:
    """How long a vCPU has made no call; `limit` 0: it may compute for ever."""

    __slots__ = ("_samples", "_since", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit or _NEVER
        self._samples: list[int] = []
        self._since = -1

    def budget(self, quiet: int, most: int) -> int:
        """How many instructions, at `most`, it may execute before it is looked at.

        It has executed `quiet` of them since its last call.
        """
        left = self.limit - quiet
        return min(most, left if left > 0 else SAMPLE_DISTANCE)

    def sample(self, pc: int, called_at: int) -> bool:
        """It is at `pc` beyond its limit: whether it has been sampled often enough.

        `called_at`: how many instructions it had executed at its last call.
        """
        if self._since != called_at:
            self._since = called_at
            self._samples.clear()
        self._samples.append(pc)
        return len(self._samples) >= SAMPLES

    def pcs(self) -> list[tuple[int, int]]:
        """The program counters that were sampled and how often, the most frequent first."""
        return Counter(self._samples).most_common()
