"""Virtual time: nanoseconds since power-on, and what is due when.

Time passes only when `advance` is called. A callback runs at its deadline, that is with `now` at
it, in order of deadline and then of the calls of `at`; it may set further deadlines and cancel
others, also such as are due within the same `advance`.
"""

from bisect import bisect_left, insort
from collections.abc import Callable

FREQUENCY = 62_500_000  # of the system counter, in Hz: CNTFRQ_EL0
NS_PER_TICK = 1_000_000_000 // FREQUENCY

_NEVER = 1 << 100


class Event:
    """A callback set for a deadline (ns)."""

    __slots__ = ("callback", "deadline", "order")

    def __init__(self, deadline: int, order: int, callback: Callable[[], object]) -> None:
        self.deadline = deadline
        self.order = order
        self.callback = callback

    def __repr__(self) -> str:
        return f"<Event at {self.deadline} ns: {self.callback}>"


def _due(event: Event) -> tuple[int, int]:
    return event.deadline, event.order


class Clock:
    """The one clock of a machine.

    `now` is its time in nanoseconds, `due` when the next event is due (far away, if none is).
    """

    __slots__ = ("_events", "_order", "due", "now")

    def __init__(self) -> None:
        self.now = 0
        self._events: list[Event] = []
        self.due = _NEVER
        self._order = 0

    def at(self, deadline: int, callback: Callable[[], object]) -> Event:
        """Call `callback` when time reaches `deadline`; one that has passed is due at once.

        "At once" is the next `advance`, even by 0.
        """
        event = Event(deadline, self._order, callback)
        self._order += 1
        insort(self._events, event, key=_due)
        self.due = self._events[0].deadline
        return event

    def cancel(self, event: Event) -> None:
        """Drop an event; nothing happens if it fired or was dropped before."""
        index = bisect_left(self._events, _due(event), key=_due)
        if index < len(self._events) and self._events[index] is event:
            self._drop(index)

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass and fire what becomes due."""
        target = self.now + ns
        if self.now <= target < self.due:
            self.now = target
            return
        if ns < 0:
            raise ValueError(f"time cannot go back by {-ns} ns")
        while self.due <= target:
            event = self._events[0]
            self._drop(0)
            self.now = max(self.now, event.deadline)
            event.callback()
        self.now = max(self.now, target)

    def begin_again(self) -> None:
        """Count time from now on; what is due is as far off as it was."""
        for order, event in enumerate(self._events):
            event.deadline -= self.now
            event.order = order
        self._order = len(self._events)
        self.due = self._events[0].deadline if self._events else _NEVER
        self.now = 0

    def next_deadline(self) -> int | None:
        """The earliest deadline, None if nothing is due ever."""
        return self._events[0].deadline if self._events else None

    @property
    def events(self) -> tuple[Event, ...]:
        """What is due, the earliest first."""
        return tuple(self._events)

    def counter(self) -> int:
        """The system counter (CNTPCT_EL0): ticks of `FREQUENCY` since power-on."""
        return self.now // NS_PER_TICK

    def _drop(self, index: int) -> None:
        del self._events[index]
        self.due = self._events[0].deadline if self._events else _NEVER
