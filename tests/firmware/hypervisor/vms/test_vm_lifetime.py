"""VMs are created and destroyed while the system runs, whatever they are doing."""

import pytest

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.framework import VM_CREATED, VM_DESTROYED
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.psci import Return
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.spmc_link.retried import RECLAIMS
from ffabric.firmware.hypervisor.spmc_link.unfinished import is_occupied
from ffabric.firmware.hypervisor.vms.frames import NoFrames
from ffabric.firmware.hypervisor.vms.ids import NoIds
from ffabric.firmware.state.context import State
from ffabric.guests.errors import FfaError
from ffabric.guests.images import load
from ffabric.guests.partition import Partition
from ffabric.machine.translation.pages import NoPages
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion
from ffabric.system.options.problems import SystemErrors

REQ, RESP = fid.FFA_MSG_SEND_DIRECT_REQ_64, fid.FFA_MSG_SEND_DIRECT_RESP_64
RWNX = mem.PERM_DATA_RW | mem.PERM_INSTRUCTION_NX


def pages_of(*endpoints):
    """How many pages these have of their own."""
    return sum(each.size for endpoint in endpoints for each in endpoint.spec.memory) // PAGE


class Listener(Partition):
    """An SP that wants to know which VMs there are."""

    manifest = {"vm_availability_messages": 3}  # noqa: RUF012

    def __init__(self):
        super().__init__("listener")
        self.heard = []
        self.held = []

    async def on_direct_request(self, request, ffa):
        return request.respond(*request.payload)

    async def on_vm_created(self, vm, ffa):
        self.heard.append((VM_CREATED, vm))

    async def on_vm_destroyed(self, vm, ffa):
        self.heard.append((VM_DESTROYED, vm))
        while self.held:
            await ffa.relinquish(self.held.pop())


class World:
    """A system with a VM ``v`` of two vCPUs that will be destroyed, and what must be left."""

    def __init__(self, ffabric, **options):
        self.listener = Listener()
        sps = [self.listener, "u", sp("m", vcpus=4)]
        options.setdefault("vms", [vm("v", vcpus=2), vm("w", vcpus=2)])
        self.session = ffabric.boot(sps=sps, pes=4, **options)
        self.system = self.session.system
        self.machine = self.system.machine
        self.hypervisor = self.system.firmware.hypervisor
        self.spmc = self.system.firmware.spmc
        self.listener.heard.clear()
        self.before = self.resources()

    def resources(self):
        return (
            self.hypervisor.frames.free_pages,
            self.hypervisor.pool.in_use,
            len(self.machine.bus.regions),
        )

    def vcpu(self, name, index=0):
        return self.session.vm(name).vcpu(index)

    def start(self, name, index=1):
        """Let a secondary vCPU run."""
        mpidr = self.machine.pes[index].mpidr
        self.vcpu(name).call(psci.CPU_ON_64, mpidr, 0x4000_0000, 0)
        self.session.run()

    def leave(self, calls, *registers):
        """A call that does not return."""
        with pytest.raises(Blocked):
            calls.call(*registers)

    def ask(self, calls, to, *payload):
        """A direct request that somebody has to answer."""
        self.leave(calls, REQ, calls.endpoint << 16 | self.system.resolve(to), 0, *payload)

    def answer(self, calls, to, *payload):
        """Respond."""
        self.leave(calls, RESP, calls.endpoint << 16 | to, 0, *payload)

    def destroy(self, name="v", **options):
        endpoint = self.system.endpoint(name)
        self.system.destroy_vm(name, **options)
        self.session.run()
        return endpoint

    def check_gone(self, endpoint, orphans=0):
        """Nothing of the VM is left."""
        hypervisor, spmc, number = self.hypervisor, self.spmc, endpoint.id
        assert endpoint.name not in self.system.endpoints
        assert number not in hypervisor.partitions
        assert not [r for r in hypervisor.regions.live.values() if r.sender == number]
        assert not [r for r in hypervisor.regions.pending.values() if r.sender == number]
        assert number not in hypervisor.regions.counts
        assert not [key for key in hypervisor.regions.responses if key[1] == number]
        assert len([r for r in spmc.regions.live.values() if r.sender == number]) == orphans
        assert number not in spmc.vm_mailboxes
        assert number not in spmc.remote_notifications
        assert number not in hypervisor.shared_mailboxes
        assert not hypervisor.unfinished
        assert not hypervisor.retried.messages
        assert not hypervisor.deferred
        contexts = set(endpoint.partition.contexts)
        for pe in self.machine.pes:
            assert pe.current not in contexts
            cpu = hypervisor.cpus[pe.index]
            assert not contexts.intersection(cpu.ready)
            assert cpu.preempted not in contexts
            assert cpu.caller not in contexts
        assert all(ctx.state is State.ABORTED for ctx in contexts)
        frames, tables, regions = self.resources()
        assert frames == self.before[0] + pages_of(endpoint)
        assert tables < self.before[1]
        assert regions == self.before[2] - 2
        assert self.listener.heard == [(VM_DESTROYED, number)]

    def check_alive(self):
        """The others go on."""
        w = self.vcpu("w")
        assert w.direct_request("listener", 7).payload[0] == 7


@pytest.fixture
def world(ffabric):
    return World(ffabric)


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


# Creation


def test_a_created_vm_is_like_any_other(world):
    world.system.create_vm(vm("x", vcpus=2))
    world.session.run()
    x = world.session.vm("x")
    assert world.listener.heard == [(VM_CREATED, x.id)]
    assert x.id == 3
    assert x.ffa.direct_request("listener", 5).payload[0] == 5
    ipa = x.ram.allocate(600)
    x.memory.write(ipa, b"far")
    handle = x.ffa.share("u", ipa=ipa, pages=600)
    u = world.session.sp("u")
    got = u.ffa.retrieve(handle, "x")
    assert u.memory.read(got.ipa, 3) == b"far"
    assert got.ipa != ipa


def test_vms_come_and_go_and_leave_nothing(world):
    frames, tables, regions = world.resources()
    numbers = set()
    for _ in range(20):
        world.system.create_vm(vm("x"))
        world.session.run()
        x = world.session.vm("x")
        x.memory.write(x.ram.base, b"secret")
        x.ffa.map_buffers()
        numbers.add(x.id)
        world.destroy("x")
    assert world.resources() == (frames, tables, regions)
    assert len(numbers) == 20
    assert world.listener.heard == [
        (message, number) for number in sorted(numbers) for message in (VM_CREATED, VM_DESTROYED)
    ]


def test_its_memory_is_clean(world):
    v = world.session.vm("v")
    size = v.endpoint.spec.memory[0].size
    v.memory.write(v.ram.base, b"\xff" * size)
    world.destroy()
    for _ in range(70):
        try:
            world.system.create_vm(vm("x"))
        except NoFrames:
            break
        world.session.run()
        x = world.session.vm("x")
        assert not any(x.memory.read(x.ram.base, PAGE))
        world.destroy("x")


def test_a_vm_is_gone_before_it_has_begun(world):
    world.machine._running = True  # nothing is done yet
    world.system.create_vm(vm("x"))
    world.system.destroy_vm("x")
    world.machine._running = False
    world.session.run()
    assert "x" not in world.system.endpoints
    assert world.resources() == world.before


def test_an_image_is_created_and_powers_itself_off(ffabric):
    system = ffabric.boot(sps=[sp(name="adder", image=load("adder_smc"))], vms=["w"], pes=4)
    for _ in range(2):
        system.system.create_vm(vm(name="client", image=load("client_hvc")))
        system.run()
        assert "client" not in system.system.endpoints
    assert system.system.failure is None


def test_a_vm_dies_between_two_instructions(ffabric):
    """A callback of the clock, while an image executes."""
    loop = bytes.fromhex("00000014")
    system = ffabric.boot(vms=["w"], pes=2)
    machine = system.system.machine
    machine.clock.at(2_000_000, lambda: system.system.destroy_vm("loop"))
    system.system.create_vm(vm(name="loop", image=loop))
    system.run()
    assert machine.clock.now >= 2_000_000
    assert "loop" not in system.system.endpoints


# Many


def test_many_vms_are_destroyed_while_an_sp_has_the_pe(ffabric):
    world = World(ffabric, vms=[vm("v"), vm("w", vcpus=2)])
    frames = world.hypervisor.frames.free_pages
    names = [f"x{n}" for n in range(300)]
    for name in names:
        world.system.create_vm(vm(name, mem_size=0x4000))
    world.session.run()
    world.listener.heard.clear()
    world.ask(world.vcpu("w"), "u")
    for name in names:
        world.system.destroy_vm(name, pe=0)
    world.answer(world.session.sp("u").ffa, world.system.resolve("w"))
    world.session.run()
    assert set(world.system.endpoints) == {"listener", "u", "m", "v", "w"}
    assert world.hypervisor.frames.free_pages == frames
    assert [message for message, _ in world.listener.heard] == [VM_DESTROYED] * 300
    world.check_alive()


def test_what_a_dead_vm_left_costs_the_calls_of_others_nothing(world):
    v, w, u = world.session.vm("v"), world.session.vm("w"), world.session.sp("u")
    pages = 3 * RECLAIMS
    base = v.ram.allocate(pages)
    handles = [v.ffa.share("u", ipa=base + n * PAGE) for n in range(pages)]
    for handle in handles:
        u.ffa.retrieve(handle, "v")
    world.destroy()
    refusals = world.spmc.refusals
    tried = refusals["mem.reclaim.retrieved"]
    assert tried >= pages
    for _ in range(5):
        w.ffa.direct_request("listener", 1)
    assert refusals["mem.reclaim.retrieved"] == tried
    world.session.run()
    assert refusals["mem.reclaim.retrieved"] == tried + pages
    for handle in handles[1:]:
        u.ffa.relinquish(handle)
    w.ffa.direct_request("listener", 1)
    world.session.run()
    assert [each.handle for each in world.hypervisor.retried.orphans] == handles[:1]


def test_an_sp_that_yields_in_a_message_about_a_vm_keeps_nobody_from_running(world):
    yields = 0

    async def rests(vm, ffa):
        nonlocal yields
        while yields < 100:
            yields += 1
            await ffa.yield_()

    world.listener.on_vm_destroyed = rests
    world.destroy(pe=0)
    assert yields == 100
    world.check_alive()


# Ids


def test_an_id_is_used_again_when_nothing_is_left_of_its_vm(world):
    ids = world.hypervisor.vm_ids
    v, u = world.session.vm("v"), world.session.sp("u")
    handle = v.ffa.share("u", ipa=v.ram.allocate())
    u.ffa.retrieve(handle, "v")
    world.destroy()
    with pytest.raises(NoIds):  # noqa: PT012 - how many there are is not the test's business
        while True:
            number = ids.next()
            assert 0 < number < 0x8000
            assert number != v.id
            ids.take(number)
    with pytest.raises(NoIds):
        world.system.create_vm(vm("x"))
    u.ffa.relinquish(handle)
    world.check_alive()
    world.session.run()
    world.system.create_vm(vm("x"))
    assert world.system.endpoint("x").id == v.id


@pytest.mark.parametrize("to", ["v", ("v", "u")])
def test_an_id_to_which_memory_was_sent_is_not_used_again(ffabric, world, to):
    w = world.vcpu("w")
    handle = w.share(to, ipa=world.session.vm("w").ram.allocate())
    v = world.destroy()
    world.hypervisor.vm_ids.begin_again()
    world.system.create_vm(vm("x"))
    x = world.session.vm("x")
    assert x.id != v.id
    with ffabric.refuses("mem.retrieve.borrower"):
        x.ffa.retrieve(handle, "w", others=[("u", 2)] if len(to) > 1 else ())
    w.reclaim(handle)
    world.hypervisor.vm_ids.begin_again()
    world.system.create_vm(vm("y"))
    assert world.session.vm("y").id == v.id


def test_ids_are_found_at_once_though_a_busy_sp_remembers_all_of_them(ffabric):
    """An SP that never takes its messages holds up ids, not the one who looks for them."""
    system = ffabric.boot(sps=[sp("deaf", vm_availability_messages=3)], vms=["w"], pes=2)
    hypervisor, deaf = system.system.hypervisor, system.sp("deaf")
    deaf.endpoint.take()
    looks = 0
    messages = hypervisor.retried.messages

    class Looked(dict):
        def values(self):
            nonlocal looks
            looks += 1
            return super().values()

    hypervisor.retried.messages = Looked(messages)
    for name in range(30):
        system.system.create_vm(vm(f"n{name}", mem_size=0x4000), pe=1)
        system.system.destroy_vm(f"n{name}", pe=1)
    system.run()
    known = {deaf.id: 1 + 2 * 30}
    assert {each: len(queue) for each, queue in hypervisor.retried.messages.items()} == known
    assert looks <= 30
    looks = 0
    hypervisor.vm_ids.begin_again()
    system.create_vm(vm("x"))
    assert system.vm("x").id == 32
    assert looks == 1


def test_there_is_no_such_vm(world):
    for name in ("vv", "u"):
        with pytest.raises(LookupError, match="there is no VM"):
            world.system.destroy_vm(name)
    with pytest.raises(ValueError, match="already"):
        world.system.create_vm(vm("w"))


class Counts(Partition):
    def __init__(self):
        super().__init__("counts")
        self.begun = 0

    async def main(self, ffa):
        self.begun += 1


def test_a_vm_that_is_described_before_the_hypervisor_boots_begins_once(ffabric):
    session = ffabric.boot(sps=["s"], start=False)
    counts = Counts()
    session.system.create_vm(vm(counts))
    session.system.run()
    assert counts.begun == 1


def test_without_a_hypervisor(ffabric):
    system = ffabric.boot(vms=["kernel"], hypervisor=False)
    with pytest.raises(LookupError, match="without a hypervisor"):
        system.system.destroy_vm("kernel")


def test_what_cannot_be_is_said_at_once(world):
    with pytest.raises(SystemErrors):
        world.system.create_vm(sp("x"))
    with pytest.raises(SystemErrors):
        world.system.create_vm(vm("x", el=2))
    with pytest.raises(SystemErrors, match="its addresses end at"):
        world.system.create_vm(vm("x", mem_size=1 << 48))
    with pytest.raises(NoFrames):
        world.system.create_vm(vm("x", mem_size=1 << 36))
    assert world.resources() == world.before


def all_pages(pool):
    """Take every page there is."""
    while True:
        try:
            yield pool.alloc()
        except NoPages:
            return


def test_no_tables_are_left_for_a_vm(world):
    pool = world.hypervisor.pool
    taken = list(all_pages(pool))
    for pa in taken[:2]:
        pool.free(pa)
    free = pool.in_use
    with pytest.raises(NoPages):
        world.system.create_vm(vm("x"))
    assert pool.in_use == free
    for pa in taken[2:]:
        pool.free(pa)
    assert world.resources() == world.before


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (0x4000_0000, Return.SUCCESS),
        (0x4000_0002, Return.INVALID_ADDRESS),
        (0x8000_0000, Return.INVALID_ADDRESS),  # memory, but none of the VM's
        (0x1C0B_0000, Return.INVALID_ADDRESS),  # a device
        (1 << 60, Return.INVALID_ADDRESS),
    ],
)
def test_a_vcpu_begins_where_the_vm_can_execute(ffabric, entry, status):
    uart = DeviceRegion(name="uart", base_address=0x1C0B_0000, pages=1, attributes=3)
    system = ffabric.boot(vms=[vm("v", vcpus=2, device_regions=(uart,))], pes=2)
    mpidr = system.system.machine.pes[1].mpidr
    answer = system.vm("v").ffa.call(psci.CPU_ON_64, mpidr, entry, 0)
    assert answer[0] == status.register64


@pytest.mark.parametrize("receives", [True, False])
def test_who_gets_the_id_of_a_dead_vm_notifies_nobody(ffabric, receives):
    class Bound(Partition):
        async def on_boot(self, ffa):
            await ffa.notification_bind(1, 1)

    session = ffabric.boot(
        sps=[sp(Bound(), notification_support=True)],
        vms=[vm("v", notification_support=receives)],
    )
    assert session.vm("v").id == 1
    session.vm("v").ffa.notification_set("bound", 1)
    session.destroy_vm("v")
    session.run()
    session.system.firmware.hypervisor.vm_ids.begin_again()
    again = session.create_vm(vm("again"))
    assert again.id == 1
    with session.refuses("notification.set.not_bound"):
        again.ffa.notification_set("bound", 1)


class Choosy(Partition):
    """An SP with room for one VM at a time."""

    manifest = {"vm_availability_messages": 3}  # noqa: RUF012
    client = None

    async def on_direct_request(self, request, ffa):
        return request.respond(*request.payload)

    async def on_vm_created(self, vm, ffa):
        if self.client is not None:
            return Status.DENIED
        self.client = vm
        return None

    async def on_vm_destroyed(self, vm, ffa):
        if self.client == vm:
            self.client = None


def test_a_vm_that_an_sp_has_declined_sends_no_requests_to_it(ffabric):
    session = ffabric.boot(sps=[Choosy("choosy"), "other"], vms=["first", "second"])
    system = session.system
    assert session.vm("first").ffa.direct_request("choosy", 1).payload[0] == 1
    with ffabric.refuses("direct.req.declined"):
        session.vm("second").ffa.direct_request("choosy", 1)
    system.destroy_vm("second")
    system.destroy_vm("first")
    system.create_vm(vm("third"))
    session.run()
    assert not system.firmware.hypervisor.declined
    assert session.vm("third").ffa.direct_request("choosy", 2).payload[0] == 2


def test_a_vm_is_declined_for_its_life_only(ffabric):
    """Its endpoint id is another one's later."""
    session = ffabric.boot(sps=[Choosy("choosy")], vms=["first", "second"])
    system = session.system
    number = session.vm("second").id
    system.destroy_vm("second")
    session.run()
    assert ((0x8001, number) in system.firmware.hypervisor.declined) is False
