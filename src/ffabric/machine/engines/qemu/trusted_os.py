"""A trusted OS in QEMU: S-EL1 of its `virt` machine, entered by our dispatcher.

QEMU has the trusted OS alone. The normal world's memory is there too, all our banks of it, each at
its physical address; what lies between them is memory of nobody. The secure memory is QEMU's own:
the shim copies into it what our bank at that place holds at the start. GIC, timers and the secure
UART, its console, are those of QEMU's machine.

It waits for calls in the shim. Its PE is parked while it executes, so that several of its vCPUs do
so at the same time. A foreign interrupt that is pending then makes the shim present an FIQ. An
interrupt with which it notifies the normal world becomes pending in our GIC at its next exit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ffabric.machine import exits
from ffabric.machine.context import FIQ, NO_REGISTERS
from ffabric.machine.engines.qemu.interrupts import InterruptRelay
from ffabric.machine.engines.qemu.process import SECURE
from ffabric.machine.engines.qemu.server import QemuServer, ServingRunner

if TYPE_CHECKING:
    from ffabric.machine.context import Context, Trap
    from ffabric.machine.engines.qemu.mailbox import Block
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import Machine


class QemuTrustedOs(QemuServer):
    """All vCPUs of a trusted OS. It waits for calls without an end."""

    world = SECURE
    notification: int | None = None
    """The SPI with which it notifies the normal world."""

    def start(self) -> None:
        """See `QemuGuest.start`."""
        self.process.mailbox.watch(self.notification or 0)
        super().start()

    def runner(self, ctx: Context, gic: Gic) -> TrustedRunner:
        """The runner of a vCPU; ``gic`` is the machine's."""
        block = self.process.mailbox.block(len(self.runners), self.process.wake)
        runner = TrustedRunner(self, self._machine, ctx, block, gic)
        self.runners.append(runner)
        return runner


class TrustedRunner(ServingRunner):
    """One vCPU of a trusted OS, as its dispatcher has it in hand."""

    exits = frozenset({exits.SMC, exits.IDLE})
    _guest: QemuTrustedOs

    def __init__(
        self, trusted_os: QemuTrustedOs, machine: Machine, ctx: Context, block: Block, gic: Gic
    ) -> None:
        relay = InterruptRelay(gic, ctx.index, gic, secure=True)
        super().__init__(trusted_os, machine, ctx, block, relay, level=1)
        self._cold = False
        self._resume = 0
        self._foreign = False

    def start(self, entry: int, x0: int, others: Mapping[int, int] = NO_REGISTERS) -> None:
        """Cold-boot at ``entry`` when it runs next, with x0 to x17 of the context."""
        self._guest.start()
        self._owes = self._cold = True
        self._resume = entry

    def branch(self, pc: int) -> None:
        """Go on at ``pc`` with x0 to x17 of the context, all else as it was."""
        self._resume = pc

    def _exit(self, ctx: Context, trap: Trap, kind: int) -> None:
        if self._block.notified() and self._guest.notification is not None:
            self._machine.gic.set_pending(self._guest.notification)
        super()._exit(ctx, trap, kind)

    def _answer(self, ctx: Context) -> None:
        resume, self._resume = self._resume, 0
        if self._cold:
            self._cold = False
            self._block.start(resume, ctx.x, self._level)
        else:
            self._block.answer(ctx.x, resume)

    def interrupt(self, kind: int, asserted: bool) -> None:
        """See `Runner.interrupt`. FIQ: others have interrupts; IRQ: it has, here or in QEMU."""
        if kind != FIQ:
            super().interrupt(kind, asserted)
        elif asserted != self._foreign:
            self._foreign = asserted
            self._block.foreign(pending=asserted)

    def vectors(self) -> bytes:
        """Its own CPACR_EL1 traps their use."""
        return b""

    def set_vectors(self, state: bytes) -> None:
        """Its own CPACR_EL1 traps their use."""
