import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.clock import Clock
from ffabric.machine.devices.sp805 import FREQUENCY, SECOND, UNLOCK, Sp805

LOAD, VALUE, CONTROL, INTCLR, RIS, MIS, LOCK = 0x0, 0x4, 0x8, 0xC, 0x10, 0x14, 0xC00
INTEN, RESEN = 1, 2


@pytest.fixture
def watchdog(clock, levels, resets):
    return Sp805(clock, levels.append, lambda: resets.append(clock.now))


def start(watchdog, load, control=INTEN | RESEN):
    """As the ACS and Hafnium's tests do it."""
    watchdog.write(LOCK, 4, UNLOCK)
    watchdog.write(LOAD, 4, load)
    watchdog.write(CONTROL, 4, control)
    watchdog.write(LOCK, 4, 0)


def stop(watchdog):
    watchdog.write(LOCK, 4, UNLOCK)
    watchdog.write(CONTROL, 4, 0)
    watchdog.write(LOCK, 4, 0)


def test_reset_state(clock, watchdog):
    registers = [watchdog.read(at, 4) for at in (LOAD, VALUE, CONTROL, INTCLR, RIS, MIS, LOCK)]
    assert registers == [0xFFFF_FFFF, 0xFFFF_FFFF, 0, 0, 0, 0, 0]
    assert clock.next_deadline() is None
    identification = [watchdog.read(0xFE0 + 4 * n, 4) for n in range(8)]
    assert identification == [0x05, 0x18, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]


def test_it_interrupts_then_asks_for_a_reset(clock, levels, resets, watchdog):
    start(watchdog, FREQUENCY)
    clock.advance(SECOND - 1)
    assert (levels, watchdog.read(VALUE, 4)) == ([], 1)
    clock.advance(1)
    assert (levels, watchdog.read(RIS, 4), watchdog.read(MIS, 4)) == ([True], 1, 1)
    assert watchdog.read(VALUE, 4) == FREQUENCY
    clock.advance(SECOND - 1)
    assert resets == []
    clock.advance(1)
    assert resets == [2 * SECOND]
    assert clock.next_deadline() is None
    assert watchdog.read(VALUE, 4) == 0


def test_the_handler_stops_it_and_the_next_test_starts_it_again(clock, levels, resets, watchdog):
    start(watchdog, FREQUENCY)
    clock.advance(SECOND)
    stop(watchdog)
    assert (levels, watchdog.read(MIS, 4)) == ([True, False], 0)
    start(watchdog, FREQUENCY // 2)
    assert levels == [True, False]
    clock.advance(SECOND // 2)
    assert levels == [True, False, True]
    assert resets == []


def test_clearing_the_interrupt_starts_again(clock, levels, resets, watchdog):
    start(watchdog, FREQUENCY)
    clock.advance(SECOND + SECOND // 2)
    watchdog.write(LOCK, 4, UNLOCK)
    watchdog.write(INTCLR, 4, 1)
    assert (levels, watchdog.read(RIS, 4)) == ([True, False], 0)
    assert clock.next_deadline() == SECOND + SECOND // 2 + SECOND
    clock.advance(SECOND)
    assert levels == [True, False, True]
    assert resets == []


def test_without_reset_it_goes_on_counting_without_a_deadline(clock, levels, resets, watchdog):
    start(watchdog, FREQUENCY, INTEN)
    clock.advance(SECOND)
    assert clock.next_deadline() is None
    clock.advance(SECOND // 4)
    assert watchdog.read(VALUE, 4) == FREQUENCY * 3 // 4
    watchdog.write(LOCK, 4, UNLOCK)
    watchdog.write(CONTROL, 4, INTEN | RESEN)
    assert clock.next_deadline() == 2 * SECOND
    clock.advance(SECOND)
    assert (levels, resets) == ([True], [2 * SECOND])


def test_a_stopped_counter_keeps_its_value(clock, watchdog):
    start(watchdog, FREQUENCY)
    clock.advance(SECOND // 4)
    stop(watchdog)
    clock.advance(SECOND)
    assert watchdog.read(VALUE, 4) == FREQUENCY * 3 // 4
    watchdog.write(LOCK, 4, UNLOCK)
    watchdog.write(CONTROL, 4, INTEN)
    assert watchdog.read(VALUE, 4) == FREQUENCY


def test_a_locked_watchdog_ignores_writes(clock, levels, watchdog):
    start(watchdog, FREQUENCY)
    assert watchdog.read(LOCK, 4) == 1
    for offset in (LOAD, CONTROL, INTCLR):
        watchdog.write(offset, 4, 0)
    assert (watchdog.read(LOAD, 4), watchdog.read(CONTROL, 4)) == (FREQUENCY, INTEN | RESEN)
    watchdog.write(LOCK, 4, UNLOCK)
    assert watchdog.read(LOCK, 4) == 0
    watchdog.write(LOAD, 4, 7)
    assert watchdog.read(LOAD, 4) == 7


def test_a_refresh_can_follow_a_reset_that_leads_nowhere(clock, levels):
    watchdog = Sp805(clock, levels.append)
    start(watchdog, FREQUENCY)
    clock.advance(5 * SECOND)
    assert levels == [True]
    watchdog.write(LOCK, 4, UNLOCK)
    watchdog.write(INTCLR, 4, 1)
    clock.advance(SECOND)
    assert levels == [True, False, True]


@pytest.mark.parametrize("load", [0, 1])
def test_the_shortest_period_is_a_tick(clock, levels, resets, watchdog, load):
    start(watchdog, load)
    clock.advance(-(-SECOND // FREQUENCY))
    assert (levels, resets) == ([True], [])
    clock.advance(SECOND)
    assert len(resets) == 1


@given(st.integers(1, 100_000), st.integers(1, 10_000_000), st.lists(st.integers(0, SECOND)))
def test_the_interrupt_comes_with_the_zero(load, frequency, steps):
    clock = Clock()
    levels = []
    watchdog = Sp805(clock, levels.append, frequency=frequency)
    start(watchdog, load, INTEN)
    for step in steps:
        clock.advance(step)
        elapsed = clock.now * frequency // SECOND
        assert levels == [True] * (elapsed >= load)
        assert watchdog.read(VALUE, 4) == load - elapsed % load
