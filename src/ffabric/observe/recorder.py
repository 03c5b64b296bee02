"""What is kept of a system in case something goes wrong: its last calls and refusals, undecoded.

The registers of a call are copied into a ring when it is made, and those with which the PE goes on
if they are not just the same message, delivered. So a direct request and its response cost two
copies. Nothing is decoded before somebody asks.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state import events
from ffabric.firmware.state.rules import Refused, show
from ffabric.machine.context import X0_TO_X17
from ffabric.machine.events import Call, Event, Resume, Return
from ffabric.machine.machine import CALLS, FAULTS, GOES_ON, Kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE, Context
    from ffabric.system.crash import PartitionCrashed
    from ffabric.system.system import System

KEPT = 64
"""Calls and answers that are kept."""
SHOWN = 20
"""Calls that are shown of them."""
MOST_REFUSALS = 32
"""Refusals that are kept; all are counted."""
_REFUSED = 3
_MARGIN = " " * 4


class _Refusal(msgspec.Struct, frozen=True):
    """A refusal: on which PE, of which context and call, why, and what the call had in TX."""

    pe: PE
    caller: ExecutionContext
    x: tuple[int, ...]
    refused: Refused
    written: tuple[tuple[int, bytes], ...]

    def __str__(self) -> str:
        caller, refused = self.caller, self.refused
        rule = refused.rule
        function = fid.FUNCTIONS.get(self.x[0] & MASK32)
        name = f"{self.x[0]:#x}" if function is None else function.name
        compared = f"got {show(refused.got)}, expected {show(refused.expected)}"
        return (
            f"{caller.name} called {name}: {refused.status.name}, refused by {rule.id}\n"
            f"{_MARGIN}{rule.text}\n{_MARGIN}{compared} ({rule.section})"
        )


class Recorder:
    """The last calls of a system and its refusals, from now on or since `begin`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._ring: deque[Kept] = deque(maxlen=KEPT)
        self._refused: deque[_Refusal] = deque(maxlen=MOST_REFUSALS)
        self._count = 0
        self._deaths = 0
        system.machine.keep = self._ring.append
        system.heard = self._hear

    def begin(self) -> None:
        """Forget what was before."""
        self._ring.clear()
        self._refused.clear()
        self._count = 0
        self._deaths = len(self._system.deaths)

    @property
    def name(self) -> str:
        """The system's name."""
        return self._system.spec.name

    @property
    def rules(self) -> list[str]:
        """The id of each rule that has refused, of those refusals that are kept."""
        return list(dict.fromkeys(each.refused.rule.id for each in self._refused))

    @property
    def deaths(self) -> list[PartitionCrashed]:
        """Partitions that have crashed."""
        return self._system.deaths[self._deaths :]

    def _hear(self, pe: PE, refused: Refused) -> None:
        """A rule has refused the call that was made last, or one that was made on its account."""
        call = next((kept for kept in reversed(self._ring) if kept[0] == CALLS), None)
        if call is None:
            return
        _, ctx, t, registers = call
        x = _unpacked(registers)
        from ffabric.observe.transmitted import transmitted  # noqa: PLC0415 - of refusals alone

        # Not the exception itself: it holds on to the frames through which it was raised.
        bare = Refused(refused.rule, refused.got, refused.expected)
        written = transmitted(self._system, ctx.endpoint, x)
        refusal = _Refusal(pe, cast("ExecutionContext", ctx), x, bare, written)
        self._count += 1
        self._refused.append(refusal)
        self._ring.append((_REFUSED, ctx, t, refusal))

    def refusals(self) -> str:
        """Each refusal in three lines: who called what, the rule in words, what was compared."""
        told = Counter(map(str, self._refused))
        lines = [f"{text}{f' ({n} times)' if n > 1 else ''}" for text, n in told.items()]
        more = self._count - sum(told.values())
        if more:
            lines.insert(0, f"({more} before these)")
        return "\n".join(lines)

    def last_calls(self, most: int = SHOWN) -> str:
        """The last calls with their answers and refusals, decoded, a line or more each."""
        from ffabric.observe.decoding.text import Reader  # noqa: PLC0415 - only a failure is told
        from ffabric.observe.trace import header_of  # noqa: PLC0415 - as above

        reader = Reader()
        lines: list[str] = []
        starts: list[int] = []
        for _ in reader.line(header_of(self._system)):
            pass
        for event in self._events():
            if isinstance(event, Call):
                starts.append(len(lines))
            told = [text for _, text in reader.line(event)]
            lines += told[:1] if isinstance(event, events.Refuse) else told
        return "\n".join(lines[starts[-most] if len(starts) > most else 0 :])

    def _events(self) -> Iterator[Event]:
        """What is kept, as the events of a trace. Whose message was delivered goes on, too."""
        waiting: set[Context] = set()
        running: dict[int, Context] = {}
        kept = [*self._ring]
        for (what, ctx, t, payload), (_, _, _, following) in pairwise([*kept, _END]):
            pe = 0 if ctx.pe is None else ctx.pe.index
            place = (pe, ctx.endpoint, ctx.index)
            if what == CALLS:
                if running.get(pe) is not ctx:
                    yield Resume(*place, t=t)
                waiting.add(ctx)
                written = following.written if isinstance(following, _Refusal) else ()
                yield Call(*place, _unpacked(payload), written, t=t)
            elif what == GOES_ON:
                if ctx in waiting:
                    waiting.discard(ctx)
                    yield Return(*place, payload, t=t)
            elif what == FAULTS:
                payload.t = t
                yield payload
            else:
                event = events.refusal(payload.pe, payload.caller, payload.refused)
                event.t = t
                yield event
            running[pe] = ctx


def _unpacked(registers: tuple[int, ...] | bytes) -> tuple[int, ...]:
    return X0_TO_X17.unpack(registers) if isinstance(registers, bytes) else registers


_END: Kept = (_REFUSED, cast("Context", None), 0, None)
