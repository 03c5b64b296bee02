"""The GIC as EL3 firmware hands it over: what a boot writes before the normal world runs."""

from __future__ import annotations

from collections.abc import Iterable

from ffabric.machine.gic.distributor import CTLR_ENABLES
from ffabric.machine.gic.gic import Gic

DISTRIBUTOR_SIZE = 0x1_0000
REDISTRIBUTOR_SIZE = 0x2_0000
"""Of each PE: the frames for its own registers and for its SGIs and PPIs (IHI 0069, 12.1.1)."""
SECURE_SGIS = range(8, 16)
"""SGIs that EL3 leaves to an SPMC of the platform's, which donates some (TF-A: ARM_IRQ_SEC_SGI)."""
SECURE_PRIORITY = 0x00
NON_SECURE_PRIORITY = 0xD0
"""What the Non-secure state reads as 0xA0."""

CPU_INTERFACE = (
    ("ICC_PMR_EL1", 0xFF),
    ("ICC_IGRPEN0_EL1", 1),
    ("ICC_IGRPEN1_EL1", 1),
)
"""What the Secure state writes to each CPU interface."""


def set_up(gic: Gic, secure: Iterable[int] = ()) -> None:
    """Wake every PE, enable every group and give the Secure state its interrupts.

    ``secure`` are the INTIDs of Secure Group 1 (below 32 on every PE), at the highest priority. All
    others become Non-secure Group 1 at priority 0xA0 as that state reads it. Interrupts stay
    disabled one by one, and Non-secure Group 1 stays disabled in the CPU interfaces: the driver of
    the normal world enables it.
    """
    wanted, secure = 0, set(secure)
    for intid in secure:
        if not gic.implemented(intid):
            raise ValueError(f"there is no INTID {intid}")
        wanted |= 1 << intid
    for bank in (*gic.private, gic.spis):
        bank.modifier = wanted & bank.implemented
        bank.non_secure = bank.implemented & ~wanted
        bank.priority[:] = bytes([NON_SECURE_PRIORITY]) * len(bank.priority)
        for intid in secure:
            if bank.implemented >> intid & 1:
                bank.priority[intid] = SECURE_PRIORITY
    gic.group_enables = CTLR_ENABLES
    for pe in range(len(gic.cpus)):
        gic.awake[pe] = True
        for name, value in CPU_INTERFACE:
            gic.sysreg_write(pe, name, value, secure=True)
