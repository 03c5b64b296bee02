"""Virtualized: a bank for each VM, which its VM alone sees and which goes with it."""

import pytest
from optee_sides import ADD, COPY, LAB, REVERSE, SHARED, WAIT

from ffabric.abi.ffa import framework
from ffabric.abi.ffa.status import Status
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee.message import Command, Fmem, Message, Type, Value
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import MASK32
from ffabric.guests.optee.error import TeeError
from ffabric.session.optee import BlockingDriver
from ffabric.system.description.python import vm

UNKNOWN = (Result.ITEM_NOT_FOUND, 0, 0, 0, 0)


@pytest.fixture
def two(boot_tee):
    """An OP-TEE for two VMs, "alice" and "bob"; `driver` is alice's, `bob` bob's."""
    tee = boot_tee("alice", "bob", vms=2)
    tee.bob = tee.driver_of("bob")
    return tee


def test_each_vm_has_a_bank(two):
    alice, bob = two.system.vm("alice").id, two.system.vm("bob").id
    assert set(two.core.banks) == {alice, bob}
    assert two.core.bank_of(alice) is two.core.banks[alice]
    assert two.core.bank_of(7) is None


def test_sessions_of_one_vm_are_nothing_to_another(two):
    mine = two.driver.open_session(LAB)
    with pytest.raises(TeeError, match="BAD_PARAMETERS, origin TEE"):
        two.bob.invoke(mine, ADD, Value(Type.VALUE_INOUT, 1))
    assert two.bob.open_session(LAB) == mine  # the same number, another session
    (answer,) = two.driver.invoke(mine, ADD, Value(Type.VALUE_INOUT, 3))
    (other,) = two.bob.invoke(mine, ADD, Value(Type.VALUE_INOUT, 5))
    assert (answer.a, other.a) == (3, 5)


def test_instances_are_not_shared_among_vms(two):
    for driver in (two.driver, two.bob):
        session = driver.open_session(SHARED)
        assert driver.invoke(session, 0, Value(Type.VALUE_OUTPUT))[0].a == 1


def test_memory_of_one_vm_is_not_anothers_parameter(two):
    mine = two.driver.allocate(8)
    session = two.driver.open_session(LAB)
    two.driver.invoke(session, REVERSE, mine.inout())
    theirs = two.bob.open_session(LAB)
    for at in (0, 8):
        with pytest.raises(TeeError) as caught:
            two.bob.invoke(theirs, REVERSE, Fmem(Type.FMEM_INOUT, 0, at, 8, mine.cookie))
        assert (caught.value.result, caught.value.origin) == (Result.BAD_PARAMETERS, Origin.TEE)
    low, high = mine.cookie & MASK32, mine.cookie >> 32
    words = two.words(abi.YIELDING_CALL_WITH_ARG, low, high, vm="bob")
    assert words[0] == Result.BAD_PARAMETERS
    assert two.words(abi.UNREGISTER_SHM, low, high, vm="bob")[0] == 0  # it knows no such memory
    two.driver.invoke(session, REVERSE, mine.inout())


def test_threads_of_one_vm_are_not_resumed_by_another(two):
    session = two.driver.open_session(LAB)
    wait = [Value(Type.VALUE_INPUT, 7)]
    pending = two.driver.begin(Message(Command.INVOKE_COMMAND, WAIT, session, params=wait))
    resume = (abi.YIELDING_CALL_RESUME, 0, 0, 0, pending.thread)
    assert two.words(*resume, vm="bob")[0] == Result.BAD_PARAMETERS
    assert two.words(*resume)[:2] == (0, abi.Return.DONE)


def test_threads_of_one_vm_are_not_anothers_limit(boot_tee):
    tee = boot_tee("alice", "bob", vms=2, threads=1)
    bob = tee.driver_of("bob")
    session = tee.driver.open_session(LAB)
    wait = [Value(Type.VALUE_INPUT, 7)]
    tee.driver.begin(Message(Command.INVOKE_COMMAND, WAIT, session, params=wait))
    bob.open_session(LAB)


def test_more_vms_than_banks(ffabric, boot_tee):
    tee = boot_tee("alice", "bob", vms=1)
    for words in ([abi.GET_API_VERSION], [abi.YIELDING_CALL_WITH_ARG, 1, 0]):
        with ffabric.refuses("direct.req.declined"):
            tee.words(*words, vm="bob")
    tee.system.system.destroy_vm("alice")
    tee.system.system.create_vm(vm("carol"))
    tee.system.run()
    carol = BlockingDriver(tee.system.vm("carol").ffa)
    carol.probe()
    carol.open_session(LAB)
    with ffabric.refuses("direct.req.declined"):
        tee.words(abi.GET_API_VERSION, vm="bob")


def test_it_knows_a_vm_without_a_bank_if_it_is_asked(boot_tee):
    tee = boot_tee("alice", "bob", vms=1, waive=["direct.req.declined"])
    assert tee.words(abi.GET_API_VERSION, vm="bob") == UNKNOWN
    assert tee.words(abi.YIELDING_CALL_WITH_ARG, 1, 0, vm="bob") == UNKNOWN


def test_the_end_of_a_vm_is_the_end_of_its_bank(two):
    system = two.system.system
    hypervisor = system.firmware.hypervisor
    free = hypervisor.frames.free_pages
    used = system.firmware.spmc.pool.in_use
    mine, shm = two.bob.open_session(LAB), two.bob.allocate(0x3000)
    two.bob.invoke(mine, COPY, shm.input(), shm.output())
    params = [Value(Type.VALUE_INPUT, 7), shm.input()]
    two.bob.begin(Message(Command.INVOKE_COMMAND, WAIT, mine, params=params))
    system.destroy_vm("bob")
    two.system.run()
    assert set(two.core.banks) == {two.system.vm("alice").id}
    assert not hypervisor.retried.orphans
    assert not system.firmware.spmc.regions.live
    assert hypervisor.frames.free_pages > free
    assert system.firmware.spmc.pool.in_use <= used
    session = two.driver.open_session(LAB)
    two.driver.invoke(session, ADD, Value(Type.VALUE_INOUT, 1))


def framework_message(tee, message, number):
    """What OP-TEE answers to a message of the hypervisor."""
    core = tee.core
    ffa = next(iter(core._calls.values()))
    handler = {
        framework.VM_CREATED: core.on_vm_created,
        framework.VM_DESTROYED: core.on_vm_destroyed,
    }
    coroutine = handler[message](number, ffa)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


def test_what_hypervisors_are_told(two):
    alice = two.system.vm("alice").id
    created, destroyed = framework.VM_CREATED, framework.VM_DESTROYED
    assert framework_message(two, created, alice) is Status.INVALID_PARAMETERS
    assert framework_message(two, created, 0) is Status.INVALID_PARAMETERS
    assert framework_message(two, created, 77) is Status.DENIED
    assert framework_message(two, destroyed, 77) is Status.SUCCESS


def test_not_virtualized_it_does_not_tell_vms_apart(tee):
    assert framework_message(tee, framework.VM_CREATED, 5) is Status.SUCCESS
    assert len(tee.core.banks) == 1
    assert framework_message(tee, framework.VM_DESTROYED, 1) is Status.SUCCESS
    assert tee.words(abi.GET_API_VERSION)[0] == 1


def test_a_bank_is_forgotten_by_the_thread_that_leaves_it_last(two):
    """VM_DESTROYED comes on one PE while a call of the VM is still under way on another."""
    number = two.system.vm("bob").id
    bank = two.core.banks[number]
    session = two.bob.open_session(LAB)
    ffa = next(iter(two.core._calls.values()))

    async def retiring(thread):
        coroutine = bank.forget(ffa)
        with pytest.raises(StopIteration):
            coroutine.send(None)
        assert bank.doomed
        assert bank.memory.regions

    bank.notifier.started = True
    two.core.drivers.append(retiring)
    two.bob.bottom_half()
    assert not bank.memory.regions
    assert session
