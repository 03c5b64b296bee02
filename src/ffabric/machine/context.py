"""What executes: a context (one vCPU), the runner that executes it, the PE that it runs on.

A runner owns the registers of one virtual CPU. `Runner.run` executes it until the trap says stop;
an exit (`ffabric.machine.exits`) is a plain function call, so an engine answers a call that needs
no switch without leaving its own inner loop::

    start() --> run(): load x0-x17 -> execute -> exit -> trap(ctx, exit) --True---> go on
                                                              |
                                                              '--False--> run() returns

After a call exit (SMC, HVC, SVC) the registers x0-x17 are loaded from ``ctx.x`` when execution goes
on, at once or in a later `Runner.run`. After any other exit ``ctx.x`` is only a view.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ffabric.machine.faults import Fault
    from ffabric.machine.translation.stage2 import Stage2

REGISTERS = 18
"""x0 to x17: the registers a call passes (SMCCC 1.2)."""
IRQ = 0
"""The virtual IRQ line of a runner."""

FIQ = 1
"""The virtual FIQ line of a runner."""

NO_REGISTERS: Mapping[int, int] = MappingProxyType({})

_CODE = "N" if struct.calcsize("N") == 8 else "Q"
"""A register in a structure. Of two codes for 64 bits without a sign that of `size_t` is quicker,
above all for large values; it has them on hosts of 64 bits."""
X0_TO_X17 = struct.Struct(f"@{REGISTERS}{_CODE}")
"""What x0 to x17 may hold: struct.error for anything else."""
_X = struct.Struct("<Q")


def check_registers(x: Sequence[object]) -> None:
    """Raise ValueError for what x0 to x17 cannot hold: they are 18 unsigned integers of 64 bits."""
    try:
        X0_TO_X17.pack(*x)
    except struct.error:
        raise ValueError(misfit(x)) from None


def misfit(x: Sequence[object]) -> str:
    """What it is in ``x`` that x0 to x17 cannot hold; no code of what is there is executed."""
    for index, value in enumerate(x[:REGISTERS]):
        try:
            _X.pack(value)
        except struct.error:
            what = f"{value:#x}" if type(value) is int else f"of type {type(value).__name__}"
            return f"x{index} is {what}, no unsigned integer of 64 bits"
    return f"{len(x)} registers: a call has x0 to x{REGISTERS - 1}"


class Level(Protocol):
    """An exception level: whoever takes the exits of a context."""

    def trap(self, pe: PE, ctx: Any, exit_: int) -> Context | None:
        """Handle an exit of ``ctx``: what ``pe`` runs next (None: nothing)."""


class Context:
    """One vCPU as the exception levels above it see it.

    ``x`` holds x0 to x17: the call the context made, and after the firmware has run, the values
    it resumes with. It is one list for life, changed in place. ``fault`` and ``crash`` say more
    about the last abort or crash exit. ``endpoint`` is whose vCPU it is: ``name`` without the index
    that ends it, as in "vm.0". ``calling`` is the machine's: which of its tracers has heard
    the call that waits for an answer, 0 for none; negative if it has heard why there is none.
    ``packed`` are the registers of its last exit as `X0_TO_X17` packs them, if its engine does so
    anyway: a copy that costs nothing more. None: it does not.

    ``level`` takes its exits. ``gate`` leads to another exception level, if the context stands for
    what is there.
    """

    __slots__ = (
        "calling",
        "crash",
        "endpoint",
        "fault",
        "gate",
        "index",
        "level",
        "name",
        "packed",
        "pe",
        "runner",
        "secure",
        "stage2",
        "x",
    )

    level: Level
    gate: Callable[[PE, Any], Context | None] | None

    def __init__(
        self, name: str, index: int, *, secure: bool, stage2: Stage2 | None = None
    ) -> None:
        self.name = name
        self.endpoint = name.removesuffix(f".{index}")
        self.index = index
        self.secure = secure
        self.stage2 = stage2
        self.x: list[int] = [0] * REGISTERS
        self.runner: Runner | None = None
        self.pe: PE | None = None
        self.fault: Fault | None = None
        self.crash = ""
        self.calling = 0
        self.packed: bytes | None = None
        self.gate = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


Trap = Callable[[Context, int], bool]
"""Takes the context and an exit number; True: go on executing, False: `Runner.run` returns."""


class Runner(Protocol):
    """One virtual CPU on an engine."""

    instructions: int
    """Instructions executed since the first `start`, as exactly as the engine can tell."""

    def start(self, entry: int, x0: int, others: Mapping[int, int] = NO_REGISTERS) -> None:
        """Cold-boot at address `entry` with `x0`: MMU off, DAIF masked.

        `others` are general registers by their numbers; those that are not there are 0.
        """

    def run(self, ctx: Context, trap: Trap) -> None:
        """Execute until `trap` answers False. At each exit ``ctx.x[:]`` holds x0-x17."""

    def go_on(self, ctx: Context, trap: Trap) -> None:
        """As `run`, after a pause in which nothing else has run: its time slice goes on."""

    def kick(self) -> None:
        """Ask the executing `run` for a SLICE exit soon; harmless when nothing executes."""

    def interrupt(self, kind: int, asserted: bool) -> None:
        """Drive the `IRQ` or `FIQ` line; an asserted line is taken whenever it is unmasked."""

    def inject_abort(self, syndrome: int, far: int) -> None:
        """Take a synchronous abort to EL1 when execution goes on.

        `syndrome` is an ESR value with an abort's exception class; the class's "same level" bit is
        corrected to the level the abort is taken from. `far` becomes FAR_EL1.
        """

    def where(self) -> str:
        """Where it is, in a line for people: PC, symbol and what its last exception was.

        Empty if the engine knows no program counter.
        """

    def close(self) -> None:
        """Give back what the engine holds. The runner cannot be used again."""


class Outsider(Protocol):
    """Who executes a context in another process."""

    def withdraw(self) -> None:
        """The PE is taken from it: it stops, and goes on when its context is scheduled again."""


class PE:
    """A processing element: its number, its affinity and the context it runs."""

    __slots__ = (
        "current", "deferred", "exit", "idle", "index", "mpidr", "on", "outsider", "queue",
    )  # fmt: skip

    def __init__(self, index: int, mpidr: int) -> None:
        self.index = index
        self.mpidr = mpidr
        self.current: Context | None = None
        self.on = False
        self.idle = False
        self.exit = 0
        """The number of its last exit among those of the machine."""
        self.deferred = False
        """What it runs does not take the interrupt that is pending."""
        self.queue: Sequence[Context] = ()
        """Contexts that wait for it: the list is its scheduler's."""
        self.outsider: Outsider | None = None
        """Who executes its context outside at the moment."""

    def __repr__(self) -> str:
        return f"<PE {self.index}>"
