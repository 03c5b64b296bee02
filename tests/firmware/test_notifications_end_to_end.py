"""Notifications from who sets them to who handles them, through interrupts of both worlds."""

from itertools import pairwise
from typing import Any

import pytest
from device_sides import INTID, device

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.features import SRI
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, MASK64
from ffabric.guests import interrupts
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.session.ffa import Blocked
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.vmm import Vmm

BIT, HIGH = 1 << 3, 1 << 60
PER_VCPU, DELAYED = abi.PER_VCPU, abi.DELAY_SCHEDULE_RECEIVER
INFO_32, INFO_64 = fid.FFA_NOTIFICATION_INFO_GET_32, fid.FFA_NOTIFICATION_INFO_GET_64


class Receiver(Partition):
    """A VM that binds notifications of ``sender`` on each vCPU, then waits for interrupts."""

    manifest = {"notification_support": True}  # noqa: RUF012

    def __init__(self, name, sender, flags=0):
        super().__init__(name)
        self.sender = sender
        self.flags = flags
        self.got = []

    async def main(self, ffa):
        if ffa.vcpu.index == 0:
            await ffa.notification_bind(self.sender, BIT | HIGH, self.flags)
            for affinity in ffa.vcpu.affinities[1:]:
                await ffa.call(psci.CPU_ON_64, affinity, ffa.vcpu.entry, 0)
        await self.enable_notifications(ffa)
        while True:
            await ffa.idle()

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        self.got.append((ffa.vcpu.index, from_sps, from_vms, framework))


class Service(Partition):
    """An SP that sets notifications when it is asked to, and takes those for it."""

    manifest = {"notification_support": True}  # noqa: RUF012

    def __init__(self, name="service"):
        super().__init__(name)
        self.got = []

    async def on_boot(self, ffa):
        await self.enable_notifications(ffa)

    async def on_direct_request(self, request, ffa):
        receiver, bits, flags, *_ = request.payload
        try:
            await ffa.notification_set(receiver, bits, flags)
        except FfaError as error:
            return request.respond(error.status & MASK64)
        return request.respond(Status.SUCCESS)

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        self.got.append((ffa.vcpu.index, from_sps, from_vms, framework))


def test_an_sp_notifies_a_vm(ffabric):
    alice = Receiver("alice", "service")
    system = ffabric.boot(sps=[Service()], vms=[alice, "client"], pes=4)
    system.run()
    client = system.vm("client").ffa
    for bits in (BIT, BIT | HIGH):
        client.direct_request("service", system.vm("alice").id, bits, 0)
        system.run()
    assert alice.got == [(0, BIT, 0, 0), (0, BIT | HIGH, 0, 0)]


def test_a_delayed_schedule_receiver_interrupt_comes_when_the_secure_world_is_left(ffabric):
    alice = Receiver("alice", "service")
    system = ffabric.boot(sps=[Service()], vms=[alice, "client"], pes=4)
    system.run()
    request = (system.vm("alice").id, BIT, abi.DELAY_SCHEDULE_RECEIVER)
    system.vm("client").ffa.direct_request("service", *request)
    system.run()
    assert alice.got == [(0, BIT, 0, 0)]


def test_a_vcpu_has_notifications_of_its_own(ffabric):
    alice = Receiver("alice", "service", PER_VCPU)
    alice.manifest = alice.manifest | {"execution_ctx_count": 4}
    system = ffabric.boot(sps=[Service()], vms=[alice, "client"], pes=4)
    system.run()
    client = system.vm("client").ffa
    for vcpu in (3, 1):
        client.direct_request("service", system.vm("alice").id, BIT, PER_VCPU | vcpu << 16)
        system.run()
    assert alice.got == [(3, BIT, 0, 0), (1, BIT, 0, 0)]


def test_a_vm_notifies_an_sp(ffabric):
    service = Service()
    system = ffabric.boot(sps=[sp(service, id=0x8001), "other"], vms=["client"])
    client = system.vm("client")

    bind(service, client.id, system)
    client.ffa.notification_set("service", BIT)
    system.run()
    assert service.got == [(0, 0, BIT, 0)]


def bind(service, sender, system, flags=0):
    """Let the service bind: it does so when it is asked by anybody."""

    async def on_direct_request(request, ffa):
        await ffa.notification_bind(sender, BIT, flags)
        return request.respond()

    service.on_direct_request = on_direct_request
    system.vm("client").ffa.direct_request("service")


class Poller(Service):
    """An SP that yields until a VM is done; ``rest`` is the time that it names."""

    worker: Any
    clock: Any

    def __init__(self, rest):
        super().__init__("poller")
        self.rest = rest
        self.polled = []

    async def on_boot(self, ffa):
        await ffa.notification_bind(1, BIT)

    async def on_run(self, ffa):
        while not self.worker.done:
            self.polled.append(self.clock.now)
            await ffa.call(fid.FFA_YIELD, 0, self.rest & MASK32, self.rest >> 32)


class Worker(Partition):
    """A VM that notifies the poller, and is done after a while."""

    done = False

    async def main(self, ffa):
        await ffa.notification_set("poller", BIT)
        for _ in range(200):
            await ffa.id_get()
        self.done = True
        await ffa.idle()


@pytest.mark.parametrize("rest", [0, 50_000, 1 << 33])
def test_an_sp_that_yields_leaves_the_pe_to_others(rest):
    poller = Poller(rest)
    poller.worker = Worker()
    with boot(describe(sps=[poller], vms=[poller.worker], pes=1)) as system:
        poller.clock = system.machine.clock
        system.run()
    polled = poller.polled
    assert poller.worker.done
    assert len(polled) == 1 if rest == 1 << 33 else len(polled) > 2
    assert all(after - before >= rest for before, after in pairwise(polled))


def test_a_vcpu_of_an_sp_is_notified_on_its_own_pe(ffabric):
    service = Service()
    system = ffabric.boot(sps=[sp(service, execution_ctx_count=3)], vms=["client"], pes=3)
    bind(service, system.vm("client").id, system, PER_VCPU)
    for vcpu in (2, 0, 1):
        system.vm("client").ffa.notification_set("service", BIT, PER_VCPU | vcpu << 16)
        system.run()
    assert service.got == [(2, 0, BIT, 0), (0, 0, BIT, 0), (1, 0, BIT, 0)]


def test_the_scheduler_is_told_of_what_both_managers_have(ffabric):
    scheduler = vm("scheduler", has_primary_scheduler=True, notification_support=True)
    system = ffabric.boot(sps=["s"], vms=[scheduler, vm("w", notification_support=True)])
    v, w = system.vm("scheduler"), system.vm("w")
    v.ffa.notification_bind("w", BIT)
    system.sp("s").ffa.notification_bind("w", BIT)
    for function, smc64 in ((INFO_32, False), (INFO_64, True)):
        w.ffa.notification_set("scheduler", BIT)
        w.ffa.notification_set("s", BIT)
        x = v.ffa.call(function)
        listed = abi.parse_pending(x[2:8], smc64=smc64).lists
        assert listed == (abi.PendingList(system.sp("s").id), abi.PendingList(v.id))
        assert v.ffa.notification_get(abi.GET_FROM_VM) == (0, BIT, 0)
        assert system.sp("s").ffa.notification_get(abi.GET_FROM_VM) == (0, BIT, 0)
        with ffabric.refuses("notification.info_get.nothing"):
            v.ffa.notification_info_get()


def test_a_vm_notifies_a_vm(ffabric):
    alice = Receiver("alice", "client")
    system = ffabric.boot(sps=[], vms=[alice, vm("client", notification_support=True)], pes=4)
    system.run()
    system.vm("client").ffa.notification_set("alice", HIGH)
    system.run()
    assert alice.got == [(0, 0, HIGH, 0)]


# The VMM's part


def with_vmm(ffabric, on_event=None):
    alice = Receiver("alice", "service")
    system = ffabric.boot(sps=[Service()], vms=[alice, "client"], pes=4)
    system.run()
    vmm = Vmm(system.system, "alice", on_event)
    number = system.vm("alice").id

    def notify():
        answer = system.vm("client").ffa.direct_request("service", number, BIT, 0)
        system.run()
        return answer.payload[0]

    return system, alice, vmm, notify


def test_a_vmm_is_told_by_eventfd_and_injects(ffabric):
    system, alice, vmm, notify = with_vmm(ffabric)
    notify()
    assert alice.got == []
    assert vmm.events[0].read() == 1
    assert vmm.events[0].read() == 0
    vmm.irq_line(vmm.npi)
    system.run()
    assert alice.got == [(0, BIT, 0, 0)]


def test_a_vmm_may_inject_from_its_callback(ffabric):
    _, alice, vmm, notify = with_vmm(ffabric, lambda vmm, vcpu: vmm.irq_line(vmm.npi, vcpu))
    notify()
    assert alice.got == [(0, BIT, 0, 0)]
    assert vmm.events[0].read() == 1


def test_a_vmm_that_is_closed_leaves_it_to_the_hypervisor(ffabric):
    _, alice, vmm, notify = with_vmm(ffabric)
    vmm.close()
    notify()
    assert alice.got == [(0, BIT, 0, 0)]


def test_a_vm_dies_with_a_notification_pending(ffabric):
    system, alice, vmm, notify = with_vmm(ffabric)
    notify()
    spmc = system.system.firmware.spmc
    number = system.vm("alice").id
    assert number in spmc.remote_notifications
    system.system.destroy_vm("alice")
    system.run()
    assert number not in spmc.remote_notifications
    vmm.irq_line(vmm.npi)
    system.run()
    assert alice.got == []
    assert notify() == Status.INVALID_PARAMETERS & MASK64
    assert system.system.refusals["notification.set.receiver"] == 1


def test_a_vm_has_bitmaps_for_its_own_vcpus_alone(ffabric):
    service = sp("service", notification_support=True)
    kernel = vm("host", vcpus=2, has_primary_scheduler=True, notification_support=False)
    system = ffabric.boot(sps=[service], vms=[kernel], pes=2)
    host, firmware = system.vm("host"), system.system.firmware
    number, vcpus = host.id, firmware.spmc.remote_notifications
    create, destroy = fid.FFA_NOTIFICATION_BITMAP_CREATE, fid.FFA_NOTIFICATION_BITMAP_DESTROY
    for count in (0, 3, 0xFFFF, 0xFFFFFFFF):
        with ffabric.refuses("notification.bitmap.vcpus"):
            host.ffa.call(create, number, count)
    for count in (1, 2):
        host.ffa.call(create, number, count)
        assert vcpus[number].vcpus == count
        host.ffa.call(destroy, number)
    host.ffa.call(create, number, 2)
    bind = fid.FFA_NOTIFICATION_BIND
    assert host.ffa.call(bind, system.sp("service").id << 16 | number, PER_VCPU, BIT)
    system.sp("service").ffa.notification_set("host", BIT, PER_VCPU | DELAYED | 1 << 16)
    system.system.destroy_vm("host")
    system.run()
    assert number not in vcpus


# Top half and bottom half


class Driver(Partition):
    """An SP with a device. Its interrupt handler notes what came and notifies its client (the top
    half); the client gives it cycles for the rest with a request, at its leisure (the bottom half).
    """

    manifest = {"notification_support": True, "execution_ctx_count": 2}  # noqa: RUF012

    def __init__(self):
        super().__init__("driver")
        self.came = self.done = 0

    async def on_boot(self, ffa):
        if ffa.vcpu.index == 0:
            await interrupts.controller(ffa).enable(ffa, INTID)

    async def on_device_interrupt(self, intid, ffa):
        assert intid == INTID
        self.came += 1
        await ffa.notification_set("client", BIT, abi.DELAY_SCHEDULE_RECEIVER)

    async def on_direct_request(self, request, ffa):
        work, self.done = self.came - self.done, self.came
        return request.respond(work)


class Client(Receiver):
    """A VM that does its own work, and the bottom halves of the driver when they are due."""

    def __init__(self):
        super().__init__("client", "driver")
        self.due = False
        self.work = []

    async def main(self, ffa):
        await self.set_up(ffa)
        for _ in range(60):
            await ffa.id_get()
            if self.due:
                self.due = False
                answer = await ffa.direct_request("driver")
                self.work.append(answer.payload[0])
        await ffa.idle()

    async def set_up(self, ffa):
        await ffa.notification_bind("driver", BIT)
        await self.enable_notifications(ffa)

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        self.due |= bool(from_sps & BIT)


class Kernel(Client):
    """The same without a hypervisor: it is the scheduler of its own notifications."""

    async def set_up(self, ffa):
        await ffa.call(fid.FFA_NOTIFICATION_BITMAP_CREATE, ffa.endpoint, 1)
        await ffa.notification_bind("driver", BIT)
        self.sri, _ = await ffa.features(SRI)
        await interrupts.controller(ffa).enable(ffa, self.sri)

    async def on_device_interrupt(self, intid, ffa):
        assert intid == self.sri
        x = await ffa.call(fid.FFA_NOTIFICATION_INFO_GET_64)
        assert abi.parse_pending(x[2:8], smc64=True).lists == (abi.PendingList(ffa.endpoint),)
        from_sps, _, _ = await ffa.notification_get(abi.GET_FROM_SP)
        self.due |= bool(from_sps & BIT)


@pytest.mark.parametrize("make_client", [Client, Kernel])
@pytest.mark.parametrize(("seed", "sri"), [(None, 8), (1, 8), (2, 8), (3, 12), (4, 0)])
def test_bottom_halves_do_what_top_halves_have_noted(make_client, seed, sri):
    driver, client = Driver(), make_client()
    spec = describe(
        sps=[sp(driver, device_regions=(device(),))],
        vms=[client],
        hypervisor=make_client is Client,
        pes=2,
        sri=sri,
    )
    with boot(spec, seed=seed) as system:
        machine = system.machine
        for at in (8_000, 9_000, 15_000, 15_100):
            machine.clock.at(at, lambda: machine.gic.set_pending(INTID))
        system.run()
    assert driver.came == driver.done == sum(client.work)
    assert driver.came in (3, 4)  # the last two may be one
    assert len(client.work) <= driver.came
    assert getattr(client, "sri", sri) == sri


class Late(Receiver):
    """A VM that enables its interrupt when it is pending already, and then waits at once."""

    async def main(self, ffa):
        await ffa.notification_bind(self.sender, BIT)
        await ffa.msg_wait()
        await self.enable_notifications(ffa)
        await ffa.idle()


def test_an_interrupt_that_is_pending_already_ends_a_wait(ffabric):
    late = Late("late", "client")
    system = ffabric.boot(sps=["sp"], vms=[late, "client"], pes=2)
    client = system.vm("client").ffa
    client.notification_set("late", BIT)
    with pytest.raises(Blocked):
        client.direct_request("late")
    assert late.got == [(0, 0, BIT, 0)]
