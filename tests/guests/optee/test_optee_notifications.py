"""Asynchronous notifications: from OP-TEE's top half to the call that waits for it."""

import pytest
from optee_sides import LAB, WAIT

from ffabric.abi.ffa import notifications
from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import Command, Message, Type, Value
from ffabric.guests import interrupts
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.driver import Driver, State
from ffabric.guests.optee.tas.ta import TrustedApp
from ffabric.guests.partition import Partition
from ffabric.session.optee import BlockingDriver
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

BELL = 5
"""The notification of the VM that is OP-TEE's."""
EVENT = 9
"""What a TA waits for."""


class Alarm(OpTee):
    """An OP-TEE whose top half runs when somebody asks for a service that there is not."""

    async def on_direct_request(self, request, ffa):
        if request.payload[0] == 100:
            await self.notify(ffa, request.sender, EVENT)
            return request.respond()
        return await super().on_direct_request(request, ffa)


class Waiter(TrustedApp):
    uuid = LAB

    async def invoke(self, session, command, params):
        await session.thread.wait(params.value(0).a)


@pytest.fixture(params=[0, 2], ids=["one bank", "a bank for each VM"])
def alarm(ffabric, request):
    core = Alarm(Waiter, vms=request.param)
    system = ffabric.boot(sps=[core], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    driver.core = core  # type: ignore[attr-defined]
    return driver


def pending_of(driver):
    from_sps, _, _ = driver.ffa.notification_get(notifications.GET_FROM_SP)
    return from_sps


def ring(driver):
    driver.ffa.direct_request("optee", 100, bits=32)


def test_whoever_waits_goes_on(alarm):
    alarm.enable_notifications(BELL)
    session = alarm.open_session(LAB)
    message = Message(
        Command.INVOKE_COMMAND, WAIT, session, params=[Value(Type.VALUE_INPUT, EVENT)]
    )
    waiting = alarm.begin(message)
    assert pending_of(alarm) == 0
    ring(alarm)
    ring(alarm)
    assert pending_of(alarm) == 1 << BELL
    assert EVENT not in alarm.state.notified
    alarm.bottom_half()
    assert EVENT in alarm.state.notified
    waiting.rpc.ret = 0
    alarm.respond(waiting, waiting.rpc)
    alarm.resume(waiting)
    assert waiting.kind is Return.DONE
    assert alarm.finish(waiting).ret == 0


def test_drivers_do_their_part_in_a_thread(alarm):
    seen = []

    async def driver(thread):
        await thread.interrupted()
        seen.append(thread.client)

    alarm.core.drivers.append(driver)
    alarm.bottom_half()
    assert seen == []  # nobody has asked for notifications
    alarm.enable_notifications(BELL)
    alarm.bottom_half()
    assert seen == [alarm.ffa.endpoint]


def test_nobody_is_notified_before_or_after(alarm):
    ring(alarm)
    alarm.enable_notifications(BELL)
    alarm.stop_notifications()
    ring(alarm)
    assert pending_of(alarm) == 0
    alarm.bottom_half()
    assert not alarm.state.notified


def test_each_vm_hears_of_its_own(ffabric):
    system = ffabric.boot(sps=[Alarm(Waiter, vms=2)], vms=["alice", "bob"])
    alice, bob = (BlockingDriver(system.vm(name).ffa) for name in ("alice", "bob"))
    for each in (alice, bob):
        each.probe()
        each.enable_notifications(BELL)
    ring(alice)
    assert pending_of(bob) == 0
    assert pending_of(alice) == 1 << BELL
    system.system.destroy_vm("alice")
    ring(bob)
    assert pending_of(bob) == 1 << BELL


def test_a_vm_that_takes_its_notification_back(alarm):
    alarm.enable_notifications(BELL)
    alarm.ffa.notification_unbind("optee", 1 << BELL)
    ring(alarm)
    assert pending_of(alarm) == 0
    alarm.bottom_half()
    assert EVENT in alarm.state.notified


DEVICE = DeviceRegion(
    name="device",
    base_address=0x1C09_0000,
    pages=1,
    attributes=3,
    interrupts=(Interrupt(40, 0x100),),  # secure, edge-triggered
)


class WithDevice(OpTee):
    """An OP-TEE with a device, whose interrupt is the event."""

    async def on_boot(self, ffa):
        await super().on_boot(ffa)
        await interrupts.controller(ffa).enable(ffa, 40)

    async def on_device_interrupt(self, intid, ffa):
        for vm in self.banks:
            await self.notify(ffa, vm, EVENT)


class Patient(Partition):
    """A VM that waits in a TA for the event, and does OP-TEE's bottom half when it is notified."""

    manifest = {"notification_support": True}  # noqa: RUF012

    def __init__(self, name):
        super().__init__(name)
        self.state = State()
        self.result = None

    async def main(self, ffa):
        tee = Driver(ffa, self.state)
        await tee.probe()
        await tee.enable_notifications(BELL)
        await self.enable_notifications(ffa)
        session = await tee.open_session(LAB)
        try:
            await tee.invoke(session, WAIT, Value(Type.VALUE_INPUT, EVENT, 500))
            self.result = 0
        except TeeError as error:
            self.result = error.result

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        if from_sps & 1 << BELL:
            await Driver(ffa, self.state).bottom_half()


class TimedWaiter(TrustedApp):
    uuid = LAB

    async def invoke(self, session, command, params):
        await session.thread.wait(params.value(0).a, params.value(0).b)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_from_a_secure_interrupt_to_the_clients_that_wait(ffabric, seed):
    core = WithDevice(TimedWaiter, vms=2)
    patients = [Patient("alice"), Patient("bob")]
    spec = describe(sps=[sp(core, device_regions=(DEVICE,))], vms=patients)
    with boot(spec, seed=seed) as system:
        machine = system.machine
        machine.clock.at(1_000_000, lambda: machine.gic.set_pending(40))
        system.run()
        assert [patient.result for patient in patients] == [0, 0]
        assert machine.clock.now < 500_000_000
