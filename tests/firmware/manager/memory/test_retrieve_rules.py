"""Every rule of FFA_MEM_RETRIEVE_REQ: a request that breaks it, and its neighbour."""

import pytest
from memory_sides import NORMAL, NX, RO, RW, WORLDS, World, X, exhaust

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.version import V1_1
from ffabric.abi.words import PAGE
from ffabric.machine.translation.descriptors import (
    MEMATTR_DEVICE_NGNRNE,
    MEMATTR_MASK,
    MEMATTR_NORMAL_WB,
    S2AP_W,
    XN,
)
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    ExceptionLevel,
    MemoryRegion,
    RegionAttributes,
)

DEVICE = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
SHARE, LEND, DONATE = ("share",), ("lend",), ("donate",)
ALL = ("share", "lend", "donate")
SENT = ("total", "length", "x3", "x4", "patch")
SECURE_BORROWER = ("vm-sp", "kernel-sp")


class Case:
    """What is given, and a request for it that breaks a rule, with its neighbour."""

    def __init__(self, broken, fine=None, *, kinds=ALL, worlds=tuple(WORLDS), to="b", **given):
        self.broken, self.fine = broken, fine or {}
        self.kinds, self.worlds, self.to, self.given = kinds, worlds, to, given


def usual_rights(kind, to):
    """The permissions that a request for memory of the kind asks for."""
    return RW if kind == "share" or (kind == "lend" and len(to) > 1) else RW | NX


def take(world, kind, to, handle, fields):
    """Retrieve with ``fields`` overruled."""
    fields = {k: v(world, handle) if callable(v) else v for k, v in fields.items()}
    sent = {name: fields.pop(name) for name in SENT if name in fields}
    if "patch" in sent:
        words, sent["patch"] = sent["patch"], lambda data: patch_words(data, words)
    fields.setdefault("rights", usual_rights(kind, to))
    fields.setdefault("others", [getattr(world, name) for name in to[1:]])
    overruled = {name: fields.pop(name) for name in ("handle", "sender") if name in fields}
    wanted = world.b.request(handle, world.a, **fields)
    for name, value in overruled.items():
        setattr(wanted, name, value)
    return world.b.take(wanted, **sent)


def patch_words(data, words):
    """Overwrite 32-bit words of a descriptor."""
    for offset, value in words.items():
        data[offset : offset + 4] = value.to_bytes(4, "little")


def asks(*receivers, rights=RW):
    """A list of receivers by name, or by id."""
    return lambda world, handle: [
        abi.Receiver(each if isinstance(each, int) else getattr(world, each).id, rights)
        for each in receivers
    ]


CASES = {
    "mem.retrieve.dynamic_buffer": [Case({"x3": PAGE}), Case({"x4": 1})],
    "mem.retrieve.length": [
        Case({"length": 0}),
        Case({"total": 72, "length": 72}),
        Case({"length": 96}),
        Case({"total": PAGE + 16, "length": PAGE + 16}),
    ],
    "mem.retrieve.total_length": [
        Case({"total": 96}),
        Case({"total": 96, "length": 80}),
    ],
    "mem.handle": [
        Case({"handle": lambda w, h: h + 1}),
        Case({"handle": lambda w, h: h ^ 1 << 63}),
        Case({"handle": lambda w, h: h | 1 << 32}),
        Case({"handle": abi.HANDLE_INVALID}),
    ],
    "mem.retrieve.sender": [
        Case({"sender": lambda w, h: w.c.id}),
        Case({"sender": lambda w, h: w.b.id}),
        Case({"sender": 0xFFFF}),
    ],
    "mem.retrieve.type": [
        Case({"flags": mem.FLAG_TYPE_LEND}, {"flags": mem.FLAG_TYPE_SHARE}, kinds=SHARE),
        Case({"flags": mem.FLAG_TYPE_DONATE}, {"flags": mem.FLAG_TYPE_LEND}, kinds=LEND),
        Case({"flags": mem.FLAG_TYPE_SHARE}, {"flags": mem.FLAG_TYPE_DONATE}, kinds=DONATE),
    ],
    "mem.retrieve.tag": [
        Case({"tag": 0x1234}, {"tag": 0x1235}, tag=0x1235),
        Case({"tag": 1 << 63}),
    ],
    "mem.retrieve.flags": [Case({"flags": 1 << 11}), Case({"flags": 1 << 31})],
    "mem.retrieve.alignment_hint": [Case({"flags": 1 << 5}), Case({"flags": 1 << 9})],
    "mem.retrieve.address_ranges": [
        Case({"constituents": [(0x1000, 1)]}),
        Case({"constituents": [(0x1000, 1), (0x3000, 1)]}),
        Case({"has_composite": True}),
    ],
    "mem.retrieve.share_clear": [
        Case({"flags": mem.FLAG_CLEAR}, kinds=SHARE),
        Case({"flags": mem.FLAG_CLEAR_RELINQUISH}, kinds=SHARE),
    ],
    "mem.retrieve.clear": [
        Case({"flags": mem.FLAG_CLEAR}, {"flags": mem.FLAG_TIME_SLICE}, kinds=("lend", "donate")),
    ],
    "mem.retrieve.clear_read_only": [
        Case(
            {"flags": mem.FLAG_CLEAR, "rights": RO | NX},
            {"flags": mem.FLAG_CLEAR},
            kinds=("lend", "donate"),
            flags=mem.FLAG_CLEAR,
        ),
        Case(
            {"flags": mem.FLAG_CLEAR_RELINQUISH, "rights": RO | NX},
            {"flags": mem.FLAG_CLEAR_RELINQUISH},
            kinds=LEND,
        ),
        Case(
            {"flags": mem.FLAG_CLEAR_RELINQUISH, "rights": NX},
            {"rights": NX},
            kinds=LEND,
            rights=RO,
        ),
    ],
    "mem.retrieve.ns_bit": [
        Case({"attributes": mem.MEM_ATTR_NS}, {"attributes": 0xFF80}),
        Case({"attributes": NORMAL | mem.MEM_ATTR_NS}, {"attributes": NORMAL}),
    ],
    "mem.retrieve.attributes": [
        Case(
            {"attributes": DEVICE & ~mem.MEM_ATTR_SHAREABILITY_MASK},
            {"attributes": DEVICE},
        ),
        Case({"attributes": DEVICE | mem.MEM_ATTR_DEVICE_NGNRE}, {"attributes": NORMAL}),
        Case({"attributes": NORMAL & ~mem.MEM_ATTR_CACHEABILITY_MASK | mem.MEM_ATTR_NON_CACHEABLE}),
        Case({"attributes": NORMAL & ~mem.MEM_ATTR_SHAREABILITY_MASK}),
        Case({"attributes": mem.MEM_ATTR_TYPE_MASK | 0xF}),
    ],
    "mem.retrieve.data_access": [
        Case({}, {"rights": RO}, kinds=SHARE, rights=RO),
        Case({}, {"rights": RO | NX}, kinds=LEND, rights=RO),
    ],
    "mem.retrieve.permission_reserved": [
        Case({"rights": 0b11 | NX}, {"rights": NX}, kinds=("lend", "donate")),
        Case({"rights": RW | 0b1100}, kinds=("lend", "donate")),
        Case({"rights": RW | 0b1100}),
    ],
    "mem.retrieve.instruction_access": [
        Case({"rights": RW | NX}, kinds=SHARE),
        Case({"rights": RW | X}, kinds=SHARE),
        Case({"rights": RW | NX}, kinds=("share", "lend"), to="bc"),
        Case({"rights": RW | X}, kinds=("share", "lend"), to="bc"),
    ],
    "mem.retrieve.instruction_access_missing": [
        Case({"rights": RW}, kinds=("lend", "donate")),
        Case({"rights": 0}, kinds=("lend", "donate")),
    ],
    "mem.retrieve.execute_non_secure": [
        Case({"rights": RW | X}, kinds=("lend", "donate"), worlds=SECURE_BORROWER)
    ],
    "mem.retrieve.receivers": [
        Case({"receivers": asks("b")}, kinds=("share", "lend"), to="bc"),
        Case({"receivers": asks("b", "b")}, kinds=("share", "lend"), to="bc"),
        Case({"receivers": asks("c", "c")}, kinds=("share", "lend"), to="bc"),
        Case({"receivers": asks("b", "c", "c")}, kinds=("share", "lend"), to="bc"),
        Case({"receivers": asks("b", "c")}, kinds=SHARE),
        Case({"receivers": asks("c")}, kinds=SHARE),
        Case(
            {"flags": mem.FLAG_BYPASS_BORROWERS_CHECK},
            {"flags": mem.FLAG_BYPASS_BORROWERS_CHECK, "receivers": asks("b")},
            kinds=("share", "lend"),
            to="bc",
        ),
        Case({"flags": mem.FLAG_BYPASS_BORROWERS_CHECK}),
        Case(
            {"flags": mem.FLAG_BYPASS_BORROWERS_CHECK, "receivers": asks("c")},
            kinds=("share", "lend"),
            to="bc",
        ),
    ],
    "mem.retrieve.other_borrower": [
        Case({"receivers": asks("b", 0x8777)}, kinds=("share", "lend"), to="bc"),
    ],
    "abi.malformed_descriptor": [
        Case({"patch": {28: 2}}),
        Case({"patch": {24: 48}}),
        Case({"patch": {32: 8}}),
        Case({"patch": {52: 64}}),
    ],
}  # fmt: skip


def cases():
    """Each case for each kind of transaction in each world."""
    for rule, group in CASES.items():
        for number, case in enumerate(group):
            for kind in case.kinds:
                for world in case.worlds:
                    yield pytest.param(
                        world, rule, case, kind, id=f"{world}-{kind}-{rule}-{number}"
                    )


@pytest.mark.parametrize(("world", "rule", "case", "kind"), [*cases()], indirect=["world"])
def test_a_broken_rule_refuses_and_its_neighbour_does_not(ffabric, world, rule, case, kind):
    a, b = world.a, world.b
    at = a.pages()
    a.memory.write(at, b"before")
    to = [getattr(world, name) for name in case.to]
    handle = a.give(kind, to, [(at, 1)], **case.given)
    with ffabric.refuses(rule):
        take(world, kind, case.to, handle, case.broken)
    got = take(world, kind, case.to, handle, case.fine)
    kept = b"" if case.given.get("flags") else b"before"
    assert b.memory.read(got.constituents[0][0], 6) == kept.ljust(6, b"\0")


def test_a_receiver_has_buffers(ffabric):
    system = ffabric.boot(sps=["a"], vms=["v"])
    for receiver in (system.sp("a"), system.vm("v")):
        with ffabric.refuses("mem.retrieve.no_buffer"):
            receiver.ffa.call(fid.FFA_MEM_RETRIEVE_REQ_64, 80, 80)


def test_rx_is_free(ffabric, world):
    a, b = world.a, world.b
    handles = [a.give("share", [b], [(a.pages(), 1)]) for _ in range(2)]
    b.take(b.request(handles[0], a), release=False)
    with ffabric.refuses("rx.busy"):
        b.retrieve(handles[1], a)
    b.ffa.rx_release()
    b.retrieve(handles[1], a)


def test_only_receivers_retrieve(ffabric, world):
    a, b, c = world.a, world.b, world.c
    handle = a.give("share", [b], [(a.pages(), 1)])
    with ffabric.refuses("mem.retrieve.borrower"):
        c.retrieve(handle, a)
    if world.kind != "kernel-sp":  # a kernel's buffers are the whole normal world's
        with ffabric.refuses("mem.retrieve.borrower"):
            a.retrieve(handle, a)
    b.retrieve(handle, a)


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_a_receiver_retrieves_once(ffabric, world, kind):
    a, b = world.a, world.b
    handle = a.give(kind, [b], [(a.pages(), 1)])
    rights = usual_rights(kind, "b")
    b.retrieve(handle, a, rights=rights)
    with ffabric.refuses("mem.retrieve.again"):
        b.retrieve(handle, a, rights=rights)
    b.relinquish(handle)
    b.retrieve(handle, a, rights=rights)


def test_a_donation_is_retrieved_once(ffabric, world):
    a, b = world.a, world.b
    handle = a.give("donate", [b], [(a.pages(), 1)])
    b.retrieve(handle, a, rights=RW | NX)
    with ffabric.refuses("mem.handle"):
        b.retrieve(handle, a, rights=RW | NX)


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_each_receiver_says_its_own_word(ffabric, world, kind):
    a, b, c = world.a, world.b, world.c
    words = {b.id: (11, 12), c.id: (21, 22)}
    at = a.pages()
    transaction = a.describe(kind, [b, c], [(at, 1)])
    for each in transaction.receivers:
        each.impdef = words[each.endpoint]
    handle = a.send(kind, transaction)

    def request(side, other):
        wanted = side.request(handle, a, others=[other])
        for each in wanted.receivers:
            each.impdef = words[each.endpoint]
        return wanted

    wrong = request(b, c)
    wrong.receivers[0].impdef = (11, 13)
    with ffabric.refuses("mem.retrieve.impdef"):
        b.take(wrong)
    wrong = request(b, c)
    wrong.receivers[1].impdef = (0, 0)
    with ffabric.refuses("mem.retrieve.impdef"):
        b.take(wrong)
    assert b.take(request(b, c)).receivers[0].impdef == (11, 12)
    assert c.take(request(c, b)).receivers[0].impdef == (21, 22)


def test_there_is_no_such_word_before_v1_2(ffabric):
    world = World(ffabric, "sp-sp", sps=["a", sp("b", ffa_version=V1_1, messaging_method=7), "c"])
    a, b = world.a, world.b
    transaction = a.describe("share", [b], [(a.pages(), 1)])
    transaction.receivers[0].impdef = (1, 2)
    got = b.retrieve(a.send("share", transaction), a)
    assert got.receivers[0].impdef == (0, 0)


def test_the_address_space_of_a_vm_may_be_full(ffabric, vms):
    a, b = vms.a, vms.b
    window = b.handle.endpoint.partition
    window.window = (window.window[0], 2)
    first = a.give("share", [b], [(a.pages(), 1)])
    b.retrieve(first, a)
    second = a.give("share", [b], [(a.pages(2), 2)])
    with ffabric.refuses("mem.retrieve.no_address"):
        b.retrieve(second, a)
    b.relinquish(first)
    b.retrieve(second, a)


def test_the_address_of_the_memory_may_be_taken_in_an_sp(ffabric, vm_sp):
    a, b = vm_sp.a, vm_sp.b
    at = a.pages()
    pa = a.handle.endpoint.partition.stage2.pa_of(at)
    stage2 = b.handle.endpoint.partition.stage2
    stage2.map(pa, pa, 1, stage2.runs(b.ffa.tx, 1)[0][3])
    handle = a.give("share", [b], [(at, 1)])
    with ffabric.refuses("mem.retrieve.no_address"):
        b.retrieve(handle, a)
    stage2.unmap(pa, 1)
    b.retrieve(handle, a)


# What one gets


@pytest.mark.parametrize("kind", ["lend", "donate"])
@pytest.mark.parametrize("rights", [RW | NX, RW | X, RO | NX, RO | X])
def test_one_gets_what_one_asks_for(ffabric, kind, rights):
    for name in ("sp-sp", "vm-vm"):
        world = World(ffabric, name)
        handle = world.a.give(kind, [world.b], [(world.a.pages(), 1)])
        got = world.b.retrieve(handle, world.a, rights=rights)
        assert got.receivers[0].permissions == rights
        descriptor = world.b.descriptor(got.constituents[0][0])
        assert bool(descriptor & S2AP_W) == bool(rights & RW)
        assert bool(descriptor & XN) == bool(rights & NX)


@pytest.mark.parametrize("offered", [RO, RW])
def test_who_asks_for_nothing_gets_what_it_was_offered(world, offered):
    handle = world.a.give("share", [world.b], [(world.a.pages(), 1)], rights=offered)
    got = world.b.retrieve(handle, world.a, rights=0)
    assert got.receivers[0].permissions == offered | NX
    assert world.b.reaches(got.constituents[0][0], write=True) == (offered == RW)


def test_a_response_says_what_the_memory_is(world):
    a, b = world.a, world.b
    for kind, flag in (
        ("share", mem.FLAG_TYPE_SHARE),
        ("lend", mem.FLAG_TYPE_LEND),
        ("donate", mem.FLAG_TYPE_DONATE),
    ):
        handle = a.give(kind, [b], [(a.pages(), 1)], tag=0xABCD)
        got = b.retrieve(handle, a, tag=0xABCD, rights=usual_rights(kind, "b"))
        non_secure = mem.MEM_ATTR_NS if world.kind in SECURE_BORROWER else 0
        assert got.attributes == NORMAL | non_secure
        assert (got.flags, got.handle, got.tag, got.sender) == (flag, handle, 0xABCD, a.id)
        assert (got.total_pages, got.range_count, len(got.receivers)) == (1, 1, 1)
        assert got.receivers[0].endpoint == b.id


@pytest.mark.parametrize(
    ("version", "asks", "told"),
    [("1.0", None, False), ("1.0", 0, False), ("1.0", 0b10, True), ("1.1", None, True)],
)
def test_an_sp_of_v1_0_is_told_of_non_secure_memory_if_it_asks(ffabric, version, asks, told):
    borrower = sp("b", ffa_version=version, messaging_method=3)
    world = World(ffabric, "vm-sp", sps=[borrower, "c"])
    a, b = world.a, world.b
    if asks is not None:
        answer = b.call(fid.FFA_FEATURES, fid.FFA_MEM_RETRIEVE_REQ_64, asks)
        assert answer[2] == asks
    handle = a.give("share", [b], [(a.pages(), 1)])
    assert bool(b.retrieve(handle, a).attributes & mem.MEM_ATTR_NS) == told


def test_the_clear_flag_is_told(world):
    a, b = world.a, world.b
    at = a.pages()
    a.memory.write(at, b"secret")
    handle = a.give("lend", [b], [(at, 1)], flags=mem.FLAG_CLEAR)
    got = b.retrieve(handle, a, rights=RW | NX)
    assert got.flags & mem.FLAG_CLEAR
    assert b.memory.read(got.constituents[0][0], 6) == bytes(6)


def test_read_only_memory_is_not_donated_as_writable(ffabric):
    # mem.retrieve.data_access: the owner itself could only read it
    region = MemoryRegion(
        name="ro", pages=1, attributes=RegionAttributes.READ, base_address=0x0700_0000
    )
    world = World(ffabric, "sp-sp", sps=[sp("a", memory_regions=(region,)), "b", "c"])
    handle = world.a.give("donate", [world.b], [(0x0700_0000, 1)])
    with ffabric.refuses("mem.retrieve.data_access"):
        world.b.retrieve(handle, world.a, rights=RW | NX)
    got = world.b.retrieve(handle, world.a, rights=NX)
    assert got.receivers[0].permissions == RO | NX
    assert not world.b.reaches(0x0700_0000, write=True)


@pytest.mark.parametrize("kind", ["share", "lend"])
@pytest.mark.parametrize("asked", [0, DEVICE])
def test_what_was_sent_as_a_device_is_one_for_its_borrowers(world, ffabric, kind, asked):
    a, b, c = world.a, world.b, world.c
    handle = a.give(kind, [b, c], [(a.pages(), 1)], attributes=DEVICE)
    with ffabric.refuses("mem.retrieve.attributes"):
        b.retrieve(handle, a, others=[c], attributes=NORMAL)
    got = b.retrieve(handle, a, others=[c], attributes=asked)
    assert got.attributes & ~mem.MEM_ATTR_NS == DEVICE
    ipa = got.constituents[0][0]
    assert b.descriptor(ipa) & MEMATTR_MASK == MEMATTR_DEVICE_NGNRNE
    assert b.reaches(ipa, write=True)
    b.relinquish(handle)
    a.reclaim(handle)
    if world.kind != "kernel-sp":
        assert a.descriptor(a.pages()) & MEMATTR_MASK == MEMATTR_NORMAL_WB


@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
def test_a_borrower_may_have_normal_memory_as_a_device(world, kind):
    a, b = world.a, world.b
    handle = a.give(kind, [b], [(a.pages(), 1)])
    got = b.retrieve(handle, a, rights=usual_rights(kind, "b"), attributes=DEVICE)
    kept = kind == "donate"
    assert got.attributes & ~mem.MEM_ATTR_NS == (NORMAL if kept else DEVICE)
    mapped = b.descriptor(got.constituents[0][0]) & MEMATTR_MASK
    assert mapped == (MEMATTR_NORMAL_WB if kept else MEMATTR_DEVICE_NGNRNE)


def test_two_borrowers_have_the_same_memory_as_each_asks(world):
    a, b, c = world.a, world.b, world.c
    handle = a.give("share", [b, c], [(a.pages(), 1)])
    for who, other, asked in ((b, c, DEVICE), (c, b, NORMAL)):
        got = who.retrieve(handle, a, others=[other], attributes=asked)
        assert got.attributes & ~mem.MEM_ATTR_NS == asked


def test_a_device_is_mapped_as_one(ffabric):
    uart = DeviceRegion(
        name="uart",
        base_address=0x1C0B_0000,
        pages=1,
        attributes=RegionAttributes.READ | RegionAttributes.WRITE,
    )
    world = World(ffabric, "sp-sp", sps=[sp("a", device_regions=(uart,)), "b", "c"])
    a, b = world.a, world.b
    handle = a.give("lend", [b], [(0x1C0B_0000, 1)])
    with ffabric.refuses("mem.retrieve.attributes"):
        b.retrieve(handle, a, rights=RW | NX, attributes=NORMAL)
    flags = mem.FLAG_CLEAR_RELINQUISH
    got = b.retrieve(handle, a, rights=RW | NX, attributes=DEVICE, flags=flags)
    assert got.attributes == DEVICE
    assert b.descriptor(0x1C0B_0000) & 0x3C == 0
    with ffabric.refuses("mem.relinquish.clear_device"):
        b.relinquish(handle, mem.FLAG_CLEAR)
    b.relinquish(handle)
    with ffabric.refuses("mem.reclaim.clear_device"):
        a.reclaim(handle, mem.FLAG_CLEAR)
    a.reclaim(handle)


@pytest.mark.parametrize("kind", ALL)
def test_no_page_is_left_for_tables(ffabric, kind):
    for name in ("vm-sp", "sp-sp", "vm-vm"):
        world = World(ffabric, name)
        a, b = world.a, world.b
        at = a.handle.ram.base + a.handle.ram.size - 2 * PAGE
        handle = a.give(kind, [b], [(at, 1)])
        firmware = world.session.system.firmware
        pool = (firmware.spmc if b.handle.endpoint.spec.secure else firmware.hypervisor).pool
        in_use = pool.in_use
        taken = exhaust(pool)
        with ffabric.refuses("abi.no_memory_for_tables"):
            b.retrieve(handle, a, rights=usual_rights(kind, "b"))
        for pa in taken:
            pool.free(pa)
        assert pool.in_use == in_use
        b.retrieve(handle, a, rights=usual_rights(kind, "b"))


@pytest.mark.parametrize("kind", ["lend", "donate"])
@pytest.mark.parametrize("level", [ExceptionLevel.S_EL1, ExceptionLevel.S_EL0])
def test_only_stage_1_of_a_partitions_own_may_keep_apart_what_is_written_and_executed(
    ffabric, kind, level
):
    sps = [sp("a", mem_size=8 << 20), sp("b", exception_level=level), "c"]
    world = World(ffabric, "sp-sp", sps=sps)
    a, b = world.a, world.b
    handle = a.give(kind, [b], [(a.pages(), 1)])
    if level is ExceptionLevel.S_EL0:
        with ffabric.refuses("mem.retrieve.write_execute"):
            b.retrieve(handle, a, rights=RW | X)
        b.retrieve(handle, a, rights=RO | X)
    else:
        b.retrieve(handle, a, rights=RW | X)


# What comes first when several rules are broken (as the compliance suite has it)


def test_the_length_comes_before_the_sender(ffabric, world):
    handle = world.a.give("lend", [world.b], [(world.a.pages(), 1)])
    wrong = world.b.request(handle, world.c, rights=RW)
    with ffabric.refuses("mem.retrieve.total_length"):
        world.b.take(wrong, total=96, length=96)
    with ffabric.refuses("mem.retrieve.sender"):
        world.b.take(wrong)


def test_flags_come_before_attributes_and_these_before_permissions(ffabric, world):
    handle = world.a.give("lend", [world.b], [(world.a.pages(), 1)])
    strange = {"attributes": NORMAL & ~mem.MEM_ATTR_SHAREABILITY_MASK, "rights": 0}
    with ffabric.refuses("mem.retrieve.type"):
        world.b.retrieve(handle, world.a, flags=mem.FLAG_TYPE_SHARE, **strange)
    with ffabric.refuses("mem.retrieve.alignment_hint"):
        world.b.retrieve(handle, world.a, flags=1 << 8, **strange)
    with ffabric.refuses("mem.retrieve.attributes"):
        world.b.retrieve(handle, world.a, **strange)
    with ffabric.refuses("mem.retrieve.instruction_access_missing"):
        world.b.retrieve(handle, world.a, rights=0)
