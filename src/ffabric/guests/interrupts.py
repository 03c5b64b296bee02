"""Interrupts as a vCPU's own software handles them.

A VM, or an OS kernel without a hypervisor, programs a GICv3: its CPU interface by system registers,
its redistributor and distributor by loads and stores (Arm IHI 0069). A secure partition, and a VM
that another one schedules, have no GIC: they ask their partition manager with Hafnium's calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from ffabric.abi import hafnium
from ffabric.abi.ffa.features import NPI
from ffabric.guests.ffa import Ffa

NONE: Final = 1023
"""No interrupt is pending: the GIC's spurious INTID."""

EXTENDED_SPIS: Final = 4096
GICD_CTLR, GICD_ISENABLER, GICD_ISENABLER_E = 0, 0x100, 0x1200
GICD_CTLR_ENABLE = 1 << 4 | 1 << 1
"""ARE_NS and EnableGrp1A, in the Non-secure view."""
GICR_STRIDE = 0x20000
_OF_REDISTRIBUTOR = ((range(32), 0x10100), (range(1056, 1120), 0x10104))
"""INTIDs of SGIs and PPIs, and the first of their GICR_ISENABLER."""
LOWEST_PRIORITY: Final = 0xFF


class Controller(NamedTuple):
    """How a vCPU enables, acknowledges and ends an interrupt."""

    enable: Callable[[Ffa, int], Awaitable[None]]
    acknowledge: Callable[[Ffa], Awaitable[int]]
    end: Callable[[Ffa, int], Awaitable[None]]


def controller(ffa: Ffa) -> Controller:
    """The interrupt controller of a vCPU's partition."""
    return PARA_VIRTUAL if ffa.vcpu.paravirtual else GICV3


async def enable_notifications(ffa: Ffa) -> int:
    """Take the Notification Pending Interrupt on this vCPU; its INTID (FFA_FEATURES)."""
    npi, _ = await ffa.features(NPI)
    await controller(ffa).enable(ffa, npi)
    return npi


async def _enable_at_gic(ffa: Ffa, intid: int) -> None:
    vcpu = ffa.vcpu
    vcpu.msr("ICC_PMR_EL1", LOWEST_PRIORITY)
    vcpu.msr("ICC_IGRPEN1_EL1", 1)
    bit = 1 << intid % 32
    for intids, register in _OF_REDISTRIBUTOR:
        if intid in intids:
            frame = vcpu.gic.redistributors + vcpu.index * GICR_STRIDE
            vcpu.memory.write32(frame + register + (intid - intids.start) // 32 * 4, bit)
            return
    vcpu.memory.write32(vcpu.gic.distributor + GICD_CTLR, GICD_CTLR_ENABLE)
    register = GICD_ISENABLER + intid // 32 * 4
    if intid >= EXTENDED_SPIS:
        register = GICD_ISENABLER_E + (intid - EXTENDED_SPIS) // 32 * 4
    vcpu.memory.write32(vcpu.gic.distributor + register, bit)


async def _acknowledge_at_gic(ffa: Ffa) -> int:
    return ffa.vcpu.mrs("ICC_IAR1_EL1")


async def _end_at_gic(ffa: Ffa, intid: int) -> None:
    ffa.vcpu.msr("ICC_EOIR1_EL1", intid)


async def _enable_at_spmc(ffa: Ffa, intid: int) -> None:
    await ffa.call(hafnium.HF_INTERRUPT_ENABLE, intid, 1, hafnium.InterruptType.IRQ)


async def _acknowledge_at_spmc(ffa: Ffa) -> int:
    x = await ffa.call(hafnium.HF_INTERRUPT_GET)
    return NONE if x[0] == hafnium.INVALID_INTID else x[0]


async def _end_at_spmc(ffa: Ffa, intid: int) -> None:
    await ffa.call(hafnium.HF_INTERRUPT_DEACTIVATE, intid, intid)


GICV3: Final = Controller(_enable_at_gic, _acknowledge_at_gic, _end_at_gic)
PARA_VIRTUAL: Final = Controller(_enable_at_spmc, _acknowledge_at_spmc, _end_at_spmc)
