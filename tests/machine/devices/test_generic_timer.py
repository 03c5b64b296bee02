from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.clock import FREQUENCY, NS_PER_TICK, Clock
from ffabric.machine.devices.generic_timer import (
    NAMES,
    SYSTEM_REGISTERS,
    ArchitectedTimers,
    CntBase,
    CntCtlBase,
    Timer,
)

ENABLE, IMASK, ISTATUS = 1, 2, 4
CNTPCT, CNTVCT, CNTFRQ, CVAL, TVAL, CTL = 0x0, 0x8, 0x10, 0x20, 0x28, 0x2C
V_CVAL, V_TVAL, V_CTL = 0x30, 0x38, 0x3C


@pytest.fixture
def frame(clock, levels):
    return CntBase(clock, levels.append)


def ticks(count):
    return count * NS_PER_TICK


def test_a_driver_sets_a_timeout(clock, levels, frame):
    """The accesses of the ACS driver for AP_REFCLK, which reads the counter's lower half only."""
    clock.advance(ticks(1000))
    frame.write(CTL, 4, frame.read(CTL, 4) & ~(ENABLE | IMASK))
    frequency = frame.read(CNTFRQ, 4)
    assert frequency == FREQUENCY
    assert frequency // 1_000_000 > 0
    frame.write(CVAL, 8, frame.read(CNTPCT, 4) + 500)
    frame.write(CTL, 4, frame.read(CTL, 4) & ~IMASK | ENABLE)
    assert clock.next_deadline() == ticks(1500)
    clock.advance(ticks(500) - 1)
    assert (levels, frame.read(CTL, 4)) == ([], ENABLE)
    clock.advance(1)
    assert (levels, frame.read(CTL, 4)) == ([True], ENABLE | ISTATUS)
    frame.write(CTL, 4, 0)
    assert (levels, frame.read(CTL, 4)) == ([True, False], 0)
    assert clock.next_deadline() is None


def test_the_line_is_a_level(clock, levels, frame):
    frame.write(CVAL, 8, 10)
    frame.write(CTL, 4, ENABLE)
    clock.advance(ticks(10))
    frame.write(CTL, 4, ENABLE | IMASK)
    assert frame.read(CTL, 4) == ENABLE | IMASK | ISTATUS
    frame.write(CTL, 4, ENABLE)
    frame.write(CVAL, 8, 20)
    assert levels == [True, False, True, False]
    clock.advance(ticks(10))
    assert levels == [True, False, True, False, True]


def test_a_masked_timer_needs_no_deadline_but_tells_its_status(clock, levels, frame):
    frame.write(CVAL, 8, 10)
    frame.write(CTL, 4, ENABLE | IMASK)
    assert clock.next_deadline() is None
    clock.advance(ticks(10))
    assert frame.read(CTL, 4) & ISTATUS
    assert levels == []


@pytest.mark.parametrize("compare", [2**64 - 1, 2**63])
def test_a_compare_value_out_of_reach_is_no_deadline(clock, frame, compare):
    frame.write(CVAL, 8, compare)
    frame.write(CTL, 4, ENABLE)
    assert clock.next_deadline() is None
    assert frame.read(CTL, 4) == ENABLE


def test_tval_is_a_signed_view_of_cval(clock, frame):
    clock.advance(ticks(100))
    frame.write(TVAL, 4, 50)
    assert frame.read(CVAL, 8) == 150
    clock.advance(ticks(60))
    assert frame.read(TVAL, 4) == 0xFFFF_FFF6
    frame.write(TVAL, 4, 0xFFFF_FFFF)
    assert frame.read(CVAL, 8) == 159


def test_wide_registers_take_halves(clock, frame):
    frame.write(CVAL, 4, 0x5555)
    frame.write(CVAL + 4, 4, 0x1)
    assert frame.read(CVAL, 8) == 0x1_0000_5555
    assert frame.read(CVAL + 4, 4) == 1
    clock.advance(ticks(1 << 33))
    assert (frame.read(CNTPCT, 4), frame.read(CNTPCT + 4, 4)) == (0, 2)


def test_counters_and_frequency_are_read_only(clock, frame):
    clock.advance(ticks(7))
    for offset in (CNTPCT, CNTVCT, CNTFRQ, 0x18):
        before = frame.read(offset, 4)
        frame.write(offset, 4, 0x1234)
        assert frame.read(offset, 4) == before


def test_the_virtual_timer_of_a_frame_has_its_own_line(clock):
    physical, virtual = [], []
    frame = CntBase(clock, physical.append, virtual.append)
    frame.write(V_TVAL, 4, 5)
    frame.write(V_CTL, 4, ENABLE)
    clock.advance(ticks(5))
    assert (physical, virtual) == ([], [True])
    assert frame.read(V_CVAL, 8) == 5


def test_the_control_frame_offsets_virtual_time(clock):
    base = CntBase(clock, [].append)  # type: ignore[arg-type]
    control = CntCtlBase(base)
    assert control.read(0x8, 4) == 0x3  # frame 0: implemented, virtual timer
    assert control.read(0x0, 4) == FREQUENCY
    clock.advance(ticks(100))
    control.write(0x80, 8, 40)
    assert (control.read(0x80, 8), base.read(0x18, 8), base.read(CNTVCT, 8)) == (40, 40, 60)
    control.write(0x40, 4, 0xFFFF_FFFF)
    assert control.read(0x40, 4) == 0x3F
    control.write(0x44, 4, 0x3F)
    control.write(0x88, 8, 0x3F)
    assert (control.read(0x44, 4), control.read(0x88, 8)) == (0, 0)
    control.write(0x4, 4, 0)
    assert control.read(0x4, 4) == 0


def test_architected_timers(clock):
    physical, virtual = [], []
    timers = ArchitectedTimers(clock, physical.append, virtual.append)
    clock.advance(ticks(1000))
    timers.sysreg_write("CNTVOFF_EL2", 900)
    counters = [timers.sysreg_read(name) for name in ("CNTPCT_EL0", "CNTVCT_EL0", "CNTFRQ_EL0")]
    assert counters == [1000, 100, FREQUENCY]
    timers.sysreg_write("CNTP_TVAL_EL0", 20)
    timers.sysreg_write("CNTV_CVAL_EL0", 110)
    for name in ("CNTP_CTL_EL0", "CNTV_CTL_EL0"):
        timers.sysreg_write(name, ENABLE)
    clock.advance(ticks(10))
    assert (physical, virtual) == ([], [True])
    clock.advance(ticks(10))
    assert (physical, virtual) == ([True], [True])
    assert timers.sysreg_read("CNTV_TVAL_EL0") == 0xFFFF_FFF6
    timers.sysreg_write("CNTVOFF_EL2", 1000)  # virtual time goes back
    assert virtual == [True, False]
    for name in ("CNTPCT_EL0", "CNTFRQ_EL0"):
        before = timers.sysreg_read(name)
        timers.sysreg_write(name, 5)
        assert timers.sysreg_read(name) == before
    with pytest.raises(ValueError, match="CNTHP_CTL_EL2"):
        timers.sysreg_read("CNTHP_CTL_EL2")


def test_a_count_that_wraps_lowers_the_line(clock, levels):
    timer = Timer(clock, levels.append)
    timer.compare = 5
    timer.offset = 3  # ahead of the counter: the count is 2**64 - 3
    timer.control = ENABLE
    assert levels == [True]
    clock.advance(ticks(3))
    assert (levels, timer.count, timer.control) == ([True, False], 0, ENABLE)
    clock.advance(ticks(5))
    assert levels == [True, False, True]


def test_encodings_name_the_registers():
    assert len(NAMES) == len(SYSTEM_REGISTERS)
    assert NAMES[3, 3, 14, 2, 1] == "CNTP_CTL_EL0"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("control"), st.integers(0, 3)),
            st.tuples(st.just("compare"), st.integers(0, 300)),
            st.tuples(st.just("value"), st.integers(0, 300)),
            st.tuples(st.just("offset"), st.integers(0, 100)),
            st.tuples(st.just("advance"), st.integers(0, 2000)),
        ),
        max_size=30,
    )
)
def test_the_line_always_is_istatus_and_not_imask(steps):
    clock = Clock()
    lines = [False]
    timer = Timer(clock, lines.append)
    for what, value in steps:
        if what == "advance":
            clock.advance(value)
        else:
            setattr(timer, what, value)
        assert lines[-1] == (timer.control & (ISTATUS | IMASK) == ISTATUS)
        met = timer.count >= timer.compare
        assert bool(timer.control & ISTATUS) == (bool(timer.control & ENABLE) and met)
    assert all(before != after for before, after in pairwise(lines))
