"""The inner loop in Python: a stretch of execution, the calls in it, and what time they take.

A stretch begins with `run` of the emulator and ends by itself when its instructions are used up, or
when a hook wants it to. The hook of a call reads x0 to x17 into the context, asks the trap, and
goes on within the hook if the trap says so::

    run --> _settle --> _stretch --> Unicorn --> _intercept --> trap --True--> x0-x17, _go_on
              ^            |                         |            |
              |        _after (rare)         _exception (rare)  False: the stretch ends, so does run
              '------------'

`loop.c` does the same, attribute by attribute and method by method: what is changed here is changed
there, and the tests of the engine run over both. What happens rarely is in `UnicornRunner` only.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

from ffabric.machine import exits
from ffabric.machine.context import check_registers
from ffabric.machine.engines.unicorn import native

if TYPE_CHECKING:
    from typing import Any

    from ffabric.machine.clock import Clock
    from ffabric.machine.context import Context, Trap
    from ffabric.machine.engines.unicorn.fault_report import ExceptionState
    from ffabric.machine.translation.stage2 import Stage2

_SVC, _HVC, _SMC = 2, 11, 13  # QEMU's exception numbers
CALLS_OF_EL0 = {_SVC: exits.SVC}
CALLS = {_SMC: exits.SMC, _HVC: exits.HVC}
"""Exception number -> the exit that it is."""

_X0_TO_X17 = struct.Struct("<18Q")


class Siblings:
    """What the vCPUs of one partition owe each other: counts of invalidations."""

    __slots__ = ("code", "stage2", "tlb")

    def __init__(self, stage2: Stage2 | None) -> None:
        self.stage2 = stage2
        self.tlb = 0
        self.code = 0


class Instrument(Protocol):
    """Who looks at a vCPU between two stretches of its execution."""

    def before(self, budget: int) -> int:
        """A stretch of so many instructions is to begin: how many it may have, at least 1.

        It may stay here as long as it likes; what it raises ends the run.
        """


class InnerLoop:
    """What a vCPU does until an exit. `UnicornRunner` has the rest, and sets what is declared here.

    `interpreted`: this class executes, whatever other one there is.
    """

    instructions: int
    interpreted: bool
    instrument: Instrument | None = None
    """Needs `interpreted`."""
    _emulator: native.Emulator
    _x: native.Registers
    _pc: native.Registers
    _calls: dict[int, int]
    _clock: Clock
    _siblings: Siblings
    _stage2: Stage2 | None
    _context: Context
    _trap: Trap
    _instruction_time: int
    _slice: int
    _slice_end: int
    _counted: int
    _called_at: int
    """How many instructions it had executed at its last call."""
    _long_quiet: int
    """So many without a call, and a slice is cut short where it counts as wedged."""
    _quiet_limit: int
    _inside: bool
    _going: bool
    _kicked: bool
    _answer: bool
    _fresh: bool
    _refused: bool
    _dead: str
    _error: BaseException | None
    _abort: tuple[int, int] | None
    _excepted: ExceptionState | None
    _tlb: int
    _code: int
    _generation: int

    # What happens rarely

    def _cannot_run(self, ctx: Context, trap: Trap) -> None:
        """It was never started, is closed or has crashed."""
        raise NotImplementedError

    def _apply_pending(self) -> None:
        """Inject an abort, drop code: what must not happen while code executes."""
        raise NotImplementedError

    def _exception(self) -> None:
        """An exception that is no call."""
        raise NotImplementedError

    def _after(self, error: int) -> None:
        """A stretch has ended, with an error of Unicorn or 0, otherwise than by going on."""
        raise NotImplementedError

    def _cut_slice(self, quiet: int, budget: int) -> int:
        """Of a `budget`, how many instructions may pass after `quiet` ones without a call."""
        raise NotImplementedError

    # Execution

    def run(self, ctx: Context, trap: Trap) -> None:
        """See `Runner.run`."""
        if self._dead:
            self._cannot_run(ctx, trap)
            return
        self._context = ctx
        self._trap = trap
        if self._answer:
            self._give_answer()
        self._kicked = self._fresh = False
        self._excepted = self._error = None
        self._going = True
        self._slice_end = self.instructions + self._slice
        while self._going:
            self._step()

    def _step(self) -> None:
        """Settle what is due, and execute a stretch."""
        self._sync_tlb()
        if self._abort is not None or self._code != self._siblings.code:
            self._apply_pending()
        if self._going:
            self._stretch()

    def _stretch(self) -> None:
        """Execute until something ends it, and see what that was."""
        budget = self._budget()
        if self.instrument is not None:
            budget = self.instrument.before(budget)
        self._pc.read()
        self._counted = 0
        self._inside = True
        error = self._emulator.run(self._pc.words[0], budget)
        self.spend(0)
        self._inside = False
        if (
            self._emulator.lost
            or self._error is not None
            or error
            or self._refused
            or self._kicked
            or self.instructions >= self._slice_end
            or self.instructions - self._called_at >= self._quiet_limit
        ):
            self._after(error)

    def _budget(self) -> int:
        """How many instructions the next stretch may have."""
        budget = self._slice_end - self.instructions
        quiet = self.instructions - self._called_at
        if quiet > self._long_quiet:
            budget = self._cut_slice(quiet, budget)
        clock = self._clock
        if clock.due <= clock.now:
            clock.advance(0)
        return max(min(budget, self._instructions_until(clock.due)), 1)

    def _sync_tlb(self) -> None:
        """Forget translations if stage 2, or what a sibling invalidates, has changed."""
        stage2 = self._stage2
        if stage2 is not None and stage2.generation != self._generation:
            self._generation = stage2.generation
            self._emulator.flush_tlb()
        elif self._tlb != self._siblings.tlb:
            self._emulator.flush_tlb()
        self._tlb = self._siblings.tlb

    # Accounts. They are called from hooks, too.

    def spend(self, ns: int) -> None:
        """Account for what was executed, and let `ns` more pass."""
        executed = min(self._emulator.executed.value, self._emulator.limit.value)
        clock = self._clock
        due = clock.due
        done = executed - self._counted
        self._counted = executed
        self.instructions += done
        clock.advance(done * self._instruction_time + ns)
        if due <= clock.now:
            self.kick()

    def kick(self) -> None:
        """See `Runner.kick`."""
        if self._inside:
            self._kicked = True
            self.end_within(0)

    def end_within(self, instructions: int) -> None:
        """End the present stretch after so many more instructions."""
        limit = self._emulator.limit
        limit.value = min(limit.value, self._emulator.executed.value + instructions)

    def keep_deadline(self) -> None:
        """End the present stretch at the next deadline of the clock."""
        self.end_within(max(0, self._instructions_until(self._clock.due)))

    def _instructions_until(self, due: int) -> int:
        return -((self._clock.now - due) // self._instruction_time)

    # Calls

    def _hook(self) -> tuple[object, object]:
        """What Unicorn calls for all exceptions, and with which user argument."""
        return native.InterruptHook(self._intercept), None

    def _intercept(self, _engine: int, number: int, _user: Any) -> None:
        """An exception was taken."""
        try:
            exit_ = self._calls.get(number)
            self.spend(0)
            if exit_ is None:
                self._exception()
                return
            x, ctx = self._x, self._context
            x.read()
            ctx.x[:] = x.words.tolist()
            self._answer = True
            self._fresh = False
            self._called_at = self.instructions
            if self._trap(ctx, exit_):
                self._give_answer()
                self._go_on()
            else:
                self._going = False
                self._emulator.stop()
        except BaseException as error:  # noqa: BLE001 - raised again outside the emulator
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Something went wrong in a hook: raise it outside the emulator."""
        self._error = self._error or error
        self._going = False
        self._emulator.stop()

    def _go_on(self) -> None:
        """Before execution goes on within the hook of an exception."""
        self._sync_tlb()
        if self._abort is not None or self._kicked:
            self._emulator.stop()
        else:
            self.keep_deadline()

    def _give_answer(self) -> None:
        """Load x0 to x17 from the context. ValueError if they hold what no register does."""
        self._answer = False
        try:
            _X0_TO_X17.pack_into(self._x.words, 0, *self._context.x)
        except struct.error:
            check_registers(self._context.x)
            raise
        self._x.write()
