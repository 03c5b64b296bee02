"""A secure interrupt takes a PE from the normal world and gives it back."""

import pytest
from device_sides import INTID, Handler, device

from ffabric.guests.partition import Partition
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import SriPolicy


class Worker(Partition):
    def __init__(self, name=""):
        super().__init__(name)
        self.done = 0

    async def main(self, ffa):
        for _ in range(30):
            await ffa.id_get()
            self.done += 1


@pytest.mark.parametrize("policy", [*SriPolicy, SriPolicy(0), SriPolicy(3)])
def test_the_hypervisor_schedules_an_sp_that_leaves_its_interrupts_to_it(policy):
    handler, worker = Handler(), Worker("v")
    handling = sp(handler, device_regions=(device(),), sri_interrupts_policy=policy)
    with boot(describe(sps=[handling], vms=[worker])) as system:
        machine = system.machine
        for at in (8_000, 9_000, 15_000):
            machine.clock.at(at, lambda: machine.gic.set_pending(INTID))
        system.run()
    assert (handler.handled, worker.done) == (3, 30)


@pytest.mark.parametrize("hypervisor", [True, False])
def test_who_is_interrupted_goes_on(hypervisor):
    handler = Handler()
    workers = [Worker("v"), Worker("w")][: 2 if hypervisor else 1]
    spec = describe(
        sps=[sp(handler, device_regions=(device(),))],
        vms=[vm(each) for each in workers],
        pes=1,
        hypervisor=hypervisor,
    )
    with boot(spec) as system:
        machine = system.machine
        for at in (8_000, 9_000, 15_000):
            machine.clock.at(at, lambda: machine.gic.set_pending(INTID))
        system.run()
    assert handler.handled == 3
    assert [worker.done for worker in workers] == [30] * len(workers)


def test_what_comes_while_the_machine_rests_is_taken_when_it_goes_on():
    handler = Handler()
    spec = describe(sps=[sp(handler, device_regions=(device(),))], vms=[vm(Worker("v"))])
    with boot(spec) as system:
        system.run()
        system.machine.gic.set_pending(INTID)
        system.run()
    assert handler.handled == 1
