"""A vCPU at power-on: what EL3 and EL2 would have set up before they enter the partition.

Out of reset Unicorn's EL1 is AArch32 for its MMU and HVC is undefined, since SCR_EL3 and HCR_EL2
are zero. All worlds run with SCR_EL3.NS = 1: the core then has an EL2 whose stage 2 applies, and
the Security state is what the tables and the bus make of it.
"""

from __future__ import annotations

from collections.abc import Container
from ctypes import addressof, c_char
from typing import TYPE_CHECKING

from ffabric.machine.engines.unicorn import layout, native
from ffabric.machine.engines.unicorn.package import arm

if TYPE_CHECKING:
    from ffabric.machine.memory import PhysicalMemory
    from ffabric.machine.translation.stage2 import Stage2

HCR_EL2 = (3, 4, 1, 1, 0)
HPFAR_EL2 = (3, 4, 6, 0, 4)
_SCR_EL3 = (3, 6, 1, 1, 0)
_VTTBR_EL2 = (3, 4, 2, 1, 0)
_VTCR_EL2 = (3, 4, 2, 1, 2)
_CNTHCTL_EL2 = (3, 4, 14, 1, 0)
_VMPIDR_EL2 = (3, 4, 0, 0, 5)
_SCTLR_EL1 = (3, 0, 1, 0, 0)
_CPACR_EL1 = (3, 0, 1, 0, 2)
_CNTKCTL_EL1 = (3, 0, 14, 1, 0)

_SCR = 1 << 17 | 1 << 16 | 1 << 12 | 1 << 10 | 1 << 8 | 1  # API, APK, TWI, RW, HCE, NS
_HCR = 1 << 41 | 1 << 40 | 1 << 31  # API, APK, RW
_HCR_VM = 1 << 0
_HCR_DC = 1 << 12  # without stage 1, memory is Normal and cacheable
_WITHOUT_EL1 = {
    _SCTLR_EL1: 0x30D00800 | 1 << 26 | 1 << 18 | 1 << 16 | 1 << 15 | 1 << 14,  # UCI to DZE
    _CPACR_EL1: 3 << 20,  # FPEN
    _CNTKCTL_EL1: 3,  # EL0VCTEN, EL0PCTEN
}
EL2 = 2
_ZCR_LENGTH = 1  # of vectors in quadwords, less one: 256 bits
_SVE = {(3, 6, 1, 1, 2): 1 << 8, (3, 6, 1, 2, 0): _ZCR_LENGTH, (3, 4, 1, 2, 0): _ZCR_LENGTH}
"""CPTR_EL3.EZ, ZCR_EL3, ZCR_EL2."""
_SVE_BELOW_EL2 = {(3, 4, 1, 1, 2): 0x32FF}
"""CPTR_EL2, with TZ clear."""
_SVE_WITHOUT_EL1 = {_CPACR_EL1: 3 << 20 | 3 << 16, (3, 0, 1, 2, 0): _ZCR_LENGTH}
"""CPACR_EL1 with ZEN, too; ZCR_EL1."""
_PSTATE = (0x3C0, 0x3C5, 0x3C9)  # EL0t, EL1h, EL2h, all masked


def power_on(
    memory: PhysicalMemory,
    model: str,
    *,
    level: int,
    mpidr: int,
    stage2: Stage2 | None,
    secure: bool,
    features: Container[str] = (),
) -> native.Emulator:
    """A new emulator at `level`, MMU off, DAIF masked. PC is not set.

    It sees all memory if stage 2 is there to decide, and else what its world may see.
    """
    emulator = native.Emulator(model, layout.find())
    for bank in memory.banks:
        if secure or stage2 is not None or not bank.secure:
            emulator.map_memory(bank.base, bank.size, addressof(c_char.from_buffer(bank.mapping)))
    hcr = _HCR
    system = {_SCR_EL3: _SCR, _CNTHCTL_EL2: 3}
    if stage2 is not None:
        hcr |= _HCR_VM
        system |= {_VTCR_EL2: stage2.vtcr, _VTTBR_EL2: stage2.vttbr}
    if level == 0:
        hcr |= _HCR_DC
        system |= _WITHOUT_EL1
    if "sve" in features:
        system |= _SVE | (_SVE_BELOW_EL2 if level < EL2 else {})
        if level == 0:
            system |= _SVE_WITHOUT_EL1
    emulator.write_all(
        *system.items(),
        (HCR_EL2, hcr),
        (arm.UC_ARM64_REG_PSTATE, _PSTATE[level]),
        (_VMPIDR_EL2, mpidr),
    )
    return emulator
