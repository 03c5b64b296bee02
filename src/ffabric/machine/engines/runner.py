"""What every execution engine offers: the `Runner` of one virtual CPU.

A runner owns the registers of one virtual CPU. `run` executes it until the trap says stop; an
exit (`ffabric.machine.exits`) is a plain function call, so an engine answers a call that needs no
switch without leaving its own inner loop::

    start() --> run(): load x0-x17 -> execute -> exit -> trap(ctx, exit) --True---> go on
                                                              |
                                                              '--False--> run() returns

After a call exit (SMC, HVC, SVC) the registers x0-x17 are loaded from ``ctx.x`` when execution goes
on, at once or in a later `run`. After any other exit ``ctx.x`` is only a view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from ffabric.machine.context import Context

IRQ = 0
"""The virtual IRQ line of a runner."""

FIQ = 1
"""The virtual FIQ line of a runner."""

FETCH = "fetch"
"""`Fault.kind` of an instruction abort."""

DATA = "data"
"""`Fault.kind` of a data abort."""

NO_REGISTERS: Mapping[int, int] = MappingProxyType({})

Trap = Callable[["Context", int], bool]
"""Takes the context and an exit number; True: go on executing, False: `Runner.run` returns."""


class Fault(msgspec.Struct, frozen=True):
    """A stage-2 fault (Arm ARM DDI 0487, D17.2.37 ESR_EL2, D17.2.65 HPFAR_EL2).

    `kind` is `FETCH` or `DATA`; `ipa` is the faulting intermediate physical address, exact to the
    byte; `va` the virtual address (FAR_EL2); `write` is True for a store; `syndrome` the ESR_EL2
    value; `pc` the address of the instruction (ELR_EL2).
    """

    kind: str
    ipa: int
    va: int
    write: bool
    syndrome: int
    pc: int


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
