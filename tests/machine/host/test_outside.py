"""The machine waits for what is outside it."""

import socket

import pytest

from ffabric.machine.bus import Bus
from ffabric.machine.choices import Choices
from ffabric.machine.clock import Clock
from ffabric.machine.gic import Gic
from ffabric.machine.host.outside import Outside
from ffabric.machine.machine import Machine
from ffabric.machine.memory import PhysicalMemory


class Source:
    """Something has happened as soon as it was told that nobody looks."""

    def __init__(self):
        self.told = []
        self.happened = False

    def look(self):
        return self.happened

    def attend(self, *, awake):
        self.told.append(awake)
        self.happened = True


@pytest.fixture
def machine():
    return Machine(
        memory=PhysicalMemory(),
        bus=Bus(),
        gic=Gic(1),
        clock=Clock(),
        choices=Choices(),
        mpidrs=(0,),
    )


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_nothing_outside_is_nothing_to_wait_for(machine):
    machine.outside = Outside()
    machine.run()
    assert machine.clock.now == 0


def test_what_can_be_read_is_served_and_time_passes(machine, ends):
    near, far = ends
    machine.outside = Outside()

    def ready():
        assert near.recv(9) == b"x"
        machine.outside.unwatch(near.fileno())

    machine.outside.watch(near.fileno(), ready)
    far.send(b"x")
    machine.run()
    assert machine.clock.now > 0
    assert not machine.outside


def test_a_deadline_ends_the_wait(machine, ends):
    near, _ = ends
    machine.outside = Outside()
    machine.outside.watch(near.fileno(), lambda: None)
    machine.clock.at(1_000_000, machine.stop)
    machine.run()
    assert machine.clock.now >= 1_000_000


def test_a_source_is_told_before_the_machine_sleeps_and_asked_once_more(machine, ends):
    near, _ = ends
    outside, source = Outside(), Source()
    outside.watch(near.fileno(), lambda: None)
    outside.join(source)
    outside.wait(None)
    assert source.told == [False, True]
    assert source.happened
    outside.part(source)
    outside.part(source)
    assert not outside.sources


def test_who_only_answers_is_not_waited_for_but_served(machine, ends):
    near, far = ends
    outside, served = Outside(), []
    outside.watch(near.fileno(), lambda: served.append(near.recv(9)))
    outside.expect_none(near.fileno())
    machine.outside = outside
    far.send(b"x")
    machine.run()
    assert (machine.clock.now, served) == (0, [b"x"])
    outside.expect_work(near.fileno())
    assert outside
    outside.expect_none(near.fileno())
    outside.unwatch(near.fileno())
    outside.expect_none(near.fileno())
    assert not outside
    outside.watch(near.fileno(), lambda: None)
    assert outside


def test_a_busy_machine_serves_descriptors_now_and_then(ends):
    near, far = ends
    outside, served = Outside(), []
    outside.watch(near.fileno(), lambda: served.append(near.recv(9)))
    far.send(b"x")
    for _ in range(200):
        outside.look()
    assert served == [b"x"]
