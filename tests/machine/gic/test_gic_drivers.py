"""The GIC as drivers use it: the order of accesses of Linux, TF-A, and Arm's FF-A ACS."""

import pytest

from ffabric.machine.gic import GROUP1NS, GROUP1S, Distributor, Gic, RedistributorRegion, set_up

MPIDRS = [0x8100_0000, 0x8100_0100]
SGI = 0x10000
NS_WATCHDOG, TRUSTED_WATCHDOG = 59, 56


@pytest.fixture
def gic():
    gic = Gic(2, MPIDRS)
    set_up(gic, secure=[TRUSTED_WATCHDOG])
    return gic


def find_redistributor(frame, mpidr):
    """Walk the frames as every driver does, until TYPER.Last; the base of the one of ``mpidr``."""
    base = 0
    while True:
        low, high = frame.read(base + 8, 4), frame.read(base + 12, 4)
        if high == mpidr & 0xFF_FFFF:
            return base
        assert not low & 0x10, "no redistributor"
        base += 0x20000


def test_acs_takes_a_watchdog_interrupt(gic):
    distributor = Distributor(gic, secure=False)
    redistributor = RedistributorRegion(gic, secure=False)

    def icc(name, value=None):
        if value is None:
            return gic.sysreg_read(0, name, secure=False)
        return gic.sysreg_write(0, name, value, secure=False)

    assert icc("ICC_SRE_EL1") & 1
    control = distributor.read(0, 4)
    assert control & 0x10  # ARE_NS
    distributor.write(0, 4, control | 0x2)
    assert find_redistributor(redistributor, MPIDRS[1]) == 0x20000
    icc("ICC_PMR_EL1", 0xFF)
    icc("ICC_IGRPEN1_EL1", icc("ICC_IGRPEN1_EL1") | 1)

    distributor.write(0x400 + NS_WATCHDOG, 1, 0xA)
    distributor.write(0x6000 + 8 * NS_WATCHDOG, 4, MPIDRS[0] & 0xFF_FFFF)
    distributor.write(0x6000 + 8 * NS_WATCHDOG + 4, 4, 0)
    distributor.write(0x100 + NS_WATCHDOG // 32 * 4, 4, 1 << NS_WATCHDOG % 32)

    gic.set_level(NS_WATCHDOG, True)
    assert gic.pending(0) == (NS_WATCHDOG, GROUP1NS)
    assert icc("ICC_IAR1_EL1") == NS_WATCHDOG
    gic.set_level(NS_WATCHDOG, False)  # the handler stops the watchdog
    icc("ICC_EOIR1_EL1", NS_WATCHDOG)
    assert gic.pending(0) is None

    gic.set_level(TRUSTED_WATCHDOG, True)
    distributor.write(0x100 + TRUSTED_WATCHDOG // 32 * 4, 4, 1 << TRUSTED_WATCHDOG % 32)
    assert gic.pending(0) is None  # a Secure interrupt is not for the normal world to enable


def test_linux_brings_up_distributor_and_redistributor(gic):
    distributor = Distributor(gic, secure=False)
    redistributor = RedistributorRegion(gic, secure=False)
    assert distributor.read(0xFFE8, 4) & 0xF0 == 0x30
    typer = distributor.read(0x4, 4)
    lines = min(32 * ((typer & 0x1F) + 1), 1020)
    assert lines == 1020

    distributor.write(0, 4, 0)
    assert not distributor.read(0, 4) >> 31  # RWP
    for intid in range(32, lines, 32):
        distributor.write(0x80 + intid // 8, 4, 0xFFFF_FFFF)
        distributor.write(0x380 + intid // 8, 4, 0xFFFF_FFFF)
        distributor.write(0x180 + intid // 8, 4, 0xFFFF_FFFF)
    for intid in range(32, lines, 16):
        distributor.write(0xC00 + intid // 4, 4, 0)
    for intid in range(32, lines, 4):
        distributor.write(0x400 + intid, 4, 0xA0A0_A0A0)
    distributor.write(0, 4, 0x13)
    assert distributor.read(0, 4) == 0x12
    for intid in range(32, lines):
        distributor.write(0x6000 + 8 * intid, 8, 0)

    base = find_redistributor(redistributor, MPIDRS[1])
    redistributor.write(base + 0x14, 4, redistributor.read(base + 0x14, 4) & ~2)
    assert not redistributor.read(base + 0x14, 4) & 4  # ChildrenAsleep
    assert not redistributor.read(base, 4) >> 3 & 1  # RWP
    redistributor.write(base + SGI + 0x80, 4, 0xFFFF_FFFF)
    for intid in range(0, 32, 4):
        redistributor.write(base + SGI + 0x400 + intid, 4, 0xA0A0_A0A0)
    redistributor.write(base + SGI + 0x100, 4, 0xFFFF)

    gic.sysreg_write(1, "ICC_SRE_EL1", 1, secure=False)
    assert gic.sysreg_read(1, "ICC_SRE_EL1", secure=False) & 1
    for name, value in (
        ("ICC_PMR_EL1", 0xF0),
        ("ICC_BPR1_EL1", 0),
        ("ICC_CTLR_EL1", 0),
        ("ICC_AP1R0_EL1", 0),
        ("ICC_IGRPEN1_EL1", 1),
    ):
        gic.sysreg_write(1, name, value, secure=False)

    gic.sysreg_write(0, "ICC_SGI1R_EL1", 1 << 16 | 1, secure=False)  # SGI 0 to Aff1 = 1
    assert gic.pending(1) == (0, GROUP1NS)
    assert gic.sysreg_read(1, "ICC_IAR1_EL1", secure=False) == 0
    assert gic.sysreg_read(1, "ICC_RPR_EL1", secure=False) == 0xA0
    gic.sysreg_write(1, "ICC_EOIR1_EL1", 0, secure=False)
    assert gic.pending(1) is None


def test_firmware_brings_up_what_reset_leaves():
    gic = Gic(2, MPIDRS)
    distributor = Distributor(gic, secure=True)
    redistributor = RedistributorRegion(gic, secure=True)
    distributor.write(0, 4, 0x30)  # the enables off, ARE_S and ARE_NS on
    for word in range(1, 9):
        distributor.write(0x80 + 4 * word, 4, 0xFFFF_FFFF)
    for intid in range(32, 288, 4):
        distributor.write(0x400 + intid, 4, 0xD0D0_D0D0)
    word, bit = TRUSTED_WATCHDOG // 32 * 4, 1 << TRUSTED_WATCHDOG % 32
    distributor.write(0x80 + word, 4, distributor.read(0x80 + word, 4) & ~bit)
    distributor.write(0xD00 + word, 4, distributor.read(0xD00 + word, 4) | bit)
    distributor.write(0x400 + TRUSTED_WATCHDOG, 1, 0x10)
    distributor.write(0x6000 + 8 * TRUSTED_WATCHDOG, 8, MPIDRS[1] & 0xFF_FFFF)
    distributor.write(0x100 + word, 4, bit)
    distributor.write(0, 4, 0x37)

    base = find_redistributor(redistributor, MPIDRS[1])
    assert redistributor.read(base + 0x14, 4) & 4
    redistributor.write(base + 0x14, 4, 0)
    assert not redistributor.read(base + 0x14, 4) & 4
    gic.sysreg_write(1, "ICC_PMR_EL1", 0xFF, secure=True)
    gic.sysreg_write(1, "ICC_IGRPEN1_EL1", 1, secure=True)

    gic.set_level(TRUSTED_WATCHDOG, True)
    assert gic.pending(1) == (TRUSTED_WATCHDOG, GROUP1S)
    assert gic.pending(0) is None
