"""The OP-TEE in Python as a trusted OS: its SMC ABI, for a kernel and for VMs."""

from typing import Any
from uuid import UUID

import pytest
from optee_sides import ADD, LAB, REST, REVERSE, SHARED, WAIT, Lab, Lone, Shared

from ffabric.abi.optee import message as m
from ffabric.abi.optee import smc
from ffabric.abi.optee.message import Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.smc.core import OpTeeBelowEl3
from ffabric.lab.xtest.apps.storage import Command as Store
from ffabric.lab.xtest.apps.storage import StorageApp
from ffabric.machine.gic import State
from ffabric.system.description.python import trusted_os, vm
from smc_client import Client, Rpc

Return = smc.Return
INTID = 200


class Place:
    """An OP-TEE, and clients of it: a kernel without hypervisor, or VMs."""

    def __init__(self, ffabric, *names, core=None, **given):
        self.core = core or OpTee.below_el3(Lab, Lone, Shared, StorageApp, **given)
        notifies: dict[str, Any] = {"notification_interrupt": INTID} if self.core.notifies else {}
        more: dict[str, Any] = {} if names else {"hypervisor": False}
        self.session = ffabric.boot(
            vms=[vm(each, mem_size=16 << 20) for each in names or ("kernel",)],
            trusted_os=trusted_os(self.core, vcpus=4, **notifies),
            pes=4,
            **more,
        )
        self.system = self.session.system
        self.system.run()

    def client(self, name="kernel", files=None):
        return Client(self.session.vm(name), files)

    def create(self, name):
        self.system.create_vm(vm(name, mem_size=4 << 20))
        self.system.run()
        return self.client(name)

    def destroy(self, name):
        self.system.destroy_vm(name)
        self.system.run()


class Two(Place):
    def __init__(self, ffabric, *names, **given):
        super().__init__(ffabric, *names, **given)
        self.alice, self.bob = (self.client(each) for each in names)


@pytest.fixture
def place(ffabric):
    return Place(ffabric)


@pytest.fixture
def kernel(place):
    return place.client()


@pytest.fixture
def two(ffabric):
    return Two(ffabric, "alice", "bob", vms=2)


def refused(result, call, *args):
    with pytest.raises(TeeError) as caught:
        call(*args)
    assert caught.value.result == result


# Calls that need no thread


def test_it_says_what_it_is(kernel):
    assert tuple(kernel.smc(smc.CALLS_UID)) == smc.MESSAGE_UID
    assert kernel.smc(smc.CALLS_REVISION)[:2] == [2, 0]
    assert kernel.smc(smc.GET_OS_REVISION)[:2] == [4, 10]
    assert kernel.smc(smc.GET_OS_UUID)[0] == 0x486178E0
    assert kernel.smc(smc.GET_SHM_CONFIG)[0] == Return.ENOTAVAIL
    assert kernel.smc(smc.ENABLE_SHM_CACHE)[0] == Return.OK
    assert kernel.smc(smc.DISABLE_SHM_CACHE)[0] == Return.ENOTAVAIL
    assert kernel.smc(smc.GET_THREAD_COUNT)[:2] == [Return.OK, 4]
    assert kernel.smc(smc.CALL_WITH_RPC_ARG)[0] == Return.UNKNOWN_FUNCTION


@pytest.mark.parametrize("notification", [None, INTID])
def test_it_says_what_it_can(ffabric, notification):
    kernel = Place(ffabric, notification=notification).client()
    a0, capabilities, _, parameters = kernel.smc(smc.EXCHANGE_CAPABILITIES)
    found = {name for name, on in smc.Capabilities(capabilities).fields() if on}
    assert (a0, parameters) == (Return.OK, 4)
    assert found == {"DYNAMIC_SHM", "MEMREF_NULL"} | ({"ASYNC_NOTIF"} if notification else set())
    wanted = Return.OK if notification else Return.UNKNOWN_FUNCTION
    assert kernel.smc(smc.ENABLE_ASYNC_NOTIF)[0] == wanted
    assert kernel.smc(smc.GET_ASYNC_NOTIF_VALUE)[0] == wanted


# Messages, sessions, memory


def test_a_session_with_a_ta(kernel):
    session = kernel.open(LAB)
    for amount, total in ((5, 5), (7, 12)):
        (value,) = kernel.invoke(session, ADD, Value(Type.VALUE_INOUT, amount))
        assert value.a == total
    assert kernel.close(session) == Result.SUCCESS
    assert kernel.close(session) == Result.ITEM_NOT_FOUND
    assert kernel.served == []


def test_memory_by_its_address(kernel):
    session, at = kernel.open(LAB), kernel.pages(2)
    kernel.memory.write(at + PAGE - 2, b"abcd")
    kernel.invoke(session, REVERSE, m.Tmem(Type.TMEM_INOUT, at + PAGE - 2, 4, 1))
    assert kernel.memory.read(at + PAGE - 2, 4) == b"dcba"


def test_memory_by_a_list_of_its_pages(kernel):
    session, pages = kernel.open(LAB), [kernel.pages() for _ in range(3)][::-1]
    kernel.memory.write(pages[0] + PAGE - 2, b"ab")
    kernel.memory.write(pages[1], b"cd")
    lists = kernel.page_list(pages)
    kernel.invoke(session, REVERSE, m.Tmem(Type.TMEM_INOUT | m.NONCONTIG, lists + PAGE - 2, 4, 1))
    assert kernel.memory.read(pages[0] + PAGE - 2, 2) + kernel.memory.read(pages[1], 2) == b"dcba"


def test_memory_that_was_registered(kernel):
    session, pages = kernel.open(LAB), [kernel.pages() for _ in range(2)]
    assert kernel.register(pages, 7) == Result.SUCCESS
    kernel.memory.write(pages[1], b"abcd")
    kernel.invoke(session, REVERSE, m.Rmem(Type.FMEM_INOUT, PAGE, 4, 7))
    assert kernel.memory.read(pages[1], 4) == b"dcba"
    refused(Result.SECURITY, kernel.invoke, session, REVERSE,
            m.Rmem(Type.FMEM_INOUT, 2 * PAGE - 3, 4, 7))  # fmt: skip
    assert kernel.unregister(7) == Result.SUCCESS
    refused(
        Result.BAD_PARAMETERS, kernel.invoke, session, REVERSE, m.Rmem(Type.FMEM_INOUT, 0, 4, 7)
    )


def test_no_memory_at_all(kernel):
    session = kernel.open(LAB)
    for nothing in (m.Rmem(Type.FMEM_INOUT), m.Tmem(Type.TMEM_INOUT)):
        (answer,) = kernel.invoke(session, REVERSE, nothing)
        assert answer.size == 0


def test_what_is_registered_twice_or_wrongly(kernel):
    pages = [kernel.pages()]
    assert kernel.register(pages, 7) == Result.SUCCESS
    assert kernel.register(pages, 7) == Result.BAD_PARAMETERS
    assert kernel.register(pages, 8) == Result.SUCCESS
    message = m.Message(m.Command.REGISTER_SHM, params=[Value(Type.VALUE_INPUT)])
    assert kernel.call(message).ret == Result.BAD_PARAMETERS
    assert kernel.call(m.Message(m.Command.UNREGISTER_SHM)).ret == Result.BAD_PARAMETERS
    assert kernel.unregister(9) == Result.SUCCESS


def test_memory_that_a_call_uses_is_not_unregistered(kernel):
    session = kernel.open(LAB)
    kernel.register([kernel.pages()], 7)
    given = Value(Type.VALUE_INPUT, 9), m.Rmem(Type.FMEM_INOUT, 0, 8, 7)
    x = kernel.begin(kernel.put(kernel.invocation(session, WAIT, *given)))
    assert kernel.unregister(7) == Result.BUSY
    while smc.is_rpc(x[0]):
        x = kernel.serve(x)
    assert kernel.unregister(7) == Result.SUCCESS


def secure(place):
    return place.system.endpoint("optee").spec.memory[0].pa


@pytest.mark.parametrize("what", ["secure", "nobody's", "unaligned"])
def test_a_message_is_in_the_normal_worlds_memory(place, kernel, what):
    at = {"secure": secure(place), "nobody's": 1 << 45, "unaligned": kernel.pages() + 4}[what]
    assert kernel.begin(at)[0] == Return.EBADADDR


@pytest.mark.parametrize("what", ["buffer", "list", "entry"])
def test_so_is_what_it_names(place, kernel, what):
    session, wrong = kernel.open(LAB), secure(place)
    param = {
        "buffer": lambda: m.Tmem(Type.TMEM_INOUT, wrong, 4, 1),
        "list": lambda: m.Tmem(Type.TMEM_INOUT | m.NONCONTIG, wrong, 4, 1),
        "entry": lambda: m.Tmem(Type.TMEM_INOUT | m.NONCONTIG, kernel.page_list([wrong]), 4, 1),
    }[what]()
    before = place.system.machine.memory.read(wrong, 16, secure=True)
    refused(Result.BAD_PARAMETERS, kernel.invoke, session, REVERSE, param)
    assert place.system.machine.memory.read(wrong, 16, secure=True) == before


def test_a_message_that_is_none(kernel):
    at = kernel.pages()
    kernel.memory.write(at, b"\xff" * PAGE)
    assert kernel.begin(at)[0] == Return.EBADADDR
    assert kernel.begin(kernel.put(m.Message(99)))[0] == Return.EBADCMD


# Threads


def test_a_call_makes_way_for_an_interrupt_and_is_resumed(kernel):
    session = kernel.open(LAB)
    x = kernel.begin(kernel.put(kernel.invocation(session, REST)))
    assert x[0] == Rpc.FOREIGN_INTR
    assert kernel.resume(x[3])[0] == Return.OK
    assert kernel.resume(x[3])[0] == Return.ERESUME
    assert kernel.resume(99)[0] == Return.ERESUME


def test_there_are_so_many_threads(ffabric):
    kernel = Place(ffabric, threads=2).client()
    sessions = [kernel.open(LAB) for _ in range(3)]
    calls = [kernel.put(kernel.invocation(each, REST)) for each in sessions]
    assert [kernel.begin(each)[0] for each in calls] == [
        Rpc.FOREIGN_INTR, Rpc.FOREIGN_INTR, Return.ETHREAD_LIMIT,
    ]  # fmt: skip


def test_requests_are_in_a_page_that_the_normal_world_gives_and_gets_back(kernel):
    session = kernel.open(LAB)
    kernel.invoke(session, WAIT, Value(Type.VALUE_INPUT, 9))
    assert kernel.served == ["ALLOC", "NOTIFICATION", "FREE"]
    assert kernel.given == {}


@pytest.mark.parametrize("page", [0, 8, 1 << 45])
def test_a_page_for_requests_that_is_none(kernel, page):
    session = kernel.open(LAB)
    at = kernel.put(kernel.invocation(session, WAIT, Value(Type.VALUE_INPUT, 9)))
    x = kernel.begin(at)
    assert x[:2] == [Rpc.ALLOC, PAGE]
    assert kernel.resume(x[3], page >> 32, page & MASK32)[0] == Return.OK
    assert kernel.got(at).ret == Result.OUT_OF_MEMORY


def test_storage_is_kept_by_the_normal_world(ffabric):
    pytest.importorskip("cryptography")
    files, data = {}, b"x" * 50_000

    def client():
        kernel = Place(ffabric).client(files=files)
        return kernel, kernel.open(UUID(StorageApp.uuid))

    kernel, session = client()
    name, at = kernel.pages(), kernel.pages(13)
    kernel.memory.write(at, data)
    kernel.invoke(
        session, Store.CREATE, m.Tmem(Type.TMEM_INPUT, name, 4), Value(Type.VALUE_INOUT, 7),
        Value(Type.VALUE_INPUT, 0, 1), m.Tmem(Type.TMEM_INPUT, at, len(data)),
    )  # fmt: skip
    assert kernel.given == {}
    kernel, session = client()
    name, at = kernel.pages(), kernel.pages(13)
    opened = kernel.invoke(
        session, Store.OPEN, m.Tmem(Type.TMEM_INPUT, name, 4), Value(Type.VALUE_INOUT, 1),
        Value(Type.VALUE_INPUT, 1),
    )  # fmt: skip
    kernel.invoke(
        session, Store.READ, m.Tmem(Type.TMEM_OUTPUT, at, len(data)),
        Value(Type.VALUE_INOUT, opened[1].b),
    )  # fmt: skip
    assert kernel.memory.read(at, len(data)) == data


# VMs


def test_each_vm_has_a_bank(two):
    alice, bob = two.alice.handle.id, two.bob.handle.id
    assert set(two.core.banks) == {alice, bob}
    session = two.alice.open(LAB)
    refused(Result.BAD_PARAMETERS, two.bob.invoke, session, ADD, Value(Type.VALUE_INOUT, 1))
    for each in (two.alice, two.bob):
        (value,) = each.invoke(each.open(SHARED), 0, Value(Type.VALUE_OUTPUT))
        assert value.a == 1  # an instance of its own
    assert two.alice.register([two.alice.pages()], 7) == two.bob.register([two.bob.pages()], 7) == 0


def test_there_are_banks_for_so_many_vms(two):
    carol = two.create("carol")
    assert carol.smc(smc.CALLS_UID)[0] == Return.ENOTAVAIL
    two.destroy("alice")
    dave = two.create("dave")
    dave.open(LAB)
    two.bob.open(LAB)


def test_a_thread_of_one_vm_is_not_another_ones(two):
    session = two.alice.open(LAB)
    x = two.alice.begin(two.alice.put(two.alice.invocation(session, REST)))
    assert two.bob.resume(x[3])[0] == Return.ERESUME
    assert two.alice.resume(x[3])[0] == Return.OK


def test_a_vm_may_end_at_any_moment(two):
    session = two.alice.open(LAB)
    two.alice.begin(two.alice.put(two.alice.invocation(session, REST)))
    two.destroy("alice")
    assert set(two.core.banks) == {two.bob.handle.id}
    two.bob.open(LAB)


def test_vms_come_and_go_without_an_end(ffabric):
    place = Place(ffabric, "alice", vms=-1)
    alice = place.client("alice")
    session = alice.open(LAB)
    for number in range(20):
        guest = place.create(f"vm{number}")
        guest.open(LAB)
        (value,) = alice.invoke(session, ADD, Value(Type.VALUE_INOUT, 1))
        assert value.a == number + 1
        if number % 2:
            place.destroy(f"vm{number}")
    assert len(place.core.banks) == 11


class Notifies(OpTeeBelowEl3):
    """Notifies whoever asks for it, or another VM."""

    async def on_call(self, x, vcpu):
        if x[0] == smc.CALLS_COUNT:
            await self.notify(vcpu, x[7], 9)
            await self.notify(vcpu, x[7])
        return await super().on_call(x, vcpu)


def test_notifications_of_a_kernel(ffabric):
    place = Place(ffabric, core=Notifies(Lab, notification=INTID))
    kernel = place.client()
    kernel.smc(smc.CALLS_COUNT)
    assert kernel.smc(smc.GET_ASYNC_NOTIF_VALUE)[2] == 0  # nobody has asked for any
    kernel.smc(smc.ENABLE_ASYNC_NOTIF)
    kernel.smc(smc.CALLS_COUNT)
    assert place.system.machine.gic.state(INTID) is State.PENDING
    assert kernel.smc(smc.GET_ASYNC_NOTIF_VALUE)[1:3] == [0, 3]
    assert kernel.smc(smc.GET_ASYNC_NOTIF_VALUE)[1:3] == [9, 1]
    assert kernel.smc(smc.GET_ASYNC_NOTIF_VALUE)[1:3] == [0, 0]


def test_notifications_of_vms(ffabric):
    place = Place(ffabric, "alice", "bob", core=Notifies(Lab, vms=2, notification=INTID))
    alice, bob = place.client("alice"), place.client("bob")
    for each in (alice, bob):
        each.smc(smc.ENABLE_ASYNC_NOTIF)
    alice.smc(smc.CALLS_COUNT)
    place.system.run()
    gics = [each.handle.endpoint.partition.gic for each in (alice, bob)]
    assert [gic.state(INTID) for gic in gics] == [State.PENDING, State.INACTIVE]
    assert bob.smc(smc.GET_ASYNC_NOTIF_VALUE)[2] == 0
    assert [alice.smc(smc.GET_ASYNC_NOTIF_VALUE)[1] for _ in range(2)] == [0, 9]
