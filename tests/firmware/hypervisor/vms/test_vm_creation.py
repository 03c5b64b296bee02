"""VMs are created while the system runs, one after the other, and have IDs."""

import pytest
from vm_sides import World

from ffabric.abi import psci
from ffabric.abi.ffa.framework import VM_CREATED, VM_DESTROYED
from ffabric.abi.ffa.status import Status
from ffabric.abi.psci import Return
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.spmc_link.retried import RECLAIMS
from ffabric.firmware.hypervisor.vms.frames import NoFrames
from ffabric.firmware.hypervisor.vms.ids import NoIds
from ffabric.guests.images import load
from ffabric.guests.partition import Partition
from ffabric.machine.translation.pages import NoPages
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion
from ffabric.system.options.problems import SystemErrors

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
