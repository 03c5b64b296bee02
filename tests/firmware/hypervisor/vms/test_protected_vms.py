"""A host VM donates memory to a VM that it starts, and cannot reach it before that one is gone."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.memory_words import PERM_DATA_RW
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.vms.donations import NotDonatable
from ffabric.guests.partition import Partition
from ffabric.lab.oracle.ledger import Ledger
from ffabric.machine.access import DataAbort
from ffabric.system.description.python import sp, vm
from ffabric.system.spec import MemoryBank

SIZE = 1 << 20


class Keeper(Partition):
    """An SP that keeps what it is sent until it is told to let go."""

    def __init__(self):
        super().__init__("keeper")
        self.held = {}

    async def on_direct_request(self, request, ffa):
        what, handle = request.payload[:2]
        if what == 1:
            self.held[handle] = await ffa.retrieve(handle, request.sender)
            return request.respond(ffa.vcpu.memory.read64(self.held[handle].ipa))
        await ffa.relinquish(self.held.pop(handle).handle)
        return request.respond()


class Rig:
    """A host, an SP, and a protected VM with the host's memory, under the oracle."""

    def __init__(self, ffabric, **options):
        self.session = ffabric.boot(sps=[Keeper()], vms=["host", "other"])
        self.system = self.session.system
        self.ledger = Ledger(self.system)
        self.system.attach(self.ledger)
        self.host = self.session.vm("host")
        self.ipa = self.host.ram.allocate(SIZE // PAGE)
        self.host.memory.write(self.ipa + 0x800, b"of the host")
        self.guest = self.session.create_vm(
            vm("guest", mem_size=SIZE), host="host", ipa=self.ipa, **options
        )
        self.session.run()
        self.ledger.check()

    def destroy(self):
        self.session.destroy_vm("guest")
        self.session.run()
        self.ledger.check()


@pytest.fixture
def rig(ffabric):
    return Rig(ffabric)


def test_the_host_cannot_reach_what_it_has_donated(rig):
    rig.guest.memory.write(rig.guest.ram.allocate(1), b"secret")
    for at in range(0, SIZE, PAGE):
        with pytest.raises(DataAbort):
            rig.host.memory.read(rig.ipa + at, 1)
        with pytest.raises(DataAbort):
            rig.host.memory.write(rig.ipa + at, b"x")


def frames_of(rig, name, ipa):
    """The physical pages that a VM has from ``ipa`` on, or has donated."""
    runs = rig.system.endpoint(name).partition.stage2.runs(ipa, SIZE // PAGE)
    return {pa + n * PAGE for _, pa, count, _ in runs for n in range(count)}


def test_the_guest_has_that_memory_and_no_other(rig):
    base = rig.system.endpoint("guest").spec.memory[0].ipa
    assert frames_of(rig, "guest", base) == frames_of(rig, "host", rig.ipa)


def test_it_is_the_hosts_again_when_the_guest_is_gone_and_says_nothing(rig):
    rig.guest.memory.write(rig.guest.ram.allocate(1), b"secret")
    rig.destroy()
    assert rig.host.memory.read(rig.ipa, SIZE) == bytes(SIZE)
    rig.host.memory.write(rig.ipa, b"mine")
    handle = rig.host.ffa.share("keeper", ipa=rig.ipa, pages=1)
    rig.host.ffa.reclaim(handle)
    rig.ledger.check()


def test_memory_from_physical_address_0_on_is_donated_as_any_other(ffabric):
    """As on boards whose DRAM begins there: it is an address, not the lack of one."""
    low = MemoryBank("low", 0, 8 << 20, secure=False)
    high = MemoryBank("high", 0x4000_0000, 64 << 20, secure=False)
    secure = MemoryBank("secure", 0x600_0000, 16 << 20, secure=True)
    host = vm("host", physical_address=0, mem_size=2 << 20)
    session = ffabric.boot(vms=[host], memory=[low, high, secure])
    base = session.system.endpoint("host").spec.memory[0].ipa
    session.create_vm(vm("guest", mem_size=SIZE), host="host", ipa=base)
    guest = session.system.endpoint("guest")
    assert guest.partition.stage2.runs(guest.spec.memory[0].ipa, 1)[0][1] == 0
    with pytest.raises(DataAbort):
        session.vm("host").memory.read(base, 1)
    session.destroy_vm("guest")
    assert session.vm("host").memory.read(base, SIZE) == bytes(SIZE)


def test_the_host_can_send_it_to_nobody(rig):
    for send in (rig.host.ffa.share, rig.host.ffa.lend, rig.host.ffa.donate):
        with rig.session.refuses(f"mem.{send.__name__}.not_owned"):
            send("keeper", ipa=rig.ipa, pages=1)
    with pytest.raises(NotDonatable, match="no access"):
        rig.session.create_vm(vm("third", mem_size=SIZE), host="host", ipa=rig.ipa)


def test_calls_of_host_and_guest_interleave(rig):
    host, guest = rig.host, rig.guest
    page, secret = host.ram.allocate(1), guest.ram.allocate(1)
    host.memory.write64(page, 1)
    guest.memory.write64(secret, 2)
    ours = host.ffa.share("keeper", ipa=page, pages=1)
    theirs = guest.ffa.share("keeper", ipa=secret, pages=1)
    assert guest.ffa.direct_request("keeper", 1, theirs).payload[0] == 2
    assert host.ffa.direct_request("keeper", 1, ours).payload[0] == 1
    guest.ffa.direct_request("keeper", 2, theirs)
    host.ffa.direct_request("keeper", 2, ours)
    guest.ffa.reclaim(theirs)
    host.ffa.reclaim(ours)
    rig.ledger.check()


def test_what_an_sp_still_has_comes_back_when_it_lets_go(rig):
    secret = rig.guest.ram.allocate(1)
    base = rig.system.endpoint("guest").spec.memory[0].ipa
    handle = rig.guest.ffa.share("keeper", ipa=secret, pages=1)
    rig.guest.ffa.direct_request("keeper", 1, handle)
    rig.destroy()
    away = rig.ipa + secret - base
    with pytest.raises(DataAbort):
        rig.host.memory.read(away, 1)
    assert rig.host.memory.read(away + PAGE, 8) == bytes(8)
    rig.host.ffa.direct_request("keeper", 2, handle)
    rig.session.run()
    assert rig.host.memory.read(away, PAGE) == bytes(PAGE)
    rig.ledger.check()


def test_memory_of_a_host_that_is_gone_is_free(rig):
    frames = rig.system.firmware.hypervisor.frames
    rig.session.destroy_vm("host")
    rig.session.run()
    free = frames.free_pages
    rig.destroy()
    assert frames.free_pages == free + SIZE // PAGE


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_what_the_host_has_sent_is_not_donated(ffabric, kind):
    session = ffabric.boot(sps=[Keeper()], vms=["host"])
    host = session.vm("host")
    ipa = host.ram.allocate(SIZE // PAGE)
    getattr(host.ffa, kind)("keeper", ipa=ipa + PAGE, pages=1)
    with pytest.raises(NotDonatable, match="SHARED" if kind == "share" else "LENT"):
        session.create_vm(vm("guest", mem_size=SIZE), host="host", ipa=ipa)
    host.memory.write(ipa, b"still mine")


def test_what_is_no_memory_of_the_hosts_is_not_donated(ffabric):
    session = ffabric.boot(sps=[sp("s")], vms=["host"])
    host = session.vm("host")
    tx, _ = host.ffa.map_buffers()
    for ipa, why in (
        (0x7000_0000, "not mapped"),
        (tx & -SIZE, "SHARED"),
        (0x4000_0001, "not a range"),
    ):
        with pytest.raises(NotDonatable, match=why):
            session.create_vm(vm("guest", mem_size=SIZE), host="host", ipa=ipa)
    for name in ("s", "nobody"):
        with pytest.raises(LookupError, match="there is no VM"):
            session.create_vm(vm("guest"), host=name)


def test_a_host_donates_pages_that_its_software_has_free(ffabric):
    session = ffabric.boot(vms=["host"])
    guest = session.create_vm(vm("guest", mem_size=SIZE), host="host")
    session.run()
    guest.memory.write(guest.ram.allocate(1), b"x")
    assert guest.ffa.id_get() == guest.id


def reaches(rig, name, ipa):
    """Whether a VM reads zeros at an address; None if it is no more."""
    endpoint = rig.system.endpoints.get(name)
    if endpoint is None:
        return None
    try:
        return endpoint.memory.read(ipa, PAGE) == bytes(PAGE)
    except DataAbort:
        return False


@pytest.mark.parametrize(
    ("ends", "then"),
    [
        (("inner",), (False, True)),
        (("inner", "guest"), (True, None)),
        (("guest",), (False, None)),
        (("guest", "inner"), (True, None)),
        (("inner", "host"), (None, True)),
        (("host", "inner"), (None, True)),
        (("host", "inner", "guest"), (None, None)),
        (("guest", "host", "inner"), (None, None)),
    ],
)
def test_what_a_guest_has_passed_on_comes_back_to_it_and_not_to_its_host(rig, ends, then):
    frames = rig.system.firmware.hypervisor.frames
    of_host_at_first = sum(each.size for each in rig.system.endpoint("host").spec.memory)
    everything = frames.free_pages + of_host_at_first // PAGE
    page = rig.guest.ram.allocate(16)
    inner = rig.session.create_vm(vm("inner", mem_size=16 * PAGE), host="guest", ipa=page)
    rig.session.run()
    inner.memory.write(inner.ram.allocate(1), b"secret")
    base = rig.system.endpoint("guest").spec.memory[0].ipa
    for name in ends:
        rig.session.destroy_vm(name)
        rig.session.run()
        rig.ledger.check()
    of_host = rig.ipa + page - base
    assert (reaches(rig, "host", of_host), reaches(rig, "guest", page)) == then
    for name in ("inner", "guest", "host"):
        if name in rig.system.endpoints:
            rig.session.destroy_vm(name)
            rig.session.run()
    rig.ledger.check()
    assert frames.free_pages == everything


def test_memory_that_was_passed_on_and_is_back_is_donated_again(rig):
    """Nothing is left of what was: the next guest's memory comes back to who has donated it."""
    page = rig.guest.ram.allocate(16)
    rig.session.create_vm(vm("inner", mem_size=16 * PAGE), host="guest", ipa=page)
    rig.session.run()
    for name in ("inner", "guest"):
        rig.session.destroy_vm(name)
        rig.session.run()
    for _ in range(2):
        rig.session.create_vm(vm("guest", mem_size=SIZE), host="host", ipa=rig.ipa)
        rig.session.run()
        assert reaches(rig, "host", rig.ipa) is False
        rig.destroy()
        assert all(reaches(rig, "host", rig.ipa + at) for at in range(0, SIZE, PAGE))


def test_a_host_that_is_about_to_end_starts_nobody(ffabric):
    class Slow(Partition):
        async def on_direct_request(self, request, ffa):
            await ffa.yield_()
            return request.respond()

    session = ffabric.boot(sps=[Slow("slow")], vms=["host", "other"])
    host = session.vm("host")
    ipa = host.ram.allocate(SIZE // PAGE)
    ids = host.id << 16 | session.sp("slow").id
    host.ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_32, ids)
    partition = host._inside.partition
    partition.alive = False
    with pytest.raises(NotDonatable, match="host is about to end"):
        session.create_vm(vm("guest", mem_size=SIZE), host="host", ipa=ipa)


def test_what_a_guest_shares_with_its_host_and_an_sp_ends_with_it_and_comes_back_wiped(rig):
    host, guest = rig.host, rig.guest
    page = guest.ram.allocate(1)
    guest.memory.write64(page, 7)
    handle = guest.ffa.share(["keeper", "host"], ipa=page, pages=1)
    borrowed = host.ffa.retrieve(handle, "guest", others=[("keeper", PERM_DATA_RW)]).ipa
    assert host.memory.read64(borrowed) == 7
    own = rig.ipa + page - rig.system.endpoint("guest").spec.memory[0].ipa
    assert reaches(rig, "host", own) is False
    rig.destroy()
    assert reaches(rig, "host", borrowed) is False
    assert reaches(rig, "host", own) is True
