"""VMs are destroyed while the system runs, whatever they are doing."""

import pytest
from vm_sides import RWNX, World, pages_of

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.framework import VM_DESTROYED
from ffabric.abi.ffa.status import Status, from_register
from ffabric.firmware.hypervisor.spmc_link.unfinished import is_occupied
from ffabric.firmware.state.context import State
from ffabric.guests.errors import FfaError
from ffabric.system.description.python import vm

# Whatever its vCPUs are doing


def nothing(world):
    """It has control."""


def idling(world):
    world.leave(world.vcpu("v"), psci.CPU_SUSPEND_64)


def waiting(world):
    world.leave(world.vcpu("v"), fid.FFA_MSG_WAIT)


def off(world):
    world.leave(world.vcpu("v"), psci.CPU_OFF)


def two_running(world):
    world.start("v")
    world.vcpu("v", 1).id_get()


def ready(world):
    """Another vCPU has its PE."""
    world.vcpu("v").id_get()
    world.vcpu("w").id_get()


def asking_an_sp(world):
    world.ask(world.vcpu("v"), "u")


def asking_an_sp_on_another_pe(world):
    world.start("v")
    world.ask(world.vcpu("v", 1), "m")


def lending_cycles_to_an_sp(world):
    world.leave(world.vcpu("v"), fid.FFA_RUN, world.session.sp("u").id << 16)


def asking_a_vm(world):
    world.leave(world.vcpu("w"), fid.FFA_MSG_WAIT)
    world.ask(world.vcpu("v"), "w")


def serving_a_vm(world):
    world.leave(world.vcpu("v"), fid.FFA_MSG_WAIT)
    world.ask(world.vcpu("w"), "v")


def serving_a_vm_and_asking_an_sp(world):
    world.leave(world.vcpu("v"), fid.FFA_MSG_WAIT)
    world.ask(world.vcpu("w"), "v")
    world.ask(world.vcpu("v"), "u")


STATES = [
    nothing, idling, waiting, off, two_running, ready, asking_an_sp, asking_an_sp_on_another_pe,
    lending_cycles_to_an_sp, asking_a_vm, serving_a_vm, serving_a_vm_and_asking_an_sp,
]  # fmt: skip


@pytest.mark.parametrize("pe", [None, 0, 1, 3])
@pytest.mark.parametrize("state", STATES)
def test_it_is_destroyed_in_any_state(world, state, pe):
    state(world)
    v = world.destroy(pe=pe)
    if state in (asking_an_sp, serving_a_vm_and_asking_an_sp):
        world.answer(world.session.sp("u").ffa, v.id, 1)
    if state is asking_an_sp_on_another_pe:
        world.answer(world.session.sp("m").vcpu(1), v.id, 1)
    if state is lending_cycles_to_an_sp:
        world.leave(world.session.sp("u").ffa, fid.FFA_MSG_WAIT)
    if state is asking_a_vm:
        world.answer(world.vcpu("w"), v.id, 1)
    if state in (serving_a_vm, serving_a_vm_and_asking_an_sp):
        assert world.vcpu("w").x[2] == 0xFFFFFFF8  # ABORTED
    world.session.run()
    world.check_gone(v)
    world.check_alive()


@pytest.mark.parametrize("how", ["yields", "is preempted"])
@pytest.mark.parametrize("pe", [None, 0, 1])
def test_a_request_that_an_sp_has_not_finished_is_finished(world, how, pe):
    world.start("v")
    m = world.session.sp("m").vcpu(1)
    world.ask(world.vcpu("v", 1), "m")
    if how == "yields":
        world.leave(m, fid.FFA_YIELD)
    else:
        world.machine.gic.set_pending(world.hypervisor.sri, 1)
        world.leave(m, fid.FFA_ID_GET)
    assert world.hypervisor.unfinished
    v = world.destroy(pe=pe)
    world.answer(m, v.id, 3)
    assert world.session.sp("m").endpoint.partition.contexts[1].state is State.WAITING
    world.check_gone(v)
    world.check_alive()


def test_a_request_is_finished_though_another_vm_was_refused_to_run_the_sp(world):
    for name in ("v", "w"):
        world.start(name)
    m = world.session.sp("m").vcpu(1)
    world.ask(world.vcpu("v", 1), "m")
    world.leave(m, fid.FFA_YIELD)
    asked = dict(world.hypervisor.unfinished)
    (word,) = asked
    assert world.vcpu("w", 1).call(fid.FFA_RUN, word)[0] == fid.FFA_ERROR
    assert world.hypervisor.unfinished == asked
    v = world.destroy()
    world.answer(m, v.id, 3)
    world.check_gone(v)
    world.check_alive()


def test_a_request_that_an_sp_pauses_after_the_vm_died_is_finished(world):
    u = world.session.sp("u").ffa
    world.ask(world.vcpu("v"), "u")
    v = world.destroy()
    u.yield_()  # it has cycles again
    world.answer(u, v.id)
    world.check_gone(v)


def test_while_an_sp_rests_from_a_dead_ones_request_it_is_occupied(world):
    clock, u = world.machine.clock, world.session.sp("u").ffa
    world.ask(world.vcpu("v"), "u")
    v = world.destroy()
    now, occupied = clock.now, []
    clock.at(now + 500_000, lambda: occupied.append(is_occupied(world.hypervisor, u.endpoint)))
    u.call(fid.FFA_YIELD, 0, 1_000_000)
    assert occupied == [True]
    assert clock.now >= now + 1_000_000
    world.answer(u, v.id)
    world.check_gone(v)


def test_a_vm_that_yielded_in_a_dead_ones_request_goes_on(world):
    w = world.vcpu("w")
    world.leave(w, fid.FFA_MSG_WAIT)
    world.ask(world.vcpu("v"), "w")
    world.leave(w, fid.FFA_YIELD)
    v = world.destroy()
    assert w.x[0] == fid.FFA_SUCCESS_32
    world.answer(w, v.id)
    world.check_gone(v)
    assert w.vcpu._ctx.state is State.WAITING


@pytest.mark.parametrize("others", [False, True])
def test_a_vm_that_yields_in_a_request_of_one_that_is_dead_goes_on(ffabric, others):
    names = ["v", "w", "x"] if others else ["v", "w"]
    world = World(ffabric, vms=[vm(name, vcpus=2) for name in names])
    w = world.vcpu("w")
    world.leave(w, fid.FFA_MSG_WAIT)
    world.ask(world.vcpu("v"), "w")
    v = world.destroy()
    if others:
        world.leave(w, fid.FFA_YIELD)
    else:
        w.yield_()
    assert w.x[0] == fid.FFA_SUCCESS_32
    world.answer(w, v.id)
    world.check_gone(v)
    assert w.vcpu._ctx.state is State.WAITING


def test_whoever_waits_for_a_dead_vm_is_told_when_that_ones_server_yields(ffabric):
    world = World(ffabric, vms=[vm(name, vcpus=2) for name in ("v", "w", "x")])
    w, x = world.vcpu("w"), world.vcpu("x")
    world.leave(world.vcpu("v"), fid.FFA_MSG_WAIT)
    world.leave(w, fid.FFA_MSG_WAIT)
    world.ask(x, "v")
    world.ask(world.vcpu("v"), "w")
    v = world.destroy()
    world.leave(w, fid.FFA_YIELD)
    assert from_register(x.x[2]) is Status.ABORTED
    world.answer(w, v.id)
    assert w.vcpu._ctx.state is State.WAITING
    world.check_gone(v)


# What it has and gave away


@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
@pytest.mark.parametrize("taken", [False, True])
def test_what_it_gave_to_an_sp(world, kind, taken):
    v, u = world.session.vm("v"), world.session.sp("u")
    ipa = v.ram.allocate(2)
    handle = getattr(v.ffa, kind)("u", ipa=ipa, pages=2)
    if taken:
        there = u.ffa.retrieve(handle, "v", permissions=RWNX if kind != "share" else 2).ipa
    gone = world.destroy()
    if taken and kind != "donate":
        assert [each.handle for each in world.hypervisor.retried.orphans] == [handle]
        u.memory.write(there, b"still there")
        u.ffa.relinquish(handle)
        world.check_alive()  # an SP has run: the hypervisor looks again, a while later
        world.session.run()
    if taken and kind == "donate":
        world.before = (world.before[0] - 2, *world.before[1:])
    assert not world.hypervisor.retried.orphans
    world.check_gone(gone)


def test_an_sp_that_hears_of_it_gives_back_at_once(world):
    v = world.session.vm("v")
    handle = v.ffa.share("listener", ipa=v.ram.allocate(), pages=1)
    listener = world.session.system.endpoint("listener")
    ffa = next(iter(listener.software._calls.values()))
    assert ffa.endpoint == listener.id

    async def retrieve(request, calls):
        await calls.retrieve(handle, request.sender)
        world.listener.held.append(handle)
        return request.respond()

    world.listener.on_direct_request, original = retrieve, world.listener.on_direct_request
    v.ffa.direct_request("listener")
    world.listener.on_direct_request = original
    gone = world.destroy()
    assert not world.hypervisor.retried.orphans
    world.check_gone(gone)


@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
def test_what_it_gave_to_a_vm(world, kind):
    v, w = world.session.vm("v"), world.session.vm("w")
    handle = getattr(v.ffa, kind)("w", ipa=v.ram.allocate(2), pages=2)
    got = w.ffa.retrieve(handle, "v", permissions=RWNX if kind != "share" else 2)
    gone = world.destroy()
    if kind == "donate":
        w.memory.write(got.ipa, b"mine")
        world.before = (world.before[0] - 2, *world.before[1:])
    else:
        with pytest.raises(Exception, match="translation fault"):
            w.memory.read(got.ipa, 1)
    world.check_gone(gone)


def test_what_others_gave_to_it(world):
    v, w = world.session.vm("v"), world.session.vm("w")
    lent = w.ram.allocate()
    handle = w.ffa.lend("v", ipa=lent, pages=1)
    v.ffa.retrieve(handle, "w", permissions=RWNX)
    gone = world.destroy()
    w.ffa.reclaim(handle)
    w.memory.write(lent, b"back")
    world.check_gone(gone)


def test_buffers_with_a_message_in_them(world):
    v, w = world.session.vm("v"), world.session.vm("w")
    v.ffa.map_buffers()
    w.ffa.send2("v", b"unread")
    world.check_gone(world.destroy())


def test_a_transaction_in_pieces(world):
    v = world.session.vm("v").ffa
    v.map_buffers()
    ranges = [(v.ram.allocate(2), 1) for _ in range(8)]
    transaction = abi.Transaction(
        sender=v.endpoint,
        attributes=mem.MEM_ATTR_NORMAL_WB_INNER,
        receivers=[abi.Receiver(world.system.resolve("u"), 2, 0, 0, (0, 0))],
        constituents=ranges,
    )
    data = abi.build_transaction(transaction, v.version)
    first = data[:-32]
    v.memory.write(v.tx, first)
    assert v.call(fid.FFA_MEM_SHARE_64, len(data), len(first))[0] == fid.FFA_MEM_FRAG_RX
    world.check_gone(world.destroy())


def test_notifications_that_it_has_not_read(world):
    v, w, u = world.session.vm("v").ffa, world.session.vm("w").ffa, world.session.sp("u")
    v.notification_bind("u", 0b11)
    v.notification_bind("u", 0b1100, flags=1)
    v.notification_bind("w", 1 << 40)
    world.vcpu("w").notification_bind("v", 0b1)
    u.ffa.notification_set("v", 0b1, flags=2)
    u.ffa.notification_set("v", 0b100, flags=3)
    u.ffa.notification_set("v", 0b1000, flags=3 | 1 << 16)
    w.notification_set("v", 1 << 40)
    gone = world.destroy()
    world.check_gone(gone)
    with pytest.raises(FfaError, match="INVALID_PARAMETERS"):
        u.ffa.notification_set(gone.id, 0b1)
    source = world.hypervisor.partitions[world.system.resolve("w")].notifications.from_vms
    assert not source.bound.get(gone.id)


# While it is being destroyed


class Dying(World):
    """``v`` is being destroyed on PE 0: the listener, who is told, waits for the SP ``u``."""

    def __init__(self, ffabric):
        super().__init__(ffabric)
        self.start("v")
        self.start("w")

    def begin(self, *names):
        """Destroy VMs; the end comes when ``u`` has answered."""

        async def asks_u(vm, ffa):
            self.listener.heard.append((VM_DESTROYED, vm))
            if len(self.listener.heard) == 1:
                await ffa.direct_request("u")

        self.listener.on_vm_destroyed = asks_u  # type: ignore[method-assign]
        return [self.destroy(name, pe=0) for name in names]

    def end(self):
        """Let the SP answer, and another one run."""
        self.answer(self.session.sp("u").ffa, self.system.resolve("listener"))
        self.session.run()


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_an_sp_keeps_what_a_vm_gives_back_while_the_owner_is_destroyed(ffabric, kind):
    world = Dying(ffabric)
    v, w, m = world.session.vm("v"), world.vcpu("w", 1), world.session.sp("m")
    ipa = v.ram.allocate(2)
    handle = getattr(v.ffa, kind)(("m", "w"), ipa=ipa, pages=2)
    there = m.ffa.retrieve(handle, "v", others=[("w", 2)]).ipa
    world.leave(m.ffa, fid.FFA_MSG_WAIT)
    w.retrieve(handle, "v", others=[("m", 2)])
    (gone,) = world.begin("v")
    w.relinquish(handle)
    m.memory.write(there, b"still here")
    world.end()
    world.check_alive()
    free = world.hypervisor.frames.free_pages
    assert free == world.before[0] + pages_of(gone) - 2
    m.memory.write(there, b"still here")
    m.ffa.relinquish(handle)
    world.check_alive()
    world.session.run()
    world.check_gone(gone)


@pytest.mark.parametrize("order", ["vw", "wv"])
@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
def test_what_a_vm_gave_to_another_when_both_are_destroyed(ffabric, kind, order):
    world = Dying(ffabric)
    v, w = world.session.vm("v"), world.vcpu("w", 1)
    handle = getattr(v.ffa, kind)("w", ipa=v.ram.allocate(2), pages=2)
    w.retrieve(handle, "v", permissions=RWNX if kind != "share" else 2)
    gone = world.begin(*order)
    world.end()
    assert not world.hypervisor.regions.live
    assert world.hypervisor.frames.free_pages == world.before[0] + pages_of(*gone)


@pytest.mark.parametrize("order", ["wx", "xw"])
def test_who_waits_for_a_dead_one_that_waits_for_another_is_told(ffabric, order):
    world = World(ffabric, vms=["v", "w", "x"])
    for name in "wx":
        world.leave(world.vcpu(name), fid.FFA_MSG_WAIT)
    world.ask(world.vcpu("v"), "w")
    world.ask(world.vcpu("w"), "x")
    dead = [world.destroy(name) for name in order]
    waited = world.system.endpoint("v").partition.contexts[0]
    assert waited.state is State.RUNNING
    assert waited.x[0] == fid.FFA_ERROR
    assert from_register(waited.x[2]) is Status.ABORTED
    assert all(each.partition.contexts[0].state is State.ABORTED for each in dead)
    assert world.hypervisor.frames.free_pages == world.before[0] + pages_of(*dead)
    assert world.vcpu("v").call(fid.FFA_ID_GET)[0] == fid.FFA_SUCCESS_32


# SPs that want to know


def test_an_sp_that_is_busy_hears_of_it_later(world):
    async def asks_u(request, ffa):
        await ffa.direct_request("u")
        return request.respond(1)

    world.listener.on_direct_request, original = asks_u, world.listener.on_direct_request
    world.ask(world.vcpu("w"), "listener")
    world.listener.on_direct_request = original
    gone = world.destroy()
    assert world.hypervisor.retried.messages
    assert not world.listener.heard
    u = world.session.sp("u").ffa
    world.answer(u, world.system.resolve("listener"))
    assert world.listener.heard == [(VM_DESTROYED, gone.id)]
    world.check_gone(gone)


def test_an_interrupt_while_an_sp_is_told_ends_nothing(world):
    async def interrupted(vm, ffa):
        world.listener.heard.append((VM_DESTROYED, vm))
        world.machine.gic.set_pending(world.hypervisor.sri, ffa.vcpu.pe)
        await ffa.id_get()

    world.listener.on_vm_destroyed = interrupted
    world.check_gone(world.destroy())
