"""One vCPU in QEMU.

While the guest executes, its PE is parked: the machine does other things, or waits for the world
outside. A call of the guest, seen in the mailbox, brings the PE back into the loop; `run` then
takes the exit and gives the answer. Between a call and its answer the CPU waits in EL3; should it
have interrupts of its own to take meanwhile, the firmware hears of it and may preempt whoever
computes.

A PE that the firmware gives to somebody else (an SP that handles an interrupt) is taken from the
guest only as far as one can see: the guest executes on, but its next call waits until it has the PE
again.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from ffabric.abi.words import MASK32
from ffabric.machine import exits
from ffabric.machine.context import REGISTERS

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.engines.qemu.engine import QemuGuest
    from ffabric.machine.engines.qemu.interrupts import InterruptRelay
    from ffabric.machine.engines.qemu.mailbox import Block
    from ffabric.machine.engines.runner import Trap
    from ffabric.machine.machine import PE, Machine


_ZEROS = (0,) * (REGISTERS - 1)


class QemuRunner:
    """One vCPU: a `Runner`. Made by `QemuGuest.runner`."""

    exits = frozenset({exits.SMC})
    """What it may do without having crashed."""

    def __init__(
        self,
        guest: QemuGuest,
        machine: Machine,
        ctx: Context,
        block: Block,
        relay: InterruptRelay,
        *,
        level: int,
    ) -> None:
        self.ctx = ctx
        self.instructions = 0
        self.functions = array("I")
        """The function ids of its calls."""
        self.round_trips = array("Q")
        """Known with each call: how long the one before took at the guest's EL3, in ticks."""
        self._guest = guest
        self._machine = machine
        self._block = block
        self._relay = relay
        self._level = level
        self.outside = False
        """The guest executes, and its PE is parked."""
        self._owes = False
        """An exit was taken whose answer has not been given."""
        self._announced = False

    def __repr__(self) -> str:
        return f"<QemuRunner {self.ctx.name}>"

    def start(self, entry: int, x0: int) -> None:
        """See `Runner.start`."""
        self._guest.start()
        self._relay.open()
        self._owes = False
        self._block.start(entry, (x0, *_ZEROS), self._level)

    def run(self, ctx: Context, trap: Trap) -> None:
        """Give the answer, and take the next exit if it is there already."""
        going = True
        while going:
            if self._owes:
                self._owes = self._announced = False
                self._answer(ctx)
            if self._guest.ended:
                ctx.crash = self._guest.ended
                trap(ctx, exits.CRASH)
                return
            if not self._block.asks:
                self.outside = True
                assert ctx.pe is not None
                self._machine.park(ctx.pe)
                return
            going = self._exit(ctx, trap)

    def _answer(self, ctx: Context) -> None:
        self._block.answer(ctx.x)

    def _exit(self, ctx: Context, trap: Trap) -> bool:
        block = self._block
        ctx.x[:] = block.registers()
        kind = block.kind
        if kind in self.exits:
            self._owes = True
            self.functions.append(ctx.x[0] & MASK32)
            self.round_trips.append(block.ticks)
        else:
            kind = exits.CRASH
            syndrome, address, pc = block.crash
            at = f"vCPU {ctx.name}, PC {pc:#x}, ESR {syndrome:#x}, FAR {address:#x}"
            ctx.crash = f"exception to EL3: {at}"
        return trap(ctx, kind)

    def look(self) -> bool:
        """Bring the PE back into the loop if the guest has something for it; see `Source.look`."""
        if not self.outside:
            if self._owes and not self._announced and self._block.interrupted:
                self._announced = True
                assert self.ctx.pe is not None
                self._relay.announce(self.ctx.pe.index)
            return False
        pe: PE | None = self.ctx.pe
        if pe is None or pe.current is not self.ctx:
            return False
        if not self._block.asks and not self._guest.ended:
            return False
        self.outside = False
        self._machine.unpark(pe)
        return True

    def flush(self) -> None:
        """Pass on the interrupts that found no room before."""
        self._block.flush()

    def kick(self) -> None:
        """Nothing to do: `run` never stays."""

    def interrupt(self, kind: int, asserted: bool) -> None:
        """See `Runner.interrupt`. The guest gets interrupts one by one, by their numbers."""
        if asserted:
            for intid in self._relay.take():
                self._block.pend(intid)

    def inject_abort(self, syndrome: int, far: int) -> None:
        """The guest's translation is its own: it makes no stage-2 aborts."""

    def where(self) -> str:
        """See `Runner.where`: nobody can ask while it executes."""
        return ""

    def close(self) -> None:
        """See `Runner.close`: the whole guest ends."""
        self._guest.close()
