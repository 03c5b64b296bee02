"""The Python engine: a vCPU whose software is a coroutine.

The coroutine writes the registers of a call into ``ctx.x`` and yields the exit's number; when it
is resumed, ``ctx.x`` holds the answer. It is never awaited by an event loop: the machine's loop
resumes it when its PE runs it. An interrupt that is asserted when the vCPU is resumed runs the
interrupt coroutine on top of the main one, as a vector would, and the answer the main one waits
for is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING

from ffabric.machine import exits
from ffabric.machine.context import REGISTERS
from ffabric.machine.host.interruption import AT_ONCE

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.engines.runner import Trap

MAX_HANDLERS = 64
"""Times in a row that a handler may end with an interrupt pending: others may have come."""
_X0_TO_X17 = struct.Struct(f"<{REGISTERS}Q")
_OWN_EXITS = frozenset({exits.SMC, exits.HVC, exits.SVC, exits.IDLE})

Program = Callable[["PythonRunner", int, int], Coroutine[int, None, None]]
"""(runner, entry, x0) -> the main coroutine of a vCPU."""

Handler = Callable[[int], Coroutine[int, None, None]]
"""(IRQ or FIQ) -> the coroutine that handles an interrupt."""


class Spinning(BaseException):
    """Raised into a program that makes no exit, by whoever measures its time.

    No ``Exception``, so that a program does not catch it with those that it expects.
    """


class PythonRunner:
    """One vCPU in Python."""

    def __init__(self, ctx: Context, program: Program) -> None:
        self.ctx = ctx
        self.instructions = 0
        self.on_interrupt: Handler | None = None
        self.pc = 0
        """The vector at which EL3 has entered it, for a program right below EL3."""
        self.masked = False
        """The software has masked interrupts (DAIF)."""
        self._program = program
        self._main: Coroutine[int, None, None] | None = None
        self._vector: Coroutine[int, None, None] | None = None
        self._kept: list[int] = []
        self._lines = 0
        self._again = 0
        """How often the handler was run again because an interrupt was pending when it ended."""

    def start(self, entry: int, x0: int) -> None:
        """Begin the program anew."""
        self.close()
        self._main = self._program(self, entry, x0)
        self._lines = 0

    @property
    def ended(self) -> bool:
        """Whether the program has returned, or has not begun: the vCPU idles."""
        return self._main is None

    def run(self, ctx: Context, trap: Trap) -> None:
        """Resume the program until the trap says stop."""
        going = True
        while going:
            if self._lines and not self.masked and self._vector is None and self.on_interrupt:
                self._kept = list(ctx.x)
                self._vector = self.on_interrupt(self._lines >> 1)
            going = trap(ctx, self._step(ctx))

    def _step(self, ctx: Context) -> int:
        current = self._vector or self._main
        if current is None:
            return exits.IDLE
        try:
            exit_ = current.send(None)
            known = exit_ in _OWN_EXITS
            _X0_TO_X17.pack(*ctx.x)
        except StopIteration:
            return self._returned(ctx)
        except struct.error as error:
            ctx.x[:] = [0] * REGISTERS
            return self._crash(ctx, f"x0 to x17 are not {REGISTERS} integers of 64 bits: {error}")
        except (Exception, Spinning) as error:  # noqa: BLE001 - what a partition raises is its crash
            return self._crash(ctx, f"{type(error).__name__}: {error}")
        return exit_ if known else self._crash(ctx, f"awaited {exit_!r}, which is no call")

    def _crash(self, ctx: Context, why: str) -> int:
        ctx.crash = why
        return exits.CRASH

    def _returned(self, ctx: Context) -> int:
        if self._vector is None:
            self._main = None
            return exits.IDLE
        self._vector = None
        if self._lines and self.on_interrupt is not None:
            self._again += 1
            if self._again > MAX_HANDLERS:
                self.masked = True
                why = "an interrupt handler returns and returns with its interrupt still pending"
                return self._crash(ctx, why)
            self._vector = self.on_interrupt(self._lines >> 1)
        else:
            self._again = 0
            ctx.x[:] = self._kept
        return self._step(ctx)

    def branch(self, pc: int) -> None:
        """The program's last call returns, with ``pc`` for where EL3 entered it."""
        self.pc = pc

    def vectors(self) -> bytes:
        """A program has no vector registers."""
        return b""

    def set_vectors(self, state: bytes) -> None:
        """A program has no vector registers."""

    def kick(self) -> None:
        """Nothing to do: a coroutine runs from exit to exit."""

    def interrupt(self, kind: int, asserted: bool) -> None:
        """Drive the IRQ or FIQ line."""
        if asserted:
            self._lines |= 1 << kind
        else:
            self._lines &= ~(1 << kind)

    def inject_abort(self, syndrome: int, far: int) -> None:
        """Aborts reach Python software as the exception its load or store raises."""

    def close(self) -> None:
        """Drop the coroutines. What they raise in their last moments concerns nobody."""
        for coroutine in (self._vector, self._main):
            if coroutine is not None:
                with suppress(Exception, Spinning):
                    coroutine.close()
        self._vector = self._main = None


AT_ONCE.update({PythonRunner._step.__code__, PythonRunner.close.__code__})
