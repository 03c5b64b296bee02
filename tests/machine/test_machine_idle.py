"""A PE waits for an interrupt only if none is there."""

import pytest

from ffabric.machine.bus import Bus
from ffabric.machine.choices import Choices
from ffabric.machine.clock import Clock
from ffabric.machine.gic import GROUP1NS, Gic, set_up
from ffabric.machine.machine import Machine
from ffabric.machine.memory import PhysicalMemory

SGI = 5


@pytest.fixture
def machine():
    memory = PhysicalMemory()
    machine = Machine(
        memory=memory, bus=Bus(), gic=Gic(1, (0,)), clock=Clock(), choices=Choices(), mpidrs=(0,)
    )
    set_up(machine.gic)
    machine.gic.configure(SGI, 0, group=GROUP1NS, enabled=True)
    machine.gic.sysreg_write(0, "ICC_PMR_EL1", 0xFF, secure=False)
    machine.gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    machine.unpark(machine.pes[0])
    yield machine
    memory.close()


def test_it_waits_if_nothing_is_pending(machine):
    (pe,) = machine.pes
    machine.idle(pe)
    assert pe.idle
    assert machine.runnable == []


def test_it_goes_on_if_something_is_pending(machine):
    (pe,) = machine.pes
    machine.gic.set_pending(SGI, 0)
    machine.idle(pe)
    assert not pe.idle
    assert machine.runnable == [pe]


def test_what_is_disabled_is_not_there(machine):
    (pe,) = machine.pes
    machine.gic.configure(SGI, 0, enabled=False)
    machine.gic.set_pending(SGI, 0)
    machine.idle(pe)
    assert pe.idle
