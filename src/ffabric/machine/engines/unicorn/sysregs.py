"""AArch64 system registers that are answered outside Unicorn, by name.

Numbers are (op0, op1, CRn, CRm, op2) packed as bits 20:5 of the MRS and MSR instructions (Arm ARM
DDI 0487, C5.1.3), names are the architecture's (D19 and the GICv3 specification IHI 0069, 12.2).
"""

from __future__ import annotations


def key(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """The number of a system register: bits 20:5 of an instruction that accesses it."""
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


MPIDR_EL1 = key(3, 0, 0, 0, 5)
ID_AA64PFR0_EL1 = key(3, 0, 0, 4, 0)
ID_AA64PFR1_EL1 = key(3, 0, 0, 4, 1)
ID_AA64DFR0_EL1 = key(3, 0, 0, 5, 0)
ID_AA64ISAR0_EL1 = key(3, 0, 0, 6, 0)
ID_AA64ISAR1_EL1 = key(3, 0, 0, 6, 1)
RNDR = key(3, 3, 2, 4, 0)
RNDRRS = key(3, 3, 2, 4, 1)
PMCCNTR_EL0 = key(3, 3, 9, 13, 0)
CNTFRQ_EL0 = key(3, 3, 14, 0, 0)
CNTPCT_EL0 = key(3, 3, 14, 0, 1)
CNTVCT_EL0 = key(3, 3, 14, 0, 2)

TIMERS = {
    key(3, op1, 14, crm, op2): f"{timer}_{what}_{level}"
    for timer, op1, crm, level in (
        ("CNTP", 3, 2, "EL0"),
        ("CNTV", 3, 3, "EL0"),
        ("CNTHP", 4, 2, "EL2"),
        ("CNTHV", 4, 3, "EL2"),
        ("CNTPS", 7, 2, "EL1"),
    )
    for op2, what in enumerate(("TVAL", "CTL", "CVAL"))
}
"""The timers of the generic timer. Unicorn has their registers, in host time and without effect."""

GIC = {
    key(3, 0, 4, 6, 0): "ICC_PMR_EL1",
    **{
        key(3, 0, 12, 8, op2): f"ICC_{name}_EL1"
        for op2, name in enumerate(
            ("IAR0", "EOIR0", "HPPIR0", "BPR0", "AP0R0", "AP0R1", "AP0R2", "AP0R3")
        )
    },
    **{key(3, 0, 12, 9, n): f"ICC_AP1R{n}_EL1" for n in range(4)},
    key(3, 0, 12, 11, 1): "ICC_DIR_EL1",
    key(3, 0, 12, 11, 3): "ICC_RPR_EL1",
    key(3, 0, 12, 11, 5): "ICC_SGI1R_EL1",
    key(3, 0, 12, 11, 6): "ICC_ASGI1R_EL1",
    key(3, 0, 12, 11, 7): "ICC_SGI0R_EL1",
    **{
        key(3, 0, 12, 12, op2): f"ICC_{name}_EL1"
        for op2, name in enumerate(
            ("IAR1", "EOIR1", "HPPIR1", "BPR1", "CTLR", "SRE", "IGRPEN0", "IGRPEN1")
        )
    },
    key(3, 4, 12, 9, 5): "ICC_SRE_EL2",
    **{key(3, 4, 12, 8, n): f"ICH_AP0R{n}_EL2" for n in range(4)},
    **{key(3, 4, 12, 9, n): f"ICH_AP1R{n}_EL2" for n in range(4)},
    **{
        key(3, 4, 12, 11, op2): f"ICH_{name}_EL2"
        for op2, name in ((0, "HCR"), (1, "VTR"), (2, "MISR"), (3, "EISR"), (5, "ELRSR"))
    },
    key(3, 4, 12, 11, 7): "ICH_VMCR_EL2",
    **{key(3, 4, 12, 12 + n // 8, n % 8): f"ICH_LR{n}_EL2" for n in range(16)},
}
"""The GICv3 CPU interface, which Unicorn does not have."""

NAMES = {**TIMERS, **GIC}

_ACCESS = 0xFFD00000  # MSR, MRS (register) with op0 = 2 or 3, but for the direction
_ACCESS_VALUE = 0xD5100000
_READ = 1 << 21


def name_of(number: int) -> str:
    """The name of a system register; the generic S3_0_C1_C0_0 if it has none here."""
    known = NAMES.get(number)
    if known is not None:
        return known
    op0, op1, crn, crm = number >> 14, number >> 11 & 7, number >> 7 & 15, number >> 3 & 15
    return f"S{op0}_{op1}_C{crn}_C{crm}_{number & 7}"


def decode(word: int) -> tuple[int, bool, int] | None:
    """An MRS or MSR (register) as (system register, write, number of the Xt); else None."""
    if word & _ACCESS != _ACCESS_VALUE:
        return None
    return word >> 5 & 0xFFFF, not word & _READ, word & 31
