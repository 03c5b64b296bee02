import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.gic import (
    GROUP0,
    GROUP1NS,
    GROUP1S,
    NAMES,
    SPURIOUS,
    SYSTEM_REGISTERS,
    Gic,
    State,
    set_up,
)

SECURE_SPI, NS_SPI = 56, 59


class Cpu:
    """One Security state on PE 0."""

    def __init__(self, gic, *, secure):
        self.gic = gic
        self.secure = secure

    def __getitem__(self, name):
        return self.gic.sysreg_read(0, f"ICC_{name}", self.secure)

    def __setitem__(self, name, value):
        self.gic.sysreg_write(0, f"ICC_{name}", value, self.secure)


@pytest.fixture
def gic():
    gic = Gic(1)
    set_up(gic, secure=[SECURE_SPI, 55])
    for intid in range(32, 96):
        gic.configure(intid, enabled=True)
    return gic


@pytest.fixture
def ns(gic):
    cpu = Cpu(gic, secure=False)
    cpu["PMR_EL1"] = 0xFF
    cpu["IGRPEN1_EL1"] = 1
    return cpu


@pytest.fixture
def s(gic):
    return Cpu(gic, secure=True)


def test_acknowledge_and_end(gic, ns):
    gic.set_level(NS_SPI, True)
    assert ns["HPPIR1_EL1"] == NS_SPI
    assert ns["IAR1_EL1"] == NS_SPI
    assert gic.state(NS_SPI) is State.ACTIVE_PENDING
    assert ns["RPR_EL1"] == 0xA0
    assert ns["IAR1_EL1"] == SPURIOUS
    gic.set_level(NS_SPI, False)
    ns["EOIR1_EL1"] = NS_SPI
    assert gic.state(NS_SPI) is State.INACTIVE
    assert ns["RPR_EL1"] == 0xFF
    assert ns["HPPIR1_EL1"] == SPURIOUS


def test_end_and_deactivate_apart(gic, ns):
    ns["CTLR_EL1"] = 0x2  # EOImode
    assert ns["CTLR_EL1"] == 0x8_8402  # ExtRange, A3V, 5 bits of priority
    gic.set_pending(NS_SPI)
    assert ns["IAR1_EL1"] == NS_SPI
    ns["EOIR1_EL1"] = NS_SPI
    assert ns["RPR_EL1"] == 0xFF
    assert gic.state(NS_SPI) is State.ACTIVE
    ns["DIR_EL1"] = SECURE_SPI
    ns["DIR_EL1"] = SPURIOUS
    ns["DIR_EL1"] = NS_SPI
    assert gic.state(NS_SPI) is State.INACTIVE


def test_dir_needs_eoimode_and_a_right_to_the_interrupt(gic, ns, s):
    gic.acknowledge(0, SECURE_SPI)
    gic.acknowledge(0, NS_SPI)
    ns["DIR_EL1"] = NS_SPI
    assert gic.state(NS_SPI) is State.ACTIVE
    ns["CTLR_EL1"] = s["CTLR_EL1"] = 0x2
    ns["DIR_EL1"] = SECURE_SPI
    assert gic.state(SECURE_SPI) is State.ACTIVE
    s["DIR_EL1"] = SECURE_SPI
    s["DIR_EL1"] = NS_SPI
    assert [gic.state(SECURE_SPI), gic.state(NS_SPI)] == [State.INACTIVE] * 2


def test_each_state_acknowledges_its_own(gic, ns, s):
    gic.set_level(SECURE_SPI, True)
    gic.set_level(NS_SPI, True)
    assert s["HPPIR1_EL1"] == SECURE_SPI
    assert ns["HPPIR1_EL1"] == NS_SPI
    assert ns["IAR1_EL1"] == NS_SPI
    assert s["IAR1_EL1"] == SECURE_SPI  # it preempts
    assert ns["RPR_EL1"] == 0  # a Secure priority runs
    ns["EOIR1_EL1"] = NS_SPI  # out of order: ignored
    assert gic.state(NS_SPI) is State.ACTIVE_PENDING
    s["EOIR1_EL1"] = SECURE_SPI
    assert ns["RPR_EL1"] == 0xA0
    ns["EOIR1_EL1"] = NS_SPI
    assert gic.state(NS_SPI) is State.PENDING


def test_preemption_takes_a_higher_group_priority(gic, ns):
    gic.configure(40, priority=0xD0)
    gic.configure(41, priority=0xC0)
    gic.configure(42, priority=0xD0)
    gic.set_pending(40)
    assert ns["IAR1_EL1"] == 40
    gic.set_pending(42)
    assert gic.pending(0) is None
    gic.set_pending(41)
    assert gic.pending(0) == (41, GROUP1NS)
    assert ns["IAR1_EL1"] == 41
    ns["EOIR1_EL1"] = 41
    assert gic.pending(0) is None
    ns["EOIR1_EL1"] = 40
    assert gic.pending(0) == (42, GROUP1NS)


# The Non-secure binary point that leaves group priority bits [7:5], and one that leaves [7:4]
@pytest.mark.parametrize(("binary_point", "preempts"), [(5, False), (4, True)])
def test_the_binary_point_decides_what_preempts(gic, ns, binary_point, preempts):
    gic.configure(40, priority=0xD0)
    gic.configure(41, priority=0xC0)
    ns["BPR1_EL1"] = binary_point
    gic.set_pending(40)
    assert ns["IAR1_EL1"] == 40
    gic.set_pending(41)
    assert gic.pending(0) == ((41, GROUP1NS) if preempts else None)


def test_binary_points_have_a_minimum_and_may_be_common(ns, s):
    ns["BPR1_EL1"] = s["BPR1_EL1"] = s["BPR0_EL1"] = 0
    assert (ns["BPR1_EL1"], s["BPR1_EL1"], s["BPR0_EL1"]) == (3, 2, 2)
    ns["CTLR_EL1"] = s["CTLR_EL1"] = 1  # CBPR
    s["BPR1_EL1"] = 6
    ns["BPR1_EL1"] = 3
    assert (ns["BPR1_EL1"], s["BPR1_EL1"], s["BPR0_EL1"]) == (7, 6, 6)
    ns["CTLR_EL1"] = s["CTLR_EL1"] = 0
    assert (ns["BPR1_EL1"], s["BPR1_EL1"]) == (3, 2)


@pytest.mark.parametrize(("common", "preempts"), [(1, False), (0, True)])
def test_a_common_binary_point_decides_for_group_1(gic, ns, s, common, preempts):
    gic.configure(40, priority=0xD0)
    gic.configure(41, priority=0xC0)
    s["BPR0_EL1"] = 4  # bits [7:5]
    ns["CTLR_EL1"] = common
    gic.set_pending(40)
    assert ns["IAR1_EL1"] == 40
    gic.set_pending(41)
    assert gic.pending(0) == ((41, GROUP1NS) if preempts else None)


def test_the_priority_mask_has_a_non_secure_view(gic, ns, s):
    ns["PMR_EL1"] = 0xF0
    assert (ns["PMR_EL1"], s["PMR_EL1"]) == (0xF0, 0xF8)
    ns["PMR_EL1"] = 0
    assert s["PMR_EL1"] == 0x80
    gic.set_level(SECURE_SPI, True)
    gic.set_level(NS_SPI, True)
    assert gic.pending(0) == (SECURE_SPI, GROUP1S)  # not to be masked from there
    s["PMR_EL1"] = 0x40
    ns["PMR_EL1"] = 0xFF  # ignored while the mask is in the Secure half
    assert (ns["PMR_EL1"], s["PMR_EL1"]) == (0, 0x40)


def test_how_a_driver_finds_the_number_of_priority_bits(ns):
    """Linux writes one bit below the implemented ones: Group 0 is its own if that sticks."""
    bits = (ns["CTLR_EL1"] >> 8 & 7) + 1
    ns["PMR_EL1"] = 1 << 8 - bits
    assert ns["PMR_EL1"] == 0


def test_group_0_is_not_for_the_non_secure_state(gic, ns, s):
    gic.configure(50, group=GROUP0, priority=0x40)
    gic.set_pending(50)
    assert gic.pending(0) == (50, GROUP0)
    assert (ns["IAR0_EL1"], ns["HPPIR0_EL1"]) == (SPURIOUS, SPURIOUS)
    for name in ("BPR0_EL1", "IGRPEN0_EL1", "AP0R0_EL1"):
        before = s[name]
        ns[name] = 7
        assert ns[name] == 0
        assert s[name] == before
    assert (s["HPPIR0_EL1"], s["IAR0_EL1"]) == (50, 50)
    assert (s["RPR_EL1"], s["AP0R0_EL1"]) == (0x40, 1 << 8)
    ns["EOIR0_EL1"] = 50
    s["EOIR1_EL1"] = 50
    assert gic.state(50) is State.ACTIVE
    s["EOIR0_EL1"] = 50
    assert gic.state(50) is State.INACTIVE
    s["IGRPEN0_EL1"] = 0
    gic.set_pending(50)
    assert gic.pending(0) is None


def test_group_enables_are_banked(gic, ns, s):
    ns["IGRPEN1_EL1"] = 0
    assert (ns["IGRPEN1_EL1"], s["IGRPEN1_EL1"], s["IGRPEN0_EL1"]) == (0, 1, 1)
    gic.set_level(NS_SPI, True)
    assert gic.pending(0) is None
    assert ns["HPPIR1_EL1"] == SPURIOUS


def test_active_priorities_can_be_restored(gic, ns, s):
    gic.set_pending(NS_SPI)
    assert ns["IAR1_EL1"] == NS_SPI
    saved = ns["AP1R0_EL1"]
    assert saved == 1 << 26
    ns["AP1R0_EL1"] = 0
    assert ns["RPR_EL1"] == 0xFF
    ns["AP1R0_EL1"] = saved
    assert ns["RPR_EL1"] == 0xA0
    assert s["AP1R0_EL1"] == 0
    s["AP0R0_EL1"] = 1
    assert s["RPR_EL1"] == 0


@pytest.mark.parametrize("intid", [SPURIOUS, 1020, 1055, 3000, SECURE_SPI, 0xFF_FFFF])
def test_the_end_of_another_interrupt_is_ignored(gic, ns, intid):
    gic.set_pending(NS_SPI)
    assert ns["IAR1_EL1"] == NS_SPI
    ns["EOIR1_EL1"] = intid
    assert ns["RPR_EL1"] == 0xA0
    assert gic.state(NS_SPI) is State.ACTIVE


def test_the_end_of_nothing_is_ignored(gic, ns):
    ns["EOIR1_EL1"] = NS_SPI
    assert ns["RPR_EL1"] == 0xFF


def test_system_registers_are_on_for_ever(ns, s):
    for cpu in (ns, s):
        cpu["SRE_EL1"] = 0
        cpu["SRE_EL2"] = 0
        assert (cpu["SRE_EL1"], cpu["SRE_EL2"]) == (7, 0xF)


def test_access_in_the_wrong_direction_is_a_mistake(gic):
    for refused in (
        lambda: gic.sysreg_read(0, "ICC_EOIR1_EL1", secure=True),
        lambda: gic.sysreg_write(0, "ICC_IAR1_EL1", 0, secure=True),
        lambda: gic.sysreg_read(0, "ICC_NONE_EL1", secure=True),
    ):
        with pytest.raises(ValueError, match="ICC_"):
            refused()


def test_encodings_name_the_registers():
    assert len(NAMES) == len(SYSTEM_REGISTERS)
    assert NAMES[3, 0, 12, 12, 0] == "ICC_IAR1_EL1"
    assert NAMES[3, 0, 4, 6, 0] == "ICC_PMR_EL1"


@given(st.lists(st.tuples(st.integers(32, 47), st.integers(0, 0x77)), min_size=1, max_size=12))
def test_nested_interrupts_end_in_reverse_and_leave_nothing(pendings):
    gic = Gic(1)
    set_up(gic)
    ns = Cpu(gic, secure=False)
    ns["PMR_EL1"] = 0xFF
    ns["IGRPEN1_EL1"] = 1
    stack = []
    running = [0xFF]

    def take():
        while (intid := ns["IAR1_EL1"]) != SPURIOUS:
            assert ns["RPR_EL1"] < running[-1]
            stack.append(intid)
            running.append(ns["RPR_EL1"])

    for intid, priority in pendings:
        if intid not in stack:
            gic.configure(intid, enabled=True, priority=0x80 | priority)
        gic.set_pending(intid)
        take()
    while stack:
        assert ns["RPR_EL1"] == running.pop()
        ns["EOIR1_EL1"] = stack.pop()
        take()
    assert ns["RPR_EL1"] == 0xFF
    assert {gic.state(intid) for intid, _ in pendings} == {State.INACTIVE}
