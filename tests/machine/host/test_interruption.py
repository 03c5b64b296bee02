"""Signals that ask for the end: raised at once, or when a run can end."""

import os
import signal

import pytest

from ffabric.guests.partition import Partition
from ffabric.machine.host.interruption import (
    SIGNALS,
    Interrupted,
    SeveralRuns,
    interruptible,
    kept_back,
    telling,
    uninterrupted,
)
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe

each_signal = pytest.mark.parametrize("number", SIGNALS)


def send(number):
    os.kill(os.getpid(), number)


@each_signal
def test_it_is_raised_where_nothing_runs(number):
    with pytest.raises(Interrupted) as caught, interruptible():
        send(number)
    assert caught.value.number == number
    assert caught.value.status == 128 + number


def test_it_is_a_keyboard_interrupt_to_those_who_know_no_other():
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert Interrupted.of(KeyboardInterrupt()).number == signal.SIGINT
    terminated = Interrupted(signal.SIGTERM)
    assert Interrupted.of(terminated) is terminated


def test_what_is_ignored_stays_ignored():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_the_handlers_are_as_they_were():
    before = [signal.getsignal(each) for each in SIGNALS]
    with interruptible():
        pass
    assert [signal.getsignal(each) for each in SIGNALS] == before


@each_signal
def test_it_waits_until_the_end_of_what_must_not_be_interrupted(number):
    finished = []

    def work():
        with uninterrupted():
            send(number)
            finished.append("all of it")

    with pytest.raises(Interrupted), interruptible():
        work()
    assert finished


class Caller(Partition):
    made = 0

    async def main(self, ffa):
        for _ in range(10):
            await ffa.yield_()
            self.made += 1


def run(hook=None):
    """Run a partition; ``hook`` is called by the clock, in the middle of the run."""
    caller = Caller()
    with boot(describe(vms=[caller])) as system:
        if hook is not None:
            system.machine.clock.at(system.machine.clock.now, hook)
        system.run()
    return caller


def test_a_run_ends_after_the_present_exit():
    after = []

    def hook():
        send(signal.SIGTERM)
        after.append("the callback has come to its end")

    with pytest.raises(Interrupted, match="terminated"), interruptible():
        run(hook)
    assert after


def test_the_second_signal_is_raised_at_once():
    after = []

    def hook():
        send(signal.SIGTERM)
        send(signal.SIGINT)
        after.append("not reached")

    with pytest.raises(Interrupted, match="interrupted"), interruptible():
        run(hook)
    assert not after


def test_it_is_raised_in_a_partition_that_computes():
    class Computing(Partition):
        async def main(self, ffa):
            send(signal.SIGTERM)
            while True:
                pass

    with (
        pytest.raises(Interrupted, match="terminated"),
        interruptible(),
        boot(describe(vms=[Computing()])) as system,
    ):
        system.run()


def test_a_run_after_one_that_was_interrupted_is_a_run():
    with pytest.raises(Interrupted), interruptible():
        run(lambda: send(signal.SIGINT))
    with interruptible():
        assert run().made == 10


# What is told of a run


@each_signal
def test_what_is_told_of_a_run_is_told_whole(number):
    told = []

    def work():
        with telling():
            run()
            send(number)
            told.append("all of it")

    with pytest.raises(Interrupted) as caught, interruptible():
        work()
    assert caught.value.number == number
    assert told


def test_a_run_that_was_interrupted_is_told_whole_though_there_is_another_signal():
    told = []

    def work():
        with telling():
            with pytest.raises(Interrupted, match="terminated"):
                run(lambda: send(signal.SIGTERM))
            send(signal.SIGINT)
            told.append("all of it")

    with pytest.raises(Interrupted, match="interrupted"), interruptible():
        work()
    assert told


def test_the_second_signal_is_raised_at_once_while_a_run_is_told():
    def work():
        with telling():
            run()
            send(signal.SIGTERM)
            with pytest.raises(Interrupted, match="interrupted"):
                send(signal.SIGINT)

    with interruptible():
        work()


def test_before_the_run_that_is_to_be_told_a_signal_is_raised_at_once():
    with interruptible(), telling(), pytest.raises(Interrupted):
        send(signal.SIGINT)


def test_another_run_can_be_interrupted_before_all_is_told():
    def work():
        with telling():
            run()
            run(lambda: send(signal.SIGTERM))

    with pytest.raises(Interrupted, match="terminated"), interruptible():
        work()


def test_when_all_is_told_a_signal_is_raised_at_once():
    with interruptible():
        with telling():
            run()
        with pytest.raises(Interrupted):
            send(signal.SIGINT)


def test_a_signal_is_not_lost_at_the_end_of_a_block_within_a_block():
    told = []

    def work():
        with telling():
            with interruptible():
                run()
                send(signal.SIGINT)
            told.append("all of it")

    with pytest.raises(Interrupted), interruptible():
        work()
    assert told


@each_signal
def test_what_is_kept_back_is_raised_at_the_end_of_the_block(number):
    told = []

    def work():
        with kept_back():
            send(number)
            told.append("all of it")

    with pytest.raises(Interrupted) as caught, interruptible():
        work()
    assert caught.value.number == number
    assert told


def test_a_second_signal_is_not_kept_back():
    def work():
        with kept_back():
            send(signal.SIGTERM)
            with pytest.raises(Interrupted, match="interrupted"):
                send(signal.SIGINT)

    with interruptible():
        work()


def test_a_signal_cuts_several_runs_short_and_what_is_told_of_them_is_told_whole():
    told = []

    def work():
        several = SeveralRuns()
        with several.under_way():
            run()
            told.append("a run")
            run(lambda: send(signal.SIGTERM))
            told.append("another run")
        with several.told():
            send(signal.SIGINT)
            told.append(str(several.interruption))

    with pytest.raises(Interrupted, match="interrupted"), interruptible():
        work()
    assert told == ["a run", "terminated"]


@pytest.mark.parametrize("cut", [False, True])
def test_the_signal_that_cut_several_runs_short_is_raised_when_all_is_told(cut):
    told = []

    def work():
        several = SeveralRuns()
        with several.under_way():
            if cut:
                send(signal.SIGTERM)
        with several.told():
            told.append(several.interruption is not None)

    with interruptible():
        if cut:
            with pytest.raises(Interrupted, match="terminated"):
                work()
        else:
            work()
    assert told == [cut]
