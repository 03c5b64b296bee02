import pytest

from ffabric.machine.clock import NS_PER_TICK
from ffabric.machine.devices.generic_watchdog import GenericWatchdog

WRR, WCS, WOR, WCV, IIDR = 0x0, 0x0, 0x8, 0x10, 0xFCC
EN, WS0, WS1 = 1, 2, 4


@pytest.fixture
def watchdog(clock, levels, resets):
    return GenericWatchdog(clock, levels.append, lambda: resets.append(clock.now))


def ticks(count):
    return count * NS_PER_TICK


def test_two_stages(clock, levels, resets, watchdog):
    control = watchdog.control
    control.write(WOR, 4, 1000)
    assert clock.next_deadline() is None
    control.write(WCS, 4, EN)
    assert control.read(WCV, 8) == 1000
    clock.advance(ticks(1000))
    assert (levels, control.read(WCS, 4)) == ([], EN)
    clock.advance(ticks(1))
    assert (levels, control.read(WCS, 4)) == ([True], EN | WS0)
    assert control.read(WCV, 8) == 2001
    clock.advance(ticks(1000))
    assert resets == []
    clock.advance(ticks(1))
    assert resets == [ticks(2002)]
    assert control.read(WCS, 4) == EN | WS0 | WS1
    assert clock.next_deadline() is None


@pytest.mark.parametrize("frame", ["refresh", "control"])
def test_a_refresh_withdraws_the_interrupt_and_starts_again(clock, levels, watchdog, frame):
    control = watchdog.control
    control.write(WOR, 4, 100)
    control.write(WCS, 4, EN)
    clock.advance(ticks(101))
    if frame == "refresh":
        watchdog.refresh.write(WRR, 4, 0)
        assert watchdog.refresh.read(WRR, 4) == 0
    else:
        control.write(WCS, 4, EN)
    assert (levels, control.read(WCS, 4), control.read(WCV, 8)) == ([True, False], EN, 201)
    clock.advance(ticks(100))
    assert levels == [True, False]
    clock.advance(ticks(1))
    assert levels == [True, False, True]


def test_disabling_ends_everything(clock, levels, resets, watchdog):
    """The accesses of the ACS: WOR, WCS = 1, and in the interrupt handler WCS = 0."""
    control = watchdog.control
    control.write(WOR, 4, 500_000)
    control.write(WCS, 4, 1)
    clock.advance(ticks(500_001))
    control.write(WCS, 4, 0)
    assert (levels, control.read(WCS, 4)) == ([True, False], 0)
    clock.advance(ticks(5_000_000))
    assert (levels, resets, clock.next_deadline()) == ([True, False], [], None)


def test_a_new_offset_refreshes(clock, watchdog):
    control = watchdog.control
    control.write(WOR, 4, 100)
    control.write(WCS, 4, EN)
    clock.advance(ticks(60))
    control.write(WOR, 4, 200)
    assert control.read(WCV, 8) == 260
    control.write(WOR + 4, 4, 0xFFFF_0001)
    assert control.read(WOR, 8) == 1 << 32 | 200
    assert control.read(WCV, 8) == 60 + (1 << 32 | 200)


def test_the_compare_value_can_be_written(clock, levels, watchdog):
    control = watchdog.control
    control.write(WOR, 4, 1000)
    control.write(WCS, 4, EN)
    control.write(WCV, 4, 10)
    assert control.read(WCV, 8) == 10
    clock.advance(ticks(11))
    assert levels == [True]


def test_a_zero_offset_runs_out_at_once_but_no_faster_than_the_counter(clock, resets, watchdog):
    watchdog.control.write(WCS, 4, EN)
    clock.advance(ticks(10))
    assert resets == [ticks(2)]


def test_identification(watchdog):
    for frame in (watchdog.control, watchdog.refresh):
        assert frame.read(IIDR, 4) >> 16 & 0xF == 1
        frame.write(IIDR, 4, 0)
        assert frame.read(IIDR, 4) & 0xFFF == 0x43B


def test_the_reset_may_lead_nowhere(clock, levels):
    watchdog = GenericWatchdog(clock, levels.append)
    watchdog.control.write(WCS, 4, EN)
    clock.advance(ticks(10))
    assert watchdog.control.read(WCS, 4) == EN | WS0 | WS1
    watchdog.refresh.write(WRR, 4, 0)
    assert watchdog.control.read(WCS, 4) == EN
