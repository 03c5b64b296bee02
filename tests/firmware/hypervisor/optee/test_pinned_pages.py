"""A page that OP-TEE may use is nobody else's: it cannot be sent until OP-TEE is done with it."""

import pytest
from mediator_sides import World

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.optee import message as m
from ffabric.abi.optee import rpc, smc
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.optee import shadow
from ffabric.guests.errors import FfaError
from ffabric.machine.translation.descriptors import S2AP_W

Return, Type, Command = smc.Return, m.Type, m.Command
KINDS = ("share", "lend", "donate")
REFERENCE, OTHER, COOKIE = 0x5EED, 0x5EEE, 0x77


class Pinning(World):
    """Alice, who has the buffers to send memory to bob."""

    def __init__(self, ffabric, vms=("alice", "bob")):
        super().__init__(ffabric, vms)
        for each in (self.alice, self.bob):
            each.ffa.map_buffers()

    def can_send(self, ipa, kind="share"):
        """Whether alice may send a page; it comes back at once."""
        rights = {} if kind == "donate" else {"permissions": 2}
        rule = ""
        try:
            self.alice.ffa.reclaim(getattr(self.alice.ffa, kind)(self.bob.id, ipa=ipa, **rights))
        except FfaError as error:
            rule = error.rule
        assert rule in ("", f"mem.{kind}.not_owned")
        return not rule

    def register(self, ipa, reference=REFERENCE, pages=1):
        """REGISTER_SHM: what the call returned, and the result in the message."""
        param = m.Tmem(Type.TMEM_OUTPUT, ipa, pages * PAGE, reference)
        at = self.alice.put(param, command=Command.REGISTER_SHM)
        return self.alice.call(at), self.alice.got(at).ret

    def unregister(self, reference=REFERENCE):
        """UNREGISTER_SHM."""
        param = m.Rmem(Type.FMEM_INPUT, 0, 0, reference)
        assert self.alice.call(self.alice.put(param, command=Command.UNREGISTER_SHM)) == Return.OK

    def answers(self, result):
        """OP-TEE answers all messages so."""

        def serve(message):
            message.ret = result

        self.tee.serve = serve


@pytest.fixture
def world(ffabric):
    return Pinning(ffabric)


def tmem(address, size, flags=0):
    return m.Tmem(Type.TMEM_INOUT | flags, address, size, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_buffer_is_in_use_as_long_as_the_call(world, kind):
    alice = world.alice
    before, buffer, after = (alice.pages(1) for _ in range(3))
    world.tee.rpcs = [(smc.Rpc.FOREIGN_INTR, 0, 0)]
    assert alice.call(alice.put(tmem(buffer + 8, 16))) == smc.Rpc.FOREIGN_INTR
    assert not world.can_send(buffer, kind)
    assert world.can_send(before, kind)
    assert world.can_send(after, kind)
    assert alice.resume() == Return.OK
    assert world.can_send(buffer, kind)


def test_so_is_each_page_of_a_list_but_not_the_list(world):
    alice = world.alice
    pages = [alice.pages(1) for _ in range(3)]
    listed = alice.page_list([pages[2], pages[0]])
    world.tee.rpcs = [(smc.Rpc.FOREIGN_INTR, 0, 0)]
    alice.call(alice.put(tmem(listed, 2 * PAGE, m.NONCONTIG)))
    assert [world.can_send(each) for each in (*pages, listed)] == [False, True, False, True]
    alice.resume()
    assert all(world.can_send(each) for each in pages)


def test_a_range_around_it_is_not_sent_either(ffabric, world):
    alice = world.alice
    base = alice.pages(8)
    world.tee.rpcs = [(smc.Rpc.FOREIGN_INTR, 0, 0)]
    alice.call(alice.put(tmem(base + 5 * PAGE, PAGE), tmem(base + 6 * PAGE, PAGE)))
    for first, pages in ((0, 8), (5, 1), (6, 2)):
        with ffabric.refuses("mem.lend.not_owned"):
            alice.ffa.lend(world.bob.id, ipa=base + first * PAGE, pages=pages)
    alice.ffa.lend(world.bob.id, ipa=base, pages=5)
    alice.ffa.lend(world.bob.id, ipa=base + 7 * PAGE)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_registered_is_in_use_until_it_is_no_longer(world, kind):
    buffer = world.alice.pages(2)
    assert world.register(buffer, pages=2) == (Return.OK, 0)
    assert not world.can_send(buffer + PAGE, kind)
    world.answers(0xFFFF000D)  # OP-TEE is busy with it
    world.unregister()
    assert not world.can_send(buffer, kind)
    world.answers(0)
    world.unregister(OTHER)
    assert not world.can_send(buffer, kind)
    world.unregister()
    assert world.can_send(buffer, kind)


def test_what_optee_does_not_register_is_not_in_use(world):
    world.answers(0xFFFF0006)
    buffer = world.alice.pages(1)
    assert world.register(buffer) == (Return.OK, 0xFFFF0006)
    assert world.can_send(buffer)


def test_a_page_that_is_in_use_twice_is_so_until_both_ends(world):
    buffer = world.alice.pages(1)
    for reference in (REFERENCE, OTHER):
        world.register(buffer, reference)
    world.unregister()
    assert not world.can_send(buffer)
    world.unregister(OTHER)
    assert world.can_send(buffer)


def test_a_reference_stands_for_one_thing(world):
    first, second = world.alice.pages(1), world.alice.pages(1)
    world.register(first)
    assert world.register(second)[0] == Return.EBADADDR
    assert world.refused("optee.reference") == 1
    assert world.can_send(second)
    assert world.register(second, OTHER)[0] == Return.OK


@pytest.mark.parametrize("result", [0, 0xFFFF0006])
def test_so_it_does_while_optee_is_about_to_register_it(world, result):
    """Of two memories with one reference OP-TEE could use one that the VM has again."""
    alice, tee = world.alice, world.tee
    first, second = alice.pages(1), alice.pages(1)
    world.answers(result)
    tee.rpcs = [(smc.Rpc.FOREIGN_INTR, 0, 0)]
    at = alice.put(m.Tmem(Type.TMEM_OUTPUT, first, PAGE, REFERENCE), command=Command.REGISTER_SHM)
    assert alice.call(at) == smc.Rpc.FOREIGN_INTR
    message = tee.message
    assert world.register(second)[0] == Return.EBADADDR
    assert world.refused("optee.reference") == 1
    assert world.register(second, OTHER) == (Return.OK, result)
    tee.message = message
    assert alice.resume() == Return.OK
    assert world.can_send(first) == bool(result)
    assert (world.register(second)[0] == Return.OK) == bool(result)


def test_nor_is_memory_that_is_asked_for_what_is_about_to_be_registered(world):
    alice, tee, thread = world.alice, world.tee, 6
    page, first, second = alice.page(), alice.pages(1), alice.pages(1)
    tee.rpcs = [(smc.Rpc.ALLOC, PAGE, 0)]
    alice.call(alice.put())
    alice.resume(page >> 32, page, a5=COOKIE)
    x = tee.calls[-1]
    tee.rpcs = [(smc.Rpc.FOREIGN_INTR, 0, 0, thread), (smc.Rpc.CMD, 0, COOKIE)]
    at = alice.put(m.Tmem(Type.TMEM_OUTPUT, first, PAGE, REFERENCE), command=Command.REGISTER_SHM)
    assert alice.call(at) == smc.Rpc.FOREIGN_INTR
    registering = tee.message
    asked = m.Message(rpc.Command.SHM_ALLOC, params=[m.Value(Type.VALUE_INPUT, 0, PAGE)])
    theirs = x[1] << 32 | x[2]
    world.system.machine.memory.write(theirs, m.build_message(asked), secure=False)
    assert alice.call(alice.put()) == smc.Rpc.CMD
    for reference, a0 in ((REFERENCE, Return.EBADADDR), (OTHER, Return.OK)):
        given = m.Tmem(Type.TMEM_OUTPUT, second, PAGE, reference)
        alice.memory.write(page, m.build_message(m.Message(rpc.Command.SHM_ALLOC, params=[given])))
        assert alice.resume(a2=COOKIE) == a0
    tee.message = registering
    assert alice.resume(thread=thread) == Return.OK
    assert not world.can_send(first)
    assert not world.can_send(second)
    world.unregister()
    assert world.can_send(first)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_page_that_is_in_use_is_no_rx_or_tx_buffer(ffabric, world, shift):
    alice = world.alice
    alice.ffa.call(fid.FFA_RXTX_UNMAP)
    buffers = alice.pages(3)
    world.register(buffers + shift * PAGE)
    tx, rx, free = buffers, buffers + PAGE, buffers + 2 * PAGE
    with ffabric.refuses("rxtx.map.access"):
        alice.ffa.call(fid.FFA_RXTX_MAP_64, tx, rx, 1)
    alice.ffa.call(fid.FFA_RXTX_MAP_64, *((rx, free) if not shift else (tx, free)), 1)
    alice.ffa.call(fid.FFA_RXTX_UNMAP)
    world.unregister()
    alice.ffa.call(fid.FFA_RXTX_MAP_64, tx, rx, 1)


def test_memory_that_the_vm_gives_is_in_use_until_optee_frees_it(world):
    alice = world.alice
    page, buffer = alice.page(), alice.pages(1)
    pause = smc.Rpc.FOREIGN_INTR, 0, 0
    message = smc.Rpc.CMD, 0, COOKIE
    world.tee.rpcs = [(smc.Rpc.ALLOC, PAGE, 0), pause, message, pause, message]
    alice.call(alice.put())
    alice.resume(page >> 32, page, a5=COOKIE)
    x = world.tee.calls[-1]
    theirs = x[1] << 32 | x[2]

    def ask(command, *words):
        """OP-TEE, which was interrupted, writes a request and makes it."""
        data = m.build_message(m.Message(command, params=[m.Value(Type.VALUE_INPUT, *words)]))
        world.system.machine.memory.write(theirs, data, secure=False)
        assert alice.resume() == smc.Rpc.CMD

    ask(rpc.Command.SHM_ALLOC, 0, PAGE)
    assert world.can_send(buffer)
    given = m.Tmem(Type.TMEM_OUTPUT, buffer, PAGE, REFERENCE)
    alice.memory.write(page, m.build_message(m.Message(rpc.Command.SHM_ALLOC, params=[given])))
    assert alice.resume(a2=COOKIE) == smc.Rpc.FOREIGN_INTR
    assert not world.can_send(buffer)
    ask(rpc.Command.SHM_FREE, 0, REFERENCE)
    assert world.can_send(buffer)
    assert alice.resume(a2=COOKIE) == Return.OK


def test_a_vm_names_so_many_pages_and_no_more(world, monkeypatch):
    monkeypatch.setattr(shadow, "MAX_PINS", 4)
    alice = world.alice
    buffer = alice.pages(5)
    assert alice.call(alice.put(tmem(buffer, 5 * PAGE))) == Return.ENOMEM
    assert world.refused("optee.pinned") == 1
    assert alice.call(alice.put(tmem(buffer, 4 * PAGE))) == Return.OK
    assert world.register(buffer, pages=3)[0] == Return.OK
    assert alice.call(alice.put(tmem(buffer, 2 * PAGE))) == Return.ENOMEM
    assert alice.call(alice.put(tmem(buffer, PAGE))) == Return.OK
    world.unregister()
    assert alice.call(alice.put(tmem(buffer, 4 * PAGE))) == Return.OK


def test_so_it_is_with_references_to_nothing(world, monkeypatch):
    monkeypatch.setattr(shadow, "MAX_KEPT", 3)
    for reference in range(3):
        assert world.register(0, reference, pages=0)[0] == Return.OK
    assert world.register(0, OTHER, pages=0)[0] == Return.ENOMEM
    world.unregister(1)
    assert world.register(0, OTHER, pages=0)[0] == Return.OK


def test_what_is_refused_in_the_middle_uses_nothing(world):
    alice = world.alice
    buffer = alice.pages(1)
    assert alice.call(alice.put(tmem(buffer, PAGE), tmem(1 << 39, PAGE))) == Return.EBADADDR
    assert world.can_send(buffer)


def test_nobody_changes_the_permissions_of_a_page_of_a_vm(world):
    """FFA_MEM_PERM_SET is not for VMs, whether OP-TEE uses the page or not."""
    alice = world.alice
    buffer, free = alice.pages(1), alice.pages(1)
    world.register(buffer)
    for ipa in (buffer, free):
        with pytest.raises(FfaError) as caught:
            alice.ffa.mem_perm_set(ipa, 1, 0)
        assert caught.value.status in (Status.NOT_SUPPORTED, Status.DENIED)
    assert alice.stage2.translate(buffer) & S2AP_W


def frames_while_told(world, monkeypatch):
    """How many frames are free when OP-TEE is told that a VM is gone, and afterwards."""
    frames = world.hypervisor.frames
    seen = []

    def destroyed(tee, x):
        seen.append(frames.free_pages)
        return (Return.OK, 0, 0, 0)

    monkeypatch.setitem(world.tee._fast, smc.VM_DESTROYED, destroyed)
    world.system.destroy_vm("alice")
    world.system.run()
    return (*seen, frames.free_pages)


def test_pages_of_a_vm_that_ends_are_free_when_optee_has_forgotten_them(world, monkeypatch):
    before = world.hypervisor.frames.free_pages
    world.register(world.alice.pages(2), pages=2)
    told, after = frames_while_told(world, monkeypatch)
    assert told == before
    assert after == before + (16 << 20) // PAGE
    assert world.alice.handle.endpoint.partition.pinned == {}


def test_pages_of_a_call_that_waits_are_free_when_optee_has_forgotten_it(world, monkeypatch):
    alice = world.alice
    before = world.hypervisor.frames.free_pages
    world.tee.rpcs = [(smc.Rpc.FOREIGN_INTR, 0, 0)]
    alice.call(alice.put(tmem(alice.pages(1), PAGE)))
    told, after = frames_while_told(world, monkeypatch)
    assert told == before < after
    assert alice.handle.endpoint.partition.pinned == {}


def test_pages_of_a_vm_without_optee_are_free_at_once(ffabric):
    world = Pinning(ffabric, ("alice", "bob", "carol"))
    before = world.hypervisor.frames.free_pages
    told = len(world.tee.calls)
    world.system.destroy_vm("carol")
    world.system.run()
    assert world.hypervisor.frames.free_pages > before
    assert len(world.tee.calls) == told
