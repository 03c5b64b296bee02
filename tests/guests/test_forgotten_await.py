"""A call that a partition forgets to await is an error that names the call and the line."""

import inspect
from typing import ClassVar

import pytest

from ffabric.abi.optee import ffa as optee
from ffabric.guests.calls.both_ways import NotAwaited
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.driver import Driver
from ffabric.guests.partition import Partition
from ffabric.system.crash import PartitionCrashed


def line_of(function, text):
    """The number of the line of a function that contains a text."""
    lines, first = inspect.getsourcelines(function)
    (found,) = [number for number, line in enumerate(lines, first) if text in line]
    return found


class BeforeAnother(Partition):
    async def on_boot(self, ffa):
        ffa.console_log("forgotten")
        await ffa.console_log("another")


class AtTheEnd(Partition):
    async def on_boot(self, ffa):
        ffa.console_log("forgotten")


class WithoutParameters(Partition):
    async def on_boot(self, ffa):
        ffa.rx_release()


class Stored(Partition):
    async def on_boot(self, ffa):
        self.later = ffa.console_log("forgotten")
        await ffa.id_get()


class InAHelper(Partition):
    async def on_boot(self, ffa):
        await self.help(ffa)
        await ffa.id_get()

    async def help(self, ffa):
        ffa.console_log("forgotten")


class InMain(Partition):
    async def main(self, ffa):
        ffa.console_log("forgotten")


@pytest.mark.parametrize(
    ("kind", "call", "where"),
    [
        (BeforeAnother, "console_log", BeforeAnother.on_boot),
        (AtTheEnd, "console_log", AtTheEnd.on_boot),
        (WithoutParameters, "rx_release", WithoutParameters.on_boot),
        (Stored, "console_log", Stored.on_boot),
        (InAHelper, "console_log", InAHelper.help),
        (InMain, "console_log", InMain.main),
    ],
)
def test_a_forgotten_await_crashes_the_partition(ffabric, kind, call, where):
    with pytest.raises(PartitionCrashed) as crash:
        ffabric.boot(vms=[kind()])
    assert isinstance(crash.value.__cause__, NotAwaited)
    line = line_of(where, "rx_release" if call == "rx_release" else '"forgotten"')
    expected = f"NotAwaited: {call}() was called without await at {{}}:{line}, in {where.__name__}"
    path = crash.value.reason.rpartition(" at ")[2].partition(":")[0]
    assert crash.value.reason == expected.format(path)
    assert path.endswith("test_forgotten_await.py")


class Answering(Partition):
    async def on_direct_request(self, request, ffa):
        ffa.console_log("forgotten")
        return request.respond()


def test_a_handler_is_looked_at_when_it_ends(ffabric):
    system = ffabric.boot(sps=[Answering()], vms=["client"])
    with pytest.raises(PartitionCrashed, match=r"console_log\(\) was called without await"):
        system.vm("client").ffa.direct_request(Answering)


class Interrupted(Partition):
    manifest: ClassVar = {"notification_support": True}

    async def main(self, ffa):
        await ffa.notification_bind("bell", 1)
        await self.enable_notifications(ffa)
        await ffa.direct_request("bell")

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        ffa.console_log("forgotten")


class Bell(Partition):
    manifest: ClassVar = {"notification_support": True}

    async def on_direct_request(self, request, ffa):
        await ffa.notification_set("interrupted", 1)
        return request.respond()


def test_an_interrupt_handler_is_looked_at_when_it_ends(ffabric):
    with pytest.raises(PartitionCrashed, match=r"console_log\(\) was called without await"):
        ffabric.boot(sps=[Bell()], vms=[Interrupted()])


class Client(Partition):
    async def main(self, ffa):
        tee = Driver(ffa)
        await tee.probe()
        tee.open_session(optee.OPTEE_UUID)  # type: ignore[unused-coroutine]
        await ffa.id_get()


def test_the_calls_of_a_driver_are_looked_at_too(ffabric):
    with pytest.raises(PartitionCrashed, match=r"open_session\(\) was called without await"):
        ffabric.boot(sps=[OpTee()], vms=[Client()])


class Later(Partition):
    """Makes a call first and awaits it then, with nothing in between."""

    async def on_boot(self, ffa):
        call = ffa.id_get()
        self.found = await call
        self.found += 1


def test_a_call_may_be_awaited_later_if_nothing_comes_between(ffabric):
    later = Later()
    ffabric.boot(vms=[later])
    assert later.found == 2


class Refused(Partition):
    """A call that raises before its first exit has begun nevertheless."""

    async def on_boot(self, ffa):
        try:
            await ffa.direct_request("nobody")
        except LookupError:
            self.heard = await ffa.id_get()


def test_a_call_that_raises_at_once_was_awaited(ffabric):
    refused = Refused()
    ffabric.boot(vms=[refused])
    assert refused.heard == 1
