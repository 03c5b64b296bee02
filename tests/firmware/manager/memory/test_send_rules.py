"""Every rule of FFA_MEM_DONATE, LEND and SHARE: a descriptor that breaks it, and its neighbour."""

import pytest
from memory_sides import KINDS, NORMAL, NX, RO, RW, WORLDS, Side, World, X, exhaust, handle_in

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.state.region import MAX_PENDING, MAX_RANGES, MAX_REGIONS
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    ExceptionLevel,
    MemoryRegion,
    RegionAttributes,
)

DEVICE = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
NON_CACHEABLE = mem.MEM_ATTR_TYPE_NORMAL | mem.MEM_ATTR_NON_CACHEABLE | mem.MEM_ATTR_INNER_SHAREABLE
TYPES = {
    "share": mem.FLAG_TYPE_SHARE,
    "lend": mem.FLAG_TYPE_LEND,
    "donate": mem.FLAG_TYPE_DONATE,
}


class Case:
    """How a descriptor for page ``at`` breaks a rule, and how its neighbour does not.

    ``broken`` and ``fine`` overrule arguments of Side.describe or Side.send; a value that is a
    function is called with the world, the kind and the address.
    """

    def __init__(self, broken, fine=None, *, kinds=tuple(KINDS), worlds=None):
        self.broken, self.fine = broken, fine or {}
        self.kinds, self.worlds = kinds, worlds


SENT = ("total", "length", "x3", "x4", "patch")


def make(world, kind, at, fields):
    """Send a page with ``fields`` overruled."""
    fields = {k: v(world, kind, at) if callable(v) else v for k, v in fields.items()}
    sent = {name: fields.pop(name) for name in SENT if name in fields}
    to = fields.pop("to", [world.b])
    ranges = fields.pop("ranges", [(at, 1)])
    if "patch" in sent:
        patch, sent["patch"] = sent["patch"], lambda data: patch_words(data, patch)
    return world.a.send(kind, world.a.describe(kind, to, ranges, **fields), **sent)


def patch_words(data, words):
    """Overwrite 32-bit words of a descriptor."""
    for offset, value in words.items():
        data[offset : offset + 4] = value.to_bytes(4, "little")


def receivers(rights, *more):
    """Two receivers, or one and ``more``."""

    def build(world, kind, at):
        default = 0 if kind == "donate" else RW
        return [abi.Receiver(world.b.id, rights), *(abi.Receiver(e, default) for e in more)]

    return build


def attributes(*, add=0, only=None):
    def build(world, kind, at):
        base = NORMAL if kind == "share" else 0
        return base | add if only is None else only

    return build


NOT_DONATE = ("share", "lend")
CASES = {
    "mem.{kind}.dynamic_buffer": [Case({"x3": 0x1000}), Case({"x4": 1})],
    "mem.{kind}.length": [
        Case({"length": 0}),
        Case({"length": 120}),
        Case({"total": 120, "length": 112}),
        Case({"total": 112, "length": 128}),
        Case({"total": 2 * PAGE, "length": PAGE + 16}),
    ],
    "mem.{kind}.total_length": [Case({"total": 128}), Case({"total": 2 * PAGE, "length": 112})],
    "mem.{kind}.sender": [Case({"sender": lambda w, k, at: w.b.id})],
    "mem.{kind}.no_receiver": [Case({"to": []})],
    "mem.{kind}.to_self": [Case({"to": lambda w, k, at: [w.a]})],
    "mem.{kind}.receiver_twice": [Case({"to": lambda w, k, at: [w.b, w.b]})],
    "mem.{kind}.receiver_unknown": [Case({"to": [0xFFFE]}), Case({"to": [0x8ABC]})],
    "mem.{kind}.receiver_world": [Case({"to": [1]}, worlds=["sp-sp"])],
    "mem.{kind}.composite_offset": [
        Case({"patch": {48 + 4: 0}, "total": 80}),
        Case({"to": lambda w, k, at: [w.b, w.c], "patch": {48 + 32 + 4: 0}}),
    ],
    "mem.{kind}.handle_mbz": [Case({"handle": 1}), Case({"handle": 1 << 63})],
    "mem.{kind}.flags": [
        Case({"flags": 1 << 5}),
        Case({"flags": 1 << 31}),
        Case({"flags": mem.FLAG_CLEAR_RELINQUISH}),
        Case(
            {"flags": lambda w, k, at: TYPES["lend" if k == "share" else "share"]},
            {"flags": lambda w, k, at: TYPES[k] | mem.FLAG_TIME_SLICE},
        ),
    ],
    "mem.{kind}.permission_reserved": [
        Case({"rights": 0b11}),
        Case({"rights": 0b1100}),
        Case({"rights": RW | 0x10}),
        Case({"rights": RW | 0x80}),
    ],
    "mem.{kind}.instruction_access": [Case({"rights": RW | NX}), Case({"rights": RW | X})],
    "mem.{kind}.data_access_unspecified": [Case({"rights": 0}, {"rights": RO}, kinds=NOT_DONATE)],
    "mem.{kind}.ns_bit": [
        Case(
            {"attributes": attributes(add=mem.MEM_ATTR_NS)}, {"attributes": attributes(add=0xFF80)}
        )
    ],
    "mem.{kind}.type_specified": [
        Case({"attributes": NORMAL}, kinds=("lend", "donate")),
        Case({"attributes": DEVICE}, kinds=("lend", "donate")),
        Case({"attributes": NON_CACHEABLE}, kinds=("lend", "donate")),
    ],
    "mem.{kind}.attributes": [
        Case({"attributes": NON_CACHEABLE}, kinds=("share",)),
        Case({"attributes": NORMAL & ~mem.MEM_ATTR_SHAREABILITY_MASK}, kinds=("share",)),
        Case(
            {"to": lambda w, k, at: [w.b, w.c], "attributes": NON_CACHEABLE},
            {"to": lambda w, k, at: [w.b, w.c], "attributes": NORMAL},
            kinds=("lend",),
        ),
        Case({"attributes": NORMAL | mem.MEM_ATTR_TYPE_DEVICE}, kinds=("share",)),
    ],
    "mem.{kind}.attributes_missing": [
        Case({"attributes": 0}, kinds=("share",)),
        Case(
            {"to": lambda w, k, at: [w.b, w.c], "attributes": 0},
            {"to": lambda w, k, at: [w.b, w.c], "attributes": NORMAL},
            kinds=("lend",),
        ),
    ],
    "mem.{kind}.unaligned_base": [
        Case({"ranges": lambda w, k, at: [(at + 1, 1)]}),
        Case(
            {"ranges": lambda w, k, at: [(at, 1), (at + PAGE + 0x800, 1)]},
            {"ranges": lambda w, k, at: [(at, 1), (at + PAGE, 1)]},
        ),
    ],
    "mem.{kind}.empty_range": [
        Case({"ranges": lambda w, k, at: [(at, 0)], "total_pages": 1}),
        Case({"ranges": lambda w, k, at: [(at, 1), (at + PAGE, 0)]}),
        Case({"has_composite": True, "ranges": [], "total_pages": 1}),
    ],
    "mem.{kind}.range_end": [
        Case({"ranges": [((1 << 40) - PAGE, 2)]}),
        Case({"ranges": [(1 << 40, 1)]}),
        Case({"ranges": [(1 << 63, 1)]}),
        Case({"ranges": [((1 << 64) - PAGE, 1)]}),
        Case({"ranges": [(PAGE, 0xFFFF_FFFF)]}),
    ],
    "mem.{kind}.overlapping_constituents": [
        Case(
            {"ranges": lambda w, k, at: [(at, 2), (at + PAGE, 1)]},
            {"ranges": lambda w, k, at: [(at, 1), (at + PAGE, 2)]},
        ),
        Case({"ranges": lambda w, k, at: [(at + PAGE, 1), (at, 2)]}),
        Case({"ranges": lambda w, k, at: [(at, 1), (at, 1)]}),
        Case({"ranges": lambda w, k, at: [(at, 4), (at + PAGE, 1)]}),
    ],
    "mem.{kind}.page_count": [
        Case({"total_pages": 2}),
        Case({"total_pages": 1, "ranges": lambda w, k, at: [(at, 1), (at + PAGE, 1)]}),
        Case({"total_pages": 0xFFFF_FFFF}),
    ],
    "mem.{kind}.not_owned": [
        Case({"ranges": [(0x1000, 1)]}),
        Case({"ranges": [((1 << 40) - PAGE, 1)]}),
        Case({"ranges": lambda w, k, at: [(w.a.ffa.tx, 1)]}),
        Case({"ranges": lambda w, k, at: [(w.a.ffa.rx, 1)]}),
        Case({"ranges": lambda w, k, at: [(at, 1), (w.a.ffa.rx, 1)]}),
    ],
}


def cases():
    """Each case for each kind of transaction in each world."""
    for name, group in CASES.items():
        for number, case in enumerate(group):
            for kind in case.kinds:
                for world in case.worlds or WORLDS:
                    rule = name.format(kind=kind)
                    yield pytest.param(world, rule, case, kind, id=f"{world}-{rule}-{number}")


@pytest.mark.parametrize(("world", "rule", "case", "kind"), [*cases()], indirect=["world"])
def test_a_broken_rule_refuses_and_its_neighbour_does_not(ffabric, world, rule, case, kind):
    at = world.a.pages(4)
    before = world.owner_table.translate(at)
    with ffabric.refuses(rule):
        make(world, kind, at, case.broken)
    assert world.owner_table.translate(at) == before
    handle = make(world, kind, at, case.fine)
    world.a.reclaim(handle)
    assert world.owner_table.translate(at) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_sender_has_buffers(ffabric, kind):
    # mem.share.no_buffer, mem.lend.no_buffer, mem.donate.no_buffer
    system = ffabric.boot(sps=["a", "b"], vms=["v"])
    for sender in (system.sp("a"), system.vm("v")):
        with ffabric.refuses(f"mem.{kind}.no_buffer"):
            sender.ffa.call(KINDS[kind], 112, 112)


def test_shared_memory_is_not_cleared(ffabric, world):
    at = world.a.pages()
    world.a.memory.write(at, b"kept")
    with ffabric.refuses("mem.share.clear_flag"):
        world.a.give("share", [world.b], [(at, 1)], flags=mem.FLAG_CLEAR)
    assert world.a.memory.read(at, 4) == b"kept"


@pytest.mark.parametrize("kind", ["lend", "donate"])
def test_lent_and_donated_memory_is_cleared_if_the_sender_asks(world, kind):
    at = world.a.pages(3)
    world.a.memory.write(at, b"x" * 3 * PAGE)
    handle = world.a.give(kind, [world.b], [(at, 1), (at + 2 * PAGE, 1)], flags=mem.FLAG_CLEAR)
    world.a.reclaim(handle)
    assert world.a.memory.read(at, 3 * PAGE) == bytes(PAGE) + b"x" * PAGE + bytes(PAGE)


@pytest.mark.parametrize("rights", [RO, RW])
def test_who_donates_says_nothing_of_access(ffabric, world, rights):
    at = world.a.pages()
    with ffabric.refuses("mem.donate.data_access"):
        world.a.give("donate", [world.b], [(at, 1)], rights=rights)


@pytest.mark.parametrize("kind", KINDS)
def test_data_access_is_judged_where_instruction_access_is_waived(ffabric, kind):
    world = World(ffabric, "sp-sp", waive=[f"mem.{kind}.instruction_access"])
    at = world.a.pages()
    rule, wrong, right = f"mem.{kind}.data_access_unspecified", NX, RW | NX
    if kind == "donate":
        rule, wrong, right = "mem.donate.data_access", RW | NX, NX
    with ffabric.refuses(rule):
        world.a.give(kind, [world.b], [(at, 1)], rights=wrong)
    world.a.give(kind, [world.b], [(at, 1)], rights=right)


def test_memory_is_donated_to_one(ffabric, world):
    at = world.a.pages()
    with ffabric.refuses("mem.donate.receivers"):
        world.a.give("donate", [world.b, world.c], [(at, 1)])


# What the owner's own memory is like

READ, WRITE, EXECUTE = RegionAttributes.READ, RegionAttributes.WRITE, RegionAttributes.EXECUTE


@pytest.fixture
def regions(ffabric):
    """An SP ``a`` that has, besides its RAM, a read-only page and then a writable one."""
    owner = sp(
        "a",
        memory_regions=(
            MemoryRegion(name="ro", pages=2, attributes=READ, base_address=0x0700_0000),
            MemoryRegion(name="rw", pages=2, attributes=READ | WRITE, base_address=0x0700_2000),
        ),
    )
    return World(ffabric, "sp-sp", sps=[owner, "b", "c"])


READ_ONLY, WRITABLE = 0x0700_0000, 0x0700_2000


@pytest.mark.parametrize("kind", KINDS)
def test_all_pages_of_a_transaction_are_alike(ffabric, regions, kind):
    rights = 0 if kind == "donate" else RO
    with ffabric.refuses(f"mem.{kind}.mixed_attributes"):
        regions.a.give(kind, [regions.b], [(READ_ONLY + PAGE, 2)], rights=rights)
    with ffabric.refuses(f"mem.{kind}.mixed_attributes"):
        regions.a.give(kind, [regions.b], [(WRITABLE, 1), (READ_ONLY, 1)], rights=rights)
    ram = regions.a.pages()  # executable, which the region is not
    with ffabric.refuses(f"mem.{kind}.mixed_attributes"):
        regions.a.give(kind, [regions.b], [(WRITABLE, 1), (ram, 1)], rights=rights)
    regions.a.give(kind, [regions.b], [(READ_ONLY, 2)], rights=rights)


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_nobody_gives_more_than_it_has(ffabric, regions, kind):
    with ffabric.refuses(f"mem.{kind}.permission"):
        regions.a.give(kind, [regions.b], [(READ_ONLY, 1)], rights=RW)
    regions.a.give(kind, [regions.b], [(READ_ONLY, 1)], rights=RO)


@pytest.mark.parametrize("kind", ["lend", "donate"])
def test_read_only_memory_is_not_cleared(ffabric, regions, kind):
    rights = RO if kind == "lend" else 0
    with ffabric.refuses(f"mem.{kind}.clear_read_only"):
        regions.a.give(kind, [regions.b], [(READ_ONLY, 1)], rights=rights, flags=mem.FLAG_CLEAR)
    regions.a.give(kind, [regions.b], [(READ_ONLY, 1)], rights=rights)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_that_one_cannot_read_is_not_given(ffabric, kind):
    # mem.donate.permission: an S-EL0 partition may take its own access away
    owner = sp("a", exception_level=ExceptionLevel.S_EL0)
    system = ffabric.boot(sps=[owner, "b"], initialising=["a"])
    a = Side(system.sp("a"))
    at = a.pages()
    a.ffa.mem_perm_set(at, 1, mem.MEM_PERM_NO_ACCESS | mem.MEM_PERM_XN)
    rights = 0 if kind == "donate" else RO
    with ffabric.refuses(f"mem.{kind}.permission"):
        a.give(kind, [system.sp("b")], [(at, 1)], rights=rights)
    a.ffa.mem_perm_set(at, 1, mem.MEM_PERM_RO | mem.MEM_PERM_XN)
    a.give(kind, [system.sp("b")], [(at, 1)], rights=rights)


UART = 0x1C0B_0000


@pytest.fixture
def device(ffabric):
    """An SP ``a`` that has a device."""
    uart = DeviceRegion(name="uart", base_address=UART, pages=1, attributes=READ | WRITE)
    return World(ffabric, "sp-sp", sps=[sp("a", device_regions=(uart,)), "b", "c"])


def test_a_device_is_lent_to_one(ffabric, device):
    a, b, c = device.a, device.b, device.c
    with ffabric.refuses("mem.share.device"):
        a.give("share", [b], [(UART, 1)], attributes=DEVICE)
    with ffabric.refuses("mem.donate.device"):
        a.give("donate", [b], [(UART, 1)])
    with ffabric.refuses("mem.lend.device"):
        a.give("lend", [b, c], [(UART, 1)], attributes=DEVICE)
    with ffabric.refuses("mem.lend.device"):
        a.give("lend", [b], [(UART, 1)], flags=mem.FLAG_CLEAR)
    a.reclaim(a.give("lend", [b], [(UART, 1)]))


# How much may be under way


def test_a_sender_has_so_many_transactions(ffabric, world):
    a, b = world.a, world.b
    at = a.pages(MAX_REGIONS)
    handles = [a.give("lend", [b], [(at + n * PAGE, 1)]) for n in range(MAX_REGIONS)]
    assert len(set(handles)) == MAX_REGIONS
    with ffabric.refuses("mem.too_many_regions"):
        a.give("lend", [b], [(a.pages(), 1)])
    a.reclaim(handles[7])
    a.give("lend", [b], [(at + 7 * PAGE, 1)])


def test_a_sender_has_so_many_transactions_in_pieces(ffabric, world):
    a, b = world.a, world.b
    at = a.pages()
    data = abi.build_transaction(a.describe("share", [b], [(at, 1)] * 2), a.version)

    def begin():
        a.put(data)
        return handle_in(a.call(KINDS["share"], len(data), 112), 1)

    most = MAX_PENDING // 2 if world.kind == "vm-sp" else MAX_PENDING  # half of what VMs may have
    handles = [begin() for _ in range(most)]
    with ffabric.refuses("mem.too_many_fragmented"):
        begin()
    a.reclaim(a.give("share", [b], [(at, 1)]))
    with ffabric.refuses("mem.frag.length"):  # no length: it is given up
        a.call(fid.FFA_MEM_FRAG_TX, handles[3] & MASK32, handles[3] >> 32, 0, w4_of(world))
    begin()


def w4_of(world):
    """The sender's id, where the physical instance wants it."""
    return world.a.id << 16 if world.kind == "kernel-sp" else 0


def test_pieces_in_the_names_of_many_vms_count_for_their_caller(ffabric):
    world = World(ffabric, "kernel-sp", vms=[vm("a", el=2)])
    a, b = world.a, world.b
    data = abi.build_transaction(a.describe("share", [b], [(0, 1)] * 2), a.version)

    def begin(sender):
        a.put(sender.to_bytes(2, "little") + data[2:])
        a.call(KINDS["share"], len(data), 112)

    for sender in range(1, MAX_PENDING + 1):
        begin(sender)
    with ffabric.refuses("mem.too_many_fragmented"):
        begin(MAX_PENDING + 1)


def test_a_sender_has_so_many_address_ranges(ffabric, world):
    a, b = world.a, world.b
    total = 48 + 32 + 16 + 16 * MAX_RANGES

    def begin(total):
        a.put(abi.build_transaction(a.describe("share", [b], [(0, 1)], range_count=1), a.version))
        a.memory.write(a.ffa.tx + 84, ((total - 96) // 16).to_bytes(4, "little"))
        a.call(KINDS["share"], total, 112)

    with ffabric.refuses("mem.too_many_fragmented"):
        begin(total + 16)
    begin(total)
    with ffabric.refuses("mem.too_many_fragmented"):
        begin(112 + 16)
    with ffabric.refuses("mem.too_many_regions"):
        a.give("share", [b], [(a.pages(), 1)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "value"),
    [(28, 0xFFFF_FFFF), (28, 2), (24, 31), (32, 0xFFFF_FFF0), (32, 49), (32, 0),
     (52, 0xFFFF_FFF0), (52, 81), (52, 72), (52, 112), (52, 0x1_0000), (84, 0xFFFF_FFFF)],
)  # fmt: skip
def test_a_descriptor_that_lies_about_its_shape(ffabric, world, kind, offset, value):
    at = world.a.pages()
    rule = f"mem.{kind}.total_length" if offset == 84 else "abi.malformed_descriptor"
    with ffabric.refuses(rule):
        make(world, kind, at, {"patch": {offset: value}})
    world.a.reclaim(make(world, kind, at, {}))


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_is_left_for_tables(ffabric, world, kind):
    a = world.a
    pool = world.manager.pool
    at = a.handle.ram.base + a.handle.ram.size - 2 * PAGE  # in a block that is still one
    before = world.owner_table.runs(at, 2)
    taken = exhaust(pool)
    with ffabric.refuses("abi.no_memory_for_tables"):
        a.give(kind, [world.b], [(at, 1)])
    assert world.owner_table.runs(at, 2) == before
    for pa in taken:
        pool.free(pa)
    a.reclaim(a.give(kind, [world.b], [(at, 1)]))
    assert world.owner_table.runs(at, 2) == before


class Vm:
    """A VM that its hypervisor speaks of: the SPMC knows no more of it."""

    def __init__(self, number):
        self.id = number


@pytest.mark.parametrize("kind", KINDS)
def test_the_spmc_relays_no_memory_of_vms_among_themselves(ffabric, kind):
    world = World(ffabric, "kernel-sp", vms=[vm("a", el=2)])
    a, b = world.a, world.b
    at = a.pages()
    for receivers_ in [[Vm(3)]] if kind == "donate" else [[Vm(3)], [Vm(3), Vm(4)]]:
        with ffabric.refuses(f"mem.{kind}.to_vms_only"):
            a.give(kind, receivers_, [(at, 1)])
    a.give(kind, [b] if kind == "donate" else [Vm(3), b], [(at, 1)])
