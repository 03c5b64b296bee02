"""Why nothing can run: what every execution context waits for."""

import struct
from types import coroutine

import pytest

from ffabric.abi.ffa.functions import FFA_MSG_SEND_DIRECT_REQ_64
from ffabric.abi.psci import CPU_ON_64 as PSCI_CPU_ON
from ffabric.guests.partition import Partition
from ffabric.lab.running import End, run_to_end
from ffabric.machine import exits
from ffabric.machine.machine import Stalled
from ffabric.session.booting import boot
from ffabric.session.ffa import Blocked
from ffabric.system.booting.boot import boot as boot_system
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.waiting import waiting

WFI, AGAIN = 0xD503207F, 0x17FFFFFF
NEVER = "in its initialisation, and it has never called FFA_MSG_WAIT"


@coroutine
def idle():
    """Execute WFI."""
    yield exits.IDLE


class Idles(Partition):
    async def on_boot(self, ffa):
        while True:
            await idle()


class Returns(Partition):
    async def main(self, ffa):
        pass


class Answers(Partition):
    async def on_direct_request(self, request, ffa):
        return request.respond(1)


class Sleeps(Partition):
    async def on_direct_request(self, request, ffa):
        while True:
            await idle()


class Passes(Partition):
    async def on_direct_request(self, request, ffa):
        await ffa.direct_request("sleeps", 1)
        return request.respond(1)


class Yields(Partition):
    async def on_direct_request(self, request, ffa):
        await ffa.yield_()
        return request.respond(1)


class Asks(Partition):
    def __init__(self, whom):
        super().__init__()
        self.whom = whom

    async def main(self, ffa):
        await ffa.direct_request(self.whom, 1)


def end(**described):
    with boot_system(describe(**described)) as system:
        return run_to_end(system)


def waits(**described):
    return {wait.who: wait.what for wait in end(**described).waiting}


@pytest.mark.parametrize(
    ("secure", "what"),
    [
        (Idles(), "waiting for an interrupt (WFI)"),
        (Returns(), "idle: its program has returned"),
        (sp(name="image", image=struct.pack("<2I", WFI, AGAIN)), "waiting for an interrupt (WFI)"),
    ],
    ids=["Python", "returns", "image"],
)
def test_an_sp_that_never_ends_its_initialisation_is_named_in_the_reason(secure, what):
    outcome = end(sps=[secure, Answers()], vms=[Asks("answers")])
    name = outcome.waiting[0].who
    assert outcome.end is End.HUNG
    assert outcome.reason == f"nothing can run any more; {name}: {what} {NEVER}"
    assert [wait.what for wait in outcome.waiting[1:]] == ["not started", "not started"]


def test_an_sp_that_waits_for_messages_is_no_reason():
    outcome = end(sps=[Answers()], vms=[Asks("answers")])
    assert outcome.reason == "nothing can run any more"
    assert [str(wait) for wait in outcome.waiting] == [
        "answers: waiting for a message (FFA_MSG_WAIT)",
        "asks: idle: its program has returned",
    ]


def test_a_chain_of_requests_is_followed_to_who_does_not_answer():
    assert waits(sps=[Sleeps(), Passes()], vms=[Asks("passes")]) == {
        "sleeps": "waiting for an interrupt (WFI), while passes.0 waits for it",
        "passes": "waiting for sleeps.0",
        "asks": "waiting for passes.0",
    }


def test_a_kernel_without_a_hypervisor_waits_for_the_sp():
    assert waits(sps=[Sleeps()], vms=[vm(Asks("sleeps"), el=2)], hypervisor=False) == {
        "sleeps": "waiting for an interrupt (WFI), while the normal world waits for it",
        "asks": "waiting for sleeps.0",
    }


def test_an_sp_that_has_yielded_waits_for_cycles():
    with boot(sps=[Yields()], vms=["client"]) as session:
        session.vm("client").ffa.call(FFA_MSG_SEND_DIRECT_REQ_64, 0x1_8001)
        assert [str(wait) for wait in waiting(session.system)] == [
            "yields: waiting for cycles: it has yielded (FFA_YIELD), and nobody runs it (FFA_RUN)",
            "client: driven from outside: its next call is awaited",
        ]


def test_a_crash_is_the_fate_of_a_partition():
    class Crashes(Partition):
        async def on_boot(self, ffa):
            raise ValueError("no")

    with boot_system(describe(sps=[Crashes(), Answers()])) as system:
        run_to_end(system)
        assert str(waiting(system)[0]) == "crashes: no longer alive: ValueError: no"


def test_the_contexts_of_a_partition_that_agree_are_one_line():
    with boot(sps=[sp("many", vcpus=2)], vms=[vm("client", vcpus=2), "other"], pes=2) as session:
        client = session.vm("client")
        client.ffa.call(PSCI_CPU_ON, 1 << 8, client.endpoint.spec.entry)
        client.vcpu(1).id_get()
        assert {wait.who: wait.what for wait in waiting(session.system)} == {
            "many": "waiting for a message (FFA_MSG_WAIT)",
            "client": "driven from outside: its next call is awaited",
            "other": "driven from outside: its next call is awaited",
        }


def test_who_drives_a_vm_that_cannot_run_is_told_why():
    with boot(sps=[Idles()], vms=["client"]) as session, pytest.raises(Stalled) as told:
        session.vm("client").ffa.id_get()
    assert str(told.value) == (
        f"client.0 is OFF and nothing can run; idles: waiting for an interrupt (WFI) {NEVER}"
    )


def test_who_drives_a_call_that_does_not_return_is_told_why():
    with boot(sps=[Sleeps()], vms=["client"]) as session, pytest.raises(Blocked) as told:
        session.vm("client").ffa.direct_request(Sleeps, 1)
    assert str(told.value) == (
        "client.0's call has not returned; sleeps: waiting for an interrupt (WFI), "
        "while the normal world waits for it; client: waiting for sleeps.0"
    )
