"""What must wait until no engine executes."""

import pytest

from ffabric.machine import exits
from ffabric.machine.bus import Bus
from ffabric.machine.choices import Choices
from ffabric.machine.clock import Clock
from ffabric.machine.context import Context
from ffabric.machine.gic import Gic
from ffabric.machine.machine import EXIT_COST, Machine
from ffabric.machine.memory import PhysicalMemory


class Engine:
    """Exits until it is told to stop, and says when it executes."""

    def __init__(self, exits_to_make):
        self.left = exits_to_make
        self.executing = False

    def run(self, ctx, trap):
        going = True
        while going and self.left:
            self.executing = True
            self.left -= 1
            going = trap(ctx, exits.SMC)
        self.executing = False
        if not self.left:
            ctx.machine.schedule(ctx.pe, None)


class Firmware:
    def trap(self, pe, ctx, exit_):
        return pe.current

    def interrupt(self, pe, pending):
        return False


class OnMachine(Context):
    """A context that knows its machine."""


@pytest.fixture
def machine():
    memory = PhysicalMemory()
    machine = Machine(
        memory=memory, bus=Bus(), gic=Gic(1, (0,)), clock=Clock(), choices=Choices(), mpidrs=(0,)
    )
    machine.firmware = Firmware()
    ctx = OnMachine("guest", 0, secure=False)
    ctx.level = machine.firmware
    ctx.machine = machine  # type: ignore[attr-defined]
    ctx.runner = Engine(5)  # type: ignore[assignment]
    machine.schedule(machine.pes[0], ctx)
    machine.engine = ctx.runner  # type: ignore[attr-defined]
    yield machine
    memory.close()


def test_it_is_done_at_once_if_nothing_runs(machine):
    done = []
    machine.post(lambda: done.append(machine.exits))
    assert done == [0]


def test_it_waits_for_the_engine_to_return(machine):
    done = []
    machine.clock.at(
        2 * EXIT_COST,
        lambda: machine.post(lambda: done.append((machine.engine.executing, machine.exits))),
    )
    machine.run()
    assert done == [(False, 2)]
    assert machine.exits == 5


def test_it_is_done_although_the_run_ends(machine):
    done = []

    def both():
        machine.stop()
        machine.post(lambda: done.append(machine.engine.executing))

    machine.clock.at(EXIT_COST, both)
    machine.run()
    assert done == [False]
    assert machine.exits == 1
