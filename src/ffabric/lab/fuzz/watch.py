"""Which rules have refused which calls, and which calls have passed.

A rule has *fired both ways* when it refused a call of some function, and another call of the same
function passed: it was judged, and found nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ffabric.abi.ffa.functions import FFA_ERROR
from ffabric.abi.words import MASK32
from ffabric.firmware.state.events import Refuse
from ffabric.machine.events import Call, ContextEvent, Event, Return

if TYPE_CHECKING:
    from ffabric.machine.events import Tracer

SPIN = 20_000
"""What the firmware may do within one step: more, and it goes round and round."""


class Spinning(AssertionError):  # noqa: N818 - what an assertion says
    """One step makes the firmware do more than any call can need."""


class Watch:
    """A tracer that counts; ``passing`` is another one, which hears everything too."""

    def __init__(self, passing: Tracer | None = None) -> None:
        self._passing = passing
        self.refused_calls: Counter[tuple[str, int]] = Counter()
        """How often a rule has refused a function, by (rule, function id)."""
        self.passed: Counter[int] = Counter()
        """How often a function was not refused, by its id."""
        self._made: dict[tuple[str, int], int] = {}
        """The function that a context has called, until it is refused or answered."""
        self.steps = 0
        """Events since whoever holds it has set this to 0."""

    def forget(self) -> None:
        """Begin to count again."""
        self.refused_calls, self.passed = Counter(), Counter()

    def record(self, event: Event) -> None:
        """Count ``event``."""
        self.steps += 1
        if self.steps > SPIN:
            raise Spinning(f"{SPIN} events within one step, the last {event.kind}")
        if isinstance(event, ContextEvent):
            self._count(event)
        if self._passing is not None:
            self._passing.record(event)

    def _count(self, event: ContextEvent) -> None:
        context = event.endpoint, event.vcpu
        if isinstance(event, Call):
            former = self._made.get(context)
            if former is not None:
                self.passed[former] += 1  # a gate: nobody records what it is answered
            self._made[context] = event.x[0] & MASK32
        elif isinstance(event, Refuse):
            function = self._made.pop(context, 0)
            self.refused_calls[event.rule, function] += 1
        elif isinstance(event, Return):
            function = self._made.pop(context, 0)
            if event.x[0] & MASK32 != FFA_ERROR:
                self.passed[function] += 1
