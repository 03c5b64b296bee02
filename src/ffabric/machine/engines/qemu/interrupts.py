"""From a GIC of this machine to the one that QEMU models for its guest.

The guest programs QEMU's GIC and never sees ours, so ours signals whatever is pending for its PE,
and each interrupt is passed on as a message: taken here, made pending there. Whether it is masked
there is the guest's business. Of one that is level-triggered nobody tells us when the guest is done
with it, but that takes an access to its device.

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
        self._held: list[int] = []

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
        """The INTIDs that are signalled now; they are not any more, unless lines stay high.

        One that is level-triggered is not signalled again before `done`.
        """
        gic, pe = self._gic, self._pe
        taken: list[int] = []
        while (intid := gic.pending_in(pe, self._group)) is not None:
            if not gic.take(pe, intid):
                self._held.append(intid)
            if intid != self._elsewhere:
                taken.append(intid)
        return taken

    def done(self) -> None:
        """The guest has accessed a device: its line may be low now, and is looked at again."""
        while self._held:
            self._gic.deactivate(self._pe, self._held.pop())
