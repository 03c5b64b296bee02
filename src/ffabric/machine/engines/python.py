"""The Python engine: a vCPU whose software is a coroutine.

The coroutine writes the registers of a call into ``ctx.x`` and yields the exit's number; when it
is resumed, ``ctx.x`` holds the answer. It is never awaited by an event loop: the machine's loop
resumes it when its PE runs it. An interrupt that is asserted when the vCPU is resumed runs the
interrupt coroutine on top of the main one, as a vector would, and the answer the main one waits
for is kept.

Whatever a program raises is its crash, be it no `Exception`: a partition can neither end the
process nor stop the machine. That includes what objects raise that it has put into registers, when
somebody above computes with them. Only what somebody at the terminal raises (Ctrl-C) goes through.
"""

from __future__ import annotations

import dis
import signal
import struct
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

from ffabric.machine import exits
from ffabric.machine.context import NO_REGISTERS, REGISTERS, X0_TO_X17, misfit
from ffabric.machine.host.interruption import AT_ONCE, RESUMING, Interrupted

if TYPE_CHECKING:
    from types import TracebackType

    from ffabric.machine.context import Context, Trap

MAX_HANDLERS = 64
"""Times in a row that a handler may end with an interrupt pending: others may have come."""
_pack = X0_TO_X17.pack
_OWN_EXITS = frozenset({exits.SMC, exits.HVC, exits.SVC, exits.IDLE})
_OF_OPERATORS = (TypeError, ValueError, ArithmeticError)
"""What operators raise that are written in C, for operands that they have no use for."""
_KNOWN = ("builtins", __name__.partition(".")[0])
_RAISE = dis.opmap["RAISE_VARARGS"]
_GO_ON = -1
"""Instead of an exit: nothing was called, the vCPU goes on."""

Program = Callable[["PythonRunner", int, int], Coroutine[int, None, None]]
"""(runner, entry, x0) -> the main coroutine of a vCPU."""

Handler = Callable[[int], Coroutine[int, None, None]]
"""(IRQ or FIQ) -> the coroutine that handles an interrupt."""


class Spinning(BaseException):
    """Raised into a program that makes no exit, by whoever measures its time.

    No ``Exception``, so that a program does not catch it with those that it expects.
    """


class _Idle:
    """In the place of a program that has returned: nothing to do."""

    def send(self, value: None) -> int:
        return exits.IDLE

    def close(self) -> None:
        """Nothing is open."""


_IDLE = _Idle()


class PythonRunner:
    """One vCPU in Python."""

    def __init__(self, ctx: Context, program: Program) -> None:
        self.ctx = ctx
        self.instructions = 0
        self.on_interrupt: Handler | None = None
        self.pc = 0
        """The vector at which EL3 has entered it, for a program right below EL3."""
        self.registers: dict[int, int] = {}
        """What the vCPU began with in its general registers."""
        self.masked = False
        """The software has masked interrupts (DAIF)."""
        self.error: BaseException | None = None
        """What the program raised when it crashed."""
        self._program = program
        self._main: Coroutine[int, None, None] | _Idle = _IDLE
        self._vector: Coroutine[int, None, None] | None = None
        self._current: Coroutine[int, None, None] | _Idle = _IDLE
        """The one of these that runs."""
        self._kept: list[int] = []
        self._lines = 0
        self._again = 0
        """How often the handler was run again because an interrupt was pending when it ended."""

    def start(self, entry: int, x0: int, others: Mapping[int, int] = NO_REGISTERS) -> None:
        """Begin the program anew."""
        self.close()
        self.error = None
        self.registers = {0: x0, **others}
        self._main = self._current = _begin(lambda: self._program(self, entry, x0))
        self._lines = 0

    @property
    def ended(self) -> bool:
        """Whether the program has returned, or has not begun: the vCPU idles."""
        return self._main is _IDLE

    @property
    def stack(self) -> list[object]:
        """The coroutines that are under way: the program, and on top of it its handler."""
        return [each for each in (self._main, self._vector) if each not in (None, _IDLE)]

    def run(self, ctx: Context, trap: Trap) -> None:
        """Resume the program until the trap says stop."""
        x, pack = ctx.x, _pack
        going = True
        while going:
            if self._lines and not self.masked and self._vector is None and self.on_interrupt:
                self._kept = list(x)
                self._handle(self.on_interrupt)
            try:
                exit_ = self._current.send(None)
                ctx.packed = pack(*x)
                if exit_ not in _OWN_EXITS:
                    exit_ = self._crash(ctx, f"awaited {exit_!r}, which is not a call")
            except BaseException as error:  # noqa: BLE001 - what a partition raises is its crash
                exit_ = self._stopped(ctx, error)
                if exit_ == _GO_ON:
                    continue
            try:
                going = trap(ctx, exit_)
            except BaseException as error:
                if not of_an_operand(error, ctx.x):
                    raise
                going = trap(ctx, self._crash(ctx, told(error), error))

    go_on = run

    def _stopped(self, ctx: Context, error: BaseException) -> int:
        """The program has raised ``error``, or what it says is no call: the exit that this is."""
        if isinstance(error, StopIteration):
            return self._returned(ctx)
        if isinstance(error, struct.error) and not _raised_inside(error):
            why = misfit(ctx.x)
            ctx.x[:] = [0] * REGISTERS
            return self._crash(ctx, why)
        if from_terminal(error):
            raise error
        return self._crash(ctx, told(error), error)

    def _crash(self, ctx: Context, why: str, error: BaseException | None = None) -> int:
        ctx.crash = why
        self.error = error
        return exits.CRASH

    def _returned(self, ctx: Context) -> int:
        """The program, or its handler, has returned."""
        if self._vector is None:
            self._main = self._current = _IDLE
            return exits.IDLE
        self._vector = None
        self._current = self._main
        ctx.x[:] = self._kept
        if not self._lines or self.on_interrupt is None:
            self._again = 0
            return _GO_ON
        self._again += 1
        if self._again > MAX_HANDLERS:
            self.masked = True
            why = "an interrupt handler returns and returns with its interrupt still pending"
            return self._crash(ctx, why)
        return exits.SLICE  # what it did at the GIC has yet to be looked at

    def _handle(self, handler: Handler) -> None:
        """Run the interrupt handler on top of the program."""
        self._vector = self._current = _begin(lambda: handler(self._lines >> 1))

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

    def where(self) -> str:
        """See `Runner.where`: a traceback tells more of a program."""
        return ""

    def close(self) -> None:
        """Drop the coroutines. What they raise in their last moments concerns nobody."""
        for coroutine in (self._vector, self._main):
            if coroutine is not None:
                _drop(coroutine)
        self._vector = None
        self._main = self._current = _IDLE
        self.ctx.packed = None


def _begin(make: Callable[[], Coroutine[int, None, None]]) -> Coroutine[int, None, None]:
    """The coroutine that ``make`` makes; if it makes none, one that raises why."""
    try:
        made = make()
    except BaseException as error:
        if from_terminal(error):
            raise
        return _fail(error)
    if not hasattr(made, "send"):
        return _fail(TypeError(f"{made!r} is not a coroutine: is `async def` missing?"))
    return made


async def _fail(error: BaseException) -> None:
    raise error


def _drop(coroutine: Coroutine[int, None, None] | _Idle) -> None:
    try:
        coroutine.close()
    except BaseException as error:
        if from_terminal(error):
            raise


def told(error: BaseException) -> str:
    """What a program raised, in a line; its text may be a program, too, and raise in turn."""
    kind = type(error).__name__
    try:
        text = str(error)
    except BaseException as another:
        if from_terminal(another):
            raise
        return f"{kind}, whose text raises {type(another).__name__}"
    return f"{kind}: {text}" if text else kind


def is_of_program(error: BaseException) -> bool:
    """Whether a program has failed with ``error``, and was not ended or interrupted with it."""
    return not isinstance(error, GeneratorExit | Spinning) and not from_terminal(error)


def of_an_operand(error: BaseException, x: list[int]) -> bool:
    """Whether a call in ``x`` has raised ``error`` because a register is no plain integer.

    `struct` takes whatever can be made an integer. Who computes with it executes methods of its
    class, which may raise what they like. To make plain integers of all registers of each call
    would cost a tenth of a call; so it is found out when it has happened.
    """
    if from_terminal(error):
        return False
    if not all(isinstance(word, int) for word in x):
        return isinstance(error, _OF_OPERATORS)
    at = error.__traceback__
    while at is not None:
        code, values = at.tb_frame.f_code, at.tb_frame.f_locals
        if code.co_argcount and _is_foreign(values.get(code.co_varnames[0])):
            return True
        at = at.tb_next
    return False


def _is_foreign(value: object) -> bool:
    """Whether it is an integer of a class that is neither Python's own nor ours."""
    kind = type(value)
    return issubclass(kind, int) and kind.__module__.partition(".")[0] not in _KNOWN


def _raised_inside(error: BaseException) -> bool:
    """Whether the program raised ``error``, not the check of its registers."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is not None


def from_terminal(error: BaseException) -> bool:
    """Whether ``error`` is a KeyboardInterrupt of a signal, not one that a program raises.

    The signal's handler is on the traceback then, or, as Python's own is not written in Python, the
    innermost instruction there is none that raises.
    """
    if isinstance(error, Interrupted):
        return True
    if not isinstance(error, KeyboardInterrupt) or error.__traceback__ is None:
        return False
    innermost: TracebackType = error.__traceback__
    codes = {innermost.tb_frame.f_code}
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
        codes.add(innermost.tb_frame.f_code)
    handler = getattr(signal.getsignal(signal.SIGINT), "__code__", None)
    return handler in codes or innermost.tb_frame.f_code.co_code[innermost.tb_lasti] != _RAISE


AT_ONCE.update(function.__code__ for function in (_begin, _drop, told))
RESUMING.add(PythonRunner.run.__code__)
