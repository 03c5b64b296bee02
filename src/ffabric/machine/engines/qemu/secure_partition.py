"""A secure partition in QEMU: S-EL1 as a guest of our EL2, confined like a VM.

QEMU executes it in Non-secure state, which it cannot tell: stage 2 decides what it reaches, and its
SPMC is ours. In Secure state it could silence the doorbell (ICC_PMR_EL1). Its QEMU has no GIC for
it: its interrupts are virtual ones, which HCR_EL2.VI and VF assert, and it asks its SPMC which they
are. WFI is an exit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ffabric.machine.context import IRQ, NO_REGISTERS
from ffabric.machine.engines.qemu.engine import HCR_RW, HCR_VM
from ffabric.machine.engines.qemu.server import QemuServer, ServingRunner

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.gic import Gic

HCR_FMO, HCR_IMO, HCR_VF_SHIFT = 1 << 3, 1 << 4, 6


class QemuSecurePartition(QemuServer):
    """All vCPUs of an SP."""

    hcr = HCR_RW | HCR_VM | HCR_IMO | HCR_FMO

    def runner(self, ctx: Context, gic: Gic) -> SecurePartitionRunner:
        """The runner of a vCPU."""
        block = self.process.mailbox.block(len(self.runners), self.process.wake)
        runner = SecurePartitionRunner(self, self._machine, ctx, block, None, level=1)
        self.runners.append(runner)
        return runner


class SecurePartitionRunner(ServingRunner):
    """One vCPU of an SP."""

    def start(self, entry: int, x0: int, others: Mapping[int, int] = NO_REGISTERS) -> None:
        """See `Runner.start`."""
        self._block.idles(wanted=True)
        super().start(entry, x0, others)

    def withdraw(self) -> None:
        """See `QemuRunner.withdraw`."""
        super().withdraw()
        self._guest.watch_while_executing()

    def interrupt(self, kind: int, asserted: bool) -> None:
        """See `Runner.interrupt`: HCR_EL2.VI or VF, from the next entry on."""
        self._block.line(1 << HCR_VF_SHIFT + (kind == IRQ), asserted=asserted)
