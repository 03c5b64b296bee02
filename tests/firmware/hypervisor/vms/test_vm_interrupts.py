"""A device's interrupt reaches the VM that owns it, as often as the device asks."""

import pytest
from msgspec.structs import replace

from ffabric.abi import psci
from ffabric.guests import interrupts
from ffabric.guests.partition import Partition
from ffabric.machine.gic import State
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

INTID = 40
EDGE, LEVEL = 0x000, 0x200


def device(attributes):
    """A device region with a non-secure interrupt."""
    return DeviceRegion(
        name="device",
        base_address=0x1C09_0000,
        pages=1,
        attributes=3 | 1 << 3,
        interrupts=(Interrupt(INTID, attributes),),
    )


class Owner(Partition):
    """Serves its device on every second interrupt."""

    name = "owner"

    def __init__(self, serve):
        super().__init__()
        self.serve = serve
        self.taken = 0

    async def main(self, ffa):
        await interrupts.controller(ffa).enable(ffa, INTID)
        while True:
            await ffa.idle()

    async def on_device_interrupt(self, intid, ffa):
        assert intid == INTID
        self.taken += 1
        if self.taken % 2 == 0:
            self.serve()


@pytest.fixture
def system_of(ffabric):
    """Boots a system with a VM that owns the device."""
    systems = []

    def make(attributes):
        owner = Owner(lambda: systems[0].machine.gic.set_level(INTID, False))
        spec = describe(vms=[vm(owner, device_regions=(device(attributes),))])
        systems.append(boot(spec))
        systems[0].run()
        return systems[0], owner

    yield make
    for system in systems:
        system.close()


def test_a_level_comes_again_until_it_falls(system_of):
    system, owner = system_of(LEVEL)
    for total in (2, 4):
        system.machine.gic.set_level(INTID, True)
        system.run()
        assert owner.taken == total


def test_a_line_that_stays_high_is_one_edge(system_of):
    system, owner = system_of(EDGE)
    system.machine.gic.set_level(INTID, True)
    system.run()
    system.run()
    assert owner.taken == 1
    system.machine.gic.set_pending(INTID)
    system.run()
    assert owner.taken == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_level_of_a_dead_vm_is_disabled(system_of, when):
    system, owner = system_of(LEVEL)
    gic, vm_ = system.machine.gic, system.endpoint("owner").partition
    if when == "before":
        vm_.gic.configure(INTID, enabled=False)
        gic.set_level(INTID, True)
        system.run()
        assert gic.enabled(INTID)
    system.destroy_vm("owner")
    gic.set_level(INTID, True)
    system.run()
    assert not gic.enabled(INTID)
    assert gic.state(INTID) is State.PENDING, "whoever enables it gets it"
    assert owner.taken == 0


# Private interrupts


PPI = 23


class Counter(Partition):
    """A VM that takes its device's private interrupt on every vCPU."""

    name = "counter"

    def __init__(self):
        super().__init__()
        self.taken = []
        self.on_taken = lambda vcpu: None

    async def main(self, ffa):
        await interrupts.controller(ffa).enable(ffa, PPI)
        if ffa.vcpu.index == 0:
            for affinity in ffa.vcpu.affinities[1:]:
                await ffa.call(psci.CPU_ON_64, affinity, ffa.vcpu.entry, 0)
        while True:
            await ffa.idle()

    async def on_device_interrupt(self, intid, ffa):
        assert intid == PPI
        self.taken.append(ffa.vcpu.index)
        self.on_taken(ffa.vcpu.index)


@pytest.mark.parametrize("attributes", [EDGE, LEVEL])
def test_a_private_interrupt_is_for_the_vcpu_of_its_pe(attributes):
    counter = Counter()
    region = replace(device(attributes), interrupts=(Interrupt(PPI, attributes),))
    owner = vm(counter, device_regions=(region,), execution_ctx_count=2)
    with boot(describe(vms=[owner, "other"], pes=3)) as system:
        gic = system.machine.gic
        counter.on_taken = lambda vcpu: gic.set_level(PPI, False, vcpu)
        system.run()
        for pe in (1, 0, 1, 2, 0):
            gic.set_level(PPI, True, pe)
            system.run()
        assert counter.taken == [1, 0, 1, 0]
        assert gic.enabled(PPI, 2) == (attributes == EDGE)


def test_a_vm_with_one_vcpu_has_the_private_interrupts_of_its_pe():
    counter = Counter()
    region = replace(device(EDGE), interrupts=(Interrupt(PPI, EDGE),))
    with boot(describe(vms=["other", vm(counter, device_regions=(region,))], pes=3)) as system:
        system.run()
        home = system.endpoint("counter").partition.contexts[0].pe.index
        for pe in (0, 1, 2):
            system.machine.gic.set_pending(PPI, pe)
            system.run()
        assert home in (1, 2)
        assert counter.taken == [0]
