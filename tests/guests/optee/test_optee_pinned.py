"""Memory that OP-TEE has over FF-A is neither sent elsewhere nor freed until OP-TEE is done."""

import pytest
from optee_sides import COPY, LAB, WAIT

from ffabric.abi.ffa.status import Status
from ffabric.abi.optee.message import Command, Message, Type, Value
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.optee.error import TeeError

KINDS = ("share", "lend", "donate")


@pytest.fixture
def two(boot_tee):
    """An OP-TEE for "alice" and "bob", to whom alice could send memory."""
    tee = boot_tee("alice", "bob", vms=2)
    tee.driver_of("bob")
    return tee


def can_send(tee, ipa, kind):
    """Whether alice may send a page to bob; it comes back at once."""
    ffa, rights = tee.driver.ffa, {} if kind == "donate" else {"permissions": 2}
    rule = ""
    try:
        ffa.reclaim(getattr(ffa, kind)(tee.system.vm("bob").id, ipa=ipa, **rights))
    except FfaError as error:
        rule = error.rule
    assert rule in ("", f"mem.{kind}.not_owned")
    return not rule


def reclaimed(tee, shm):
    """The rule that refuses to give memory back, if one does."""
    try:
        tee.driver.ffa.reclaim(shm.cookie)
    except FfaError as error:
        return error.rule
    return ""


def call_with(tee, shm):
    """A call that uses memory, and waits."""
    session = tee.driver.open_session(LAB)
    params = [Value(Type.VALUE_INPUT, 9), shm.inout()]
    return tee.driver.begin(Message(Command.INVOKE_COMMAND, WAIT, session, params=params))


def finish(tee, pending):
    pending.rpc.ret = 0
    tee.driver.respond(pending, pending.rpc)
    tee.driver.resume(pending)
    assert tee.driver.finish(pending).ret == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_op_tee_has_is_not_sent(two, kind):
    shm, free = two.driver.allocate(PAGE), two.driver.ffa.ram.allocate(1)
    assert not can_send(two, shm.ipa, kind)
    assert can_send(two, free, kind)
    ipa = shm.ipa
    two.driver.free(shm)
    assert can_send(two, ipa, kind)


def test_memory_under_a_call_is_not_given_back(two):
    shm = two.driver.allocate(PAGE)
    pending = call_with(two, shm)
    with pytest.raises(TeeError, match="BUSY"):
        two.driver.free(shm)
    assert reclaimed(two, shm) == "mem.reclaim.retrieved"
    finish(two, pending)
    two.driver.free(shm)


def test_memory_that_is_registered_is_not_given_back_without_op_tee(two):
    shm = two.driver.allocate(PAGE)
    session = two.driver.open_session(LAB)
    two.driver.invoke(session, COPY, shm.input(8), shm.output(8))
    assert reclaimed(two, shm) == "mem.reclaim.retrieved"
    two.driver.free(shm)


def test_memory_that_op_tee_has_not_seen_yet_is_given_back(two):
    assert reclaimed(two, two.driver.allocate(PAGE)) == ""


def test_its_permissions_are_not_a_vms_to_change(two):
    shm = two.driver.allocate(PAGE)
    with pytest.raises(FfaError) as caught:
        two.driver.ffa.mem_perm_set(shm.ipa, 1, 0)
    assert caught.value.status in (Status.NOT_SUPPORTED, Status.DENIED)


def test_pages_of_a_vm_that_ends_are_not_free_before_op_tee_gives_them_back(two):
    hypervisor = two.system.system.firmware.hypervisor
    seen = []
    bank = two.core.banks[two.system.vm("alice").id]
    forget = bank.memory.forget

    async def forgets(ffa):
        seen.append(hypervisor.frames.free_pages)
        await forget(ffa)

    bank.memory.forget = forgets
    before = hypervisor.frames.free_pages
    pending = call_with(two, two.driver.allocate(3 * PAGE))
    assert pending.rpc is not None
    two.system.system.destroy_vm("alice")
    two.system.run()
    assert seen == [before]
    assert hypervisor.frames.free_pages > before
    assert not hypervisor.retried.orphans
