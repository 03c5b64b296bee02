"""States of a stage are taken, told apart and gone back to, and go on alike."""

from uuid import UUID

import pytest

from ffabric.firmware.catalogue import RULES
from ffabric.firmware.state.ownership import BITS, MASK, OWNED
from ffabric.firmware.state.region import DONATE
from ffabric.lab.fuzz.injection.injections import Performance
from ffabric.lab.fuzz.injection.scenarios import SCENARIOS
from ffabric.lab.fuzz.injection.snapshots import NoSnapshot, Snapshots
from ffabric.lab.fuzz.report import Report
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import ADDRESS, TABLE

PAGE = 4096
FAR = 0x5000_0000
"""An IPA at which nobody has anything."""


class Play:
    """A scenario that goes from state to state."""

    def __init__(self, name):
        self.performance = Performance(SCENARIOS[name], (), Report())
        self.performance.begin()
        stage = self.performance.stage
        self.snapshots = Snapshots(stage.machine.memory, [stage.ledger.isolation.passed])

    def take(self):
        stage = self.performance.stage
        self.performance.report = Report()
        stage.watch.forget()
        with stage.at_rest():
            return self.snapshots.take((stage, self.performance.company))

    def restore(self, snapshot):
        root = self.snapshots.restore(snapshot)
        self.performance.stage, self.performance.company = root
        self.performance.stage.ledger.take_in()
        self.performance.report = Report()
        self.performance.stage.watch.forget()

    def settled(self):
        self.performance.settle()
        return self.performance.report


@pytest.fixture(params=["come", "kernel-cycles"])
def play(request):
    made = Play(request.param)
    yield made
    made.performance.stage.__exit__(None)


@pytest.fixture
def memory():
    memory = PhysicalMemory()
    memory.add("ram", 0, 64 * PAGE, secure=False)
    yield memory
    memory.close()


def test_a_state_that_is_gone_back_to_goes_on_as_it_did(play):
    snapshot = play.take()
    play.performance.happen("crash-first-sp")
    first = play.settled()
    play.restore(snapshot)
    play.performance.happen("crash-first-sp")
    assert play.settled() == first


def test_a_state_that_is_gone_back_to_is_the_same_state(play):
    snapshot = play.take()
    play.performance.happen("edge")
    assert play.take().key != snapshot.key
    play.restore(snapshot)
    again = play.take()
    assert again.pages == snapshot.pages
    play.restore(again)
    assert play.take().key == again.key


def test_how_late_it_is_makes_no_other_state_but_how_soon_something_is_due_does(play):
    play.restore(play.take())
    first = play.take()
    play.performance.happen("time")
    assert play.take().key == first.key
    clock = play.performance.stage.machine.clock
    clock.at(clock.now + 500, print)
    due = play.take()
    assert due.key != first.key
    clock.advance(100)
    assert play.take().key != due.key


def test_what_has_been_counted_makes_no_other_state(play):
    play.restore(play.take())
    first = play.take()
    system = play.performance.stage.system
    system.firmware.monitor.world_switches += 1
    system.firmware.spmc.refusals["a"] = 1
    play.performance.stage.machine.exits += 3
    assert play.take().key == first.key


def test_a_judge_that_was_gone_back_to_still_judges(play):
    play.restore(play.take())
    stage = play.performance.stage
    one, other = [actor for actor in stage.actors if actor.secure and not actor.ctx.index][:2]
    descriptor = one.ctx.partition.stage2.translate(one.ram.base)
    attributes = descriptor & ~ADDRESS & ~TABLE & ~MASK | BITS[OWNED]
    stage.check()
    other.ctx.partition.stage2.map(FAR, descriptor & ADDRESS, 1, attributes)
    with pytest.raises(Discrepancy):
        stage.check()


def test_memory_is_as_it_was(memory):
    memory.write(PAGE, b"one", secure=False)
    snapshots = Snapshots(memory)
    before = snapshots.take(None)
    memory.write(PAGE, b"two", secure=False)
    memory.write(9 * PAGE, b"three", secure=False)
    assert snapshots.take(None).key != before.key
    snapshots.restore(before)
    assert memory.read(PAGE, 4, secure=False) == b"one\0"
    assert memory.read(9 * PAGE, 5, secure=False) == bytes(5)
    assert snapshots.take(None).key == before.key


def test_a_page_that_was_cleared_makes_no_other_state(memory):
    snapshots = Snapshots(memory)
    before = snapshots.take(None)
    memory.write(PAGE, b"one", secure=False)
    memory.write(PAGE, bytes(3), secure=False)
    assert snapshots.take(None).key == before.key


def test_what_is_compared_by_identity_is_what_it_was(memory):
    rule = next(iter(RULES))
    sentinel = object()
    root = {"kind": DONATE, "rule": rule, "sentinel": sentinel, "list": [1]}
    snapshots = Snapshots(memory)
    found = snapshots.restore(snapshots.take(root))
    assert found["kind"] is DONATE
    assert found["rule"] is rule
    assert found["sentinel"] is sentinel
    assert found["list"] == [1]
    assert found["list"] is not root["list"]
    later = object()
    assert snapshots.restore(snapshots.take([later]))[0] is later


def test_names_that_are_equal_make_one_state(memory):
    snapshots = Snapshots(memory)
    first = snapshots.take([UUID(int=5)])
    assert snapshots.take([UUID(int=5)]).key == first.key
    assert snapshots.take([UUID(int=6)]).key != first.key
    assert snapshots.restore(first) == [UUID(int=5)]


def test_what_is_more_than_data_is_no_snapshot(memory):
    snapshots = Snapshots(memory)
    things = [1]
    for more in ((n for n in things), lambda: things, things.append):
        if more == things.append:
            found = snapshots.restore(snapshots.take((things, more)))
            found[1](2)
            assert found[0] == [1, 2]
            assert things == [1]
        else:
            with pytest.raises(NoSnapshot):
                snapshots.take(more)
