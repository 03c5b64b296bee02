import pytest

from ffabric.machine.clock import FREQUENCY, NS_PER_TICK, Clock


@pytest.fixture
def clock():
    return Clock()


def test_time_passes_only_when_told(clock):
    assert (clock.now, clock.counter(), clock.next_deadline()) == (0, 0, None)
    clock.advance(1_000_000_000)
    assert clock.now == 1_000_000_000
    assert clock.counter() == FREQUENCY


def test_a_tick_is_whole_nanoseconds(clock):
    assert NS_PER_TICK * FREQUENCY == 1_000_000_000
    clock.advance(NS_PER_TICK - 1)
    assert clock.counter() == 0
    clock.advance(1)
    assert clock.counter() == 1


def test_callbacks_run_at_their_deadlines_in_order_ties_as_set(clock):
    fired = []
    for deadline, name in [(30, "c"), (10, "a"), (20, "b1"), (20, "b2"), (41, "late")]:
        clock.at(deadline, lambda name=name: fired.append((name, clock.now)))
    assert clock.next_deadline() == 10

    clock.advance(40)

    assert fired == [("a", 10), ("b1", 20), ("b2", 20), ("c", 30)]
    assert (clock.now, clock.next_deadline()) == (40, 41)


def test_a_deadline_that_has_passed_fires_at_once(clock):
    clock.advance(100)
    fired = []
    clock.at(50, lambda: fired.append(clock.now))
    assert fired == []

    clock.advance(0)

    assert fired == [100]
    assert clock.now == 100


def test_a_callback_may_set_another_within_the_same_advance(clock):
    fired = []

    def periodic():
        fired.append(clock.now)
        clock.at(clock.now + 10, periodic)

    clock.at(10, periodic)
    clock.advance(35)

    assert fired == [10, 20, 30]
    assert clock.next_deadline() == 40


def test_cancelled_events_do_not_fire(clock):
    fired = []
    doomed = clock.at(20, lambda: fired.append("doomed"))
    clock.at(10, lambda: clock.cancel(doomed))
    clock.at(20, lambda: fired.append("kept"))

    clock.advance(30)

    assert fired == ["kept"]


def test_cancelling_twice_or_after_firing_is_harmless(clock):
    fired = []
    first = clock.at(10, lambda: fired.append(1))
    second = clock.at(10, lambda: fired.append(2))
    clock.cancel(second)
    clock.cancel(second)
    assert clock.next_deadline() == 10
    clock.advance(10)
    clock.cancel(first)

    assert fired == [1]
    assert clock.next_deadline() is None


def test_an_event_of_another_clock_is_not_cancelled(clock):
    fired = []
    clock.at(10, lambda: fired.append(1))
    clock.cancel(Clock().at(10, print))

    clock.advance(10)

    assert fired == [1]


def test_rearming_leaves_nothing_behind(clock):
    event = clock.at(10**9, print)
    for n in range(1000):
        clock.cancel(event)
        event = clock.at(10**9 + n, print)
    clock.cancel(event)

    assert clock.next_deadline() is None


def test_time_does_not_go_back(clock):
    clock.advance(10)
    with pytest.raises(ValueError, match="cannot go back by 1 ns"):
        clock.advance(-1)
    assert clock.now == 10


def test_a_callback_that_raises_is_not_called_again(clock):
    clock.at(10, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        clock.advance(20)
    assert clock.now == 10
    clock.advance(10)
    assert clock.now == 20


def test_a_callback_that_lets_time_pass_does_not_turn_it_back(clock):
    fired = []
    clock.at(10, lambda: clock.advance(100))
    clock.at(50, lambda: fired.append(clock.now))
    clock.advance(20)

    assert fired == [50]
    assert clock.now == 110


def test_an_event_shows_its_deadline(clock):
    assert "at 7 ns" in repr(clock.at(7, print))


def test_what_is_due_is_as_far_off_when_time_is_counted_anew(clock):
    fired = []
    clock.advance(7)
    clock.at(30, lambda: fired.append(("first", clock.now)))
    clock.at(30, lambda: fired.append(("second", clock.now)))
    clock.advance(13)
    clock.begin_again()
    assert (clock.now, clock.next_deadline()) == (0, 10)
    clock.at(10, lambda: fired.append(("third", clock.now)))
    clock.advance(9)
    assert not fired
    clock.advance(1)
    assert fired == [("first", 10), ("second", 10), ("third", 10)]
