"""Asynchronous notifications: from OP-TEE's top half to the call that waits for it."""

import pytest
from optee_sides import LAB, WAIT

from ffabric.abi.ffa import notifications
from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import Command, Message, Type, Value
from ffabric.guests.optee.core import OpTee
from ffabric.guests.optee.driver import DrivenDriver
from ffabric.guests.optee.ta import TrustedApp

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
    driver = DrivenDriver(system.vm("alice").ffa)
    driver.probe()
    driver.core = core
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


def test_a_vm_that_takes_its_notification_back(alarm):
    alarm.enable_notifications(BELL)
    alarm.ffa.notification_unbind("optee", 1 << BELL)
    ring(alarm)
    assert pending_of(alarm) == 0
    alarm.bottom_half()
    assert EVENT in alarm.state.notified
