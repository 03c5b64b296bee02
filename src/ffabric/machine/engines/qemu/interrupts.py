"""From a GIC of this machine to the one that QEMU models for its guest.

The guest programs QEMU's GIC and never sees ours, so ours signals whatever is pending for its PE,
and each interrupt is passed on as a message: taken here, made pending there. Whether it is masked
there is the guest's business.

The other way round only one thing is said: that a CPU which waits for the answer to its call has
interrupts to take. For the firmware it is an interrupt like any other of the normal world,
`ELSEWHERE`, which is dropped when the guest has its PE again: its own GIC has it. For a trusted OS
the same holds of secure interrupts: one that came while it waited for a call is `ELSEWHERE_SECURE`
for the firmware, which enters it then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.machine.gic import FIRST_SPI, GROUP1NS, GROUP1S

if TYPE_CHECKING:
    from ffabric.machine.gic import Gic

ELSEWHERE, ELSEWHERE_SECURE = 31, 28
"""PPIs that no device of the machine has."""
_SPURIOUS = 1020


class InterruptRelay:
    """The interrupts of ``pe`` in ``gic``; ``physical`` is the GIC that interrupts firmware.

    They are those of the normal world, or of the `secure` one.
    """

    def __init__(self, gic: Gic, pe: int, physical: Gic, *, secure: bool = False) -> None:
        self._gic = gic
        self._pe = pe
        self._physical = physical
        self._secure = secure
        self._elsewhere = ELSEWHERE_SECURE if secure else ELSEWHERE
        self._group = GROUP1S if secure else GROUP1NS

    def open(self) -> None:
        """Let the GIC signal all that is the normal world's."""
        gic, pe = self._gic, self._pe
        for intid in range(FIRST_SPI):
            if gic.group(intid, pe) == GROUP1NS:
                gic.configure(intid, pe, enabled=True, edge=True)
        gic.sysreg_write(pe, "ICC_PMR_EL1", 0xFF, secure=False)
        gic.sysreg_write(pe, "ICC_IGRPEN1_EL1", 1, secure=False)

    def announce(self, pe: int) -> None:
        """The CPU that has ``pe`` has interrupts to take."""
        gic = self._physical
        gic.configure(self._elsewhere, pe, group=self._group, enabled=True, edge=True)
        gic.set_pending(self._elsewhere, pe)

    def wake(self) -> None:
        """The CPU idles, and has interrupts to take: whoever schedules it hears of one."""
        gic, pe = self._gic, self._pe
        gic.configure(self._elsewhere, pe, group=self._group, enabled=True, edge=True)
        gic.set_pending(self._elsewhere, pe)

    def take(self) -> list[int]:
        """The INTIDs that are signalled now; they are not any more."""
        gic, pe = self._gic, self._pe
        taken: list[int] = []
        while True:
            intid = gic.sysreg_read(pe, "ICC_IAR1_EL1", secure=self._secure)
            if intid >= _SPURIOUS:
                return taken
            gic.sysreg_write(pe, "ICC_EOIR1_EL1", intid, secure=self._secure)
            if intid != self._elsewhere:
                taken.append(intid)
