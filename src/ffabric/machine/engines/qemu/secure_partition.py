"""A secure partition in QEMU: S-EL1 as a guest of our EL2, confined like a VM.

QEMU executes it in Non-secure state, which it cannot tell: stage 2 decides what it reaches, and its
SPMC is ours. Its QEMU has no GIC for it: its interrupts are virtual ones, which HCR_EL2.VI and VF
assert, and it asks its SPMC which they are. WFI is an exit.

In Secure state, which it may have, all is the same but one thing: there QEMU's GIC has no virtual
CPU interface, so that the partition can mask the doorbell (ICC_PMR_EL1) while it executes. One that
does that and does not come back is ended; see `QemuGuest.deadline`.

At S-EL0 it has no EL1: HCR_EL2.TGE brings its SVC, and whatever else it takes, to our EL2, and
without a stage 1 its memory is Normal (HCR_EL2.DC). Interrupts are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ffabric.machine import exits
from ffabric.machine.context import IRQ, NO_REGISTERS
from ffabric.machine.engines.qemu.engine import ADDRESS, HCR_RW, HCR_VM
from ffabric.machine.engines.qemu.process import SEL2_CPU, Confinement
from ffabric.machine.engines.qemu.runner import QemuRunner
from ffabric.machine.engines.qemu.server import QemuServer, ServingRunner
from ffabric.machine.translation.watched import WatchedStage2

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.engines.qemu.process import Piece
    from ffabric.machine.engines.qemu.trapped import Devices
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import Machine

HCR_FMO, HCR_IMO, HCR_VF_SHIFT = 1 << 3, 1 << 4, 6
HCR_DC, HCR_TGE = 1 << 12, 1 << 27
HCR_APK, HCR_API = 1 << 40, 1 << 41
VSTCR_RES1 = 1 << 31
_GEOMETRY = 0xC0FF
"""TG0, SL0 and T0SZ, which VTCR_EL2 and VSTCR_EL2 have at the same places (Arm DDI 0487, D19.2)."""


class QemuSecurePartition(QemuServer):
    """All vCPUs of an SP at S-EL1, or at S-EL0 (``level`` 0).

    Its addresses in ``stage2`` are those of ``ram``; ``secure_state``: QEMU executes it there.
    """

    def __init__(
        self,
        machine: Machine,
        name: str,
        ram: Sequence[Piece],
        *,
        cpus: int,
        on_line: Callable[[str], object],
        stage2: WatchedStage2,
        devices: Devices | None = None,
        level: int = 1,
        secure_state: bool = False,
    ) -> None:
        self.hcr = HCR_RW | HCR_VM | (HCR_IMO | HCR_FMO if level else HCR_TGE | HCR_DC)
        self.secure_state = secure_state
        if secure_state:
            self.hcr |= HCR_APK | HCR_API
            self.cpu = SEL2_CPU
        super().__init__(
            machine, name, ram, cpus=cpus, on_line=on_line, stage2=stage2, devices=devices
        )
        self._level = level

    def _confinement(self, stage2: WatchedStage2) -> Confinement:
        """The tables are the same for both spaces, whatever NS is in those of its stage 1."""
        found = super()._confinement(stage2)
        if not self.secure_state:
            return found
        return msgspec.structs.replace(
            found,
            vsttbr=found.vttbr & ADDRESS,
            vstcr=found.vtcr & _GEOMETRY | VSTCR_RES1,
        )

    def runner(self, ctx: Context, gic: Gic) -> SecurePartitionRunner:
        """The runner of a vCPU."""
        block = self.process.mailbox.block(len(self.runners), self.process.wake)
        runner = SecurePartitionRunner(self, self._machine, ctx, block, None, level=self._level)
        self.runners.append(runner)
        return runner


class SecurePartitionRunner(ServingRunner):
    """One vCPU of an SP."""

    exits = QemuRunner.exits | {exits.SVC}

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
        if self._level:
            self._block.line(1 << HCR_VF_SHIFT + (kind == IRQ), asserted=asserted)
