"""What refusals of memory calls say that they have compared: what came, and what was due."""

import pytest
from memory_sides import NORMAL, NX, RO, RW, World, X

from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError

DEVICE = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
WRITE_THROUGH = NORMAL & ~mem.MEM_ATTR_SHAREABILITY_MASK
A, B, C = 0x8001, 0x8002, 0x8003


@pytest.fixture
def world(ffabric):
    return World(ffabric, "sp-sp")


def compared(world, call):
    """The rule that refuses ``call``, and what it has compared."""
    heard = []
    world.session.system.heard = lambda _pe, refusal: heard.append(refusal)
    with pytest.raises(FfaError):
        call()
    (refusal,) = heard
    return refusal.rule.id, refusal.got, refusal.expected


def receiver(permissions=RW, endpoint=B, **fields):
    return [abi.Receiver(endpoint, permissions, **fields)]


@pytest.mark.parametrize(
    ("rule", "fields", "got", "expected"),
    [
        ("sender", {"sender": B}, B, A),
        ("no_receiver", {"receivers": []}, 0, "1 or more"),
        ("handle_mbz", {"handle": 7}, 7, 0),
        ("flags", {"flags": 1 << 5}, 1 << 5, mem.FLAG_CLEAR),
        ("to_self", {"receivers": receiver(endpoint=A)}, A, "another endpoint"),
        ("receiver_world", {"receivers": receiver(endpoint=1)}, 1, "an SP"),
        ("receiver_unknown", {"receivers": receiver(endpoint=0x8777)}, 0x8777, "a known endpoint"),
        ("permission_reserved", {"receivers": receiver(0b11)}, 0b11, "no reserved value"),
        ("instruction_access", {"receivers": receiver(RW | X)}, RW | X, "not specified"),
        ("data_access_unspecified", {"receivers": receiver(0)}, 0, "RO or RW"),
        ("ns_bit", {"attributes": NORMAL | mem.MEM_ATTR_NS}, NORMAL | mem.MEM_ATTR_NS, NORMAL),
        ("page_count", {"total_pages": 3}, 3, 2),
    ],
)
def test_of_a_share(world, rule, fields, got, expected):
    to = receiver()
    transaction = world.a.describe("share", [world.b], [(world.a.pages(2), 2)])
    for name, value in {"receivers": to, **fields}.items():
        setattr(transaction, name, value)
    refused = compared(world, lambda: world.a.send("share", transaction))
    assert refused == (f"mem.share.{rule}", got, expected)


def test_of_a_shares_registers(world):
    transaction = world.a.describe("share", [world.b], [(world.a.pages(), 1)])
    size = len(abi.build_transaction(transaction, world.a.version))

    def refused(**registers):
        return compared(world, lambda: world.a.send("share", transaction, **registers))

    sizes = f"16-byte multiples up to {PAGE:#x}"
    assert refused(length=24) == ("mem.share.length", (24, size), sizes)
    assert refused(total=size + 16) == ("mem.share.total_length", size + 16, size)
    assert refused(x3=0x4000, x4=1) == ("mem.share.dynamic_buffer", (0x4000, 1), (0, 0))


def ranges(*parts):
    return lambda at: [(at + offset, pages) for offset, pages in parts]


@pytest.mark.parametrize(
    ("rule", "parts", "got", "expected"),
    [
        (
            "unaligned_base",
            ranges((0, 1), (PAGE + 8, 1)),
            lambda at: at + PAGE + 8,
            "a multiple of 0x1000",
        ),
        ("empty_range", ranges((0, 1), (PAGE, 0)), lambda at: 0, "1 or more"),
        (
            "overlapping_constituents",
            ranges((2 * PAGE, 1), (0, 3)),
            lambda at: at + 2 * PAGE,
            lambda at: f"{at + 3 * PAGE:#x} or above",
        ),
    ],
)
def test_of_a_shares_ranges(world, rule, parts, got, expected):
    at = world.a.pages(4)
    refused = compared(world, lambda: world.a.give("share", [world.b], parts(at)))
    due = expected(at) if callable(expected) else expected
    assert refused == (f"mem.share.{rule}", got(at), due)


@pytest.mark.parametrize(
    ("kind", "rule", "fields", "told"),
    [
        ("share", "type", {"flags": mem.FLAG_TYPE_LEND}, (mem.FLAG_TYPE_LEND, mem.FLAG_TYPE_SHARE)),
        ("share", "tag", {"tag": 5}, (5, 0)),
        ("share", "alignment_hint", {"flags": 1 << 9}, (1 << 9, 0)),
        ("share", "share_clear", {"flags": mem.FLAG_CLEAR}, (mem.FLAG_CLEAR, 0)),
        ("lend", "clear", {"flags": mem.FLAG_CLEAR}, (mem.FLAG_CLEAR, 0)),
        ("share", "attributes", {"attributes": WRITE_THROUGH}, (WRITE_THROUGH, (NORMAL, DEVICE))),
        ("share", "receivers", {"receivers": receiver() + receiver(endpoint=C)}, (2, 1)),
        ("share", "receivers", {"receivers": receiver(endpoint=C)}, ([C], B)),
        ("share", "instruction_access", {"rights": RW | NX}, (NX, 0)),
        ("lend", "instruction_access_missing", {"rights": RW}, (0, "X or NX")),
        ("share", "permission_reserved", {"rights": 0b11}, (0b11, "no reserved value")),
        ("share", "sender", {"sender": C}, (C, A)),
    ],
)
def test_of_a_retrieval(world, kind, rule, fields, told):
    handle = world.a.give(kind, [world.b], [(world.a.pages(), 1)])
    fields = {"rights": RW if kind == "share" else RW | NX, **fields}
    wanted = world.b.request(handle, fields.pop("sender", world.a), **fields)
    refused = compared(world, lambda: world.b.take(wanted))
    assert refused == (f"mem.retrieve.{rule}", *told)


def test_of_a_retrieval_that_gives_ranges(world):
    handle = world.a.give("share", [world.b], [(world.a.pages(), 1)])
    wanted = world.b.request(handle, world.a, constituents=[(PAGE, 1)])
    at = abi.parse_transaction(abi.build_transaction(wanted, world.b.version), world.b.version)
    refused = compared(world, lambda: world.b.take(wanted))
    assert refused == ("mem.retrieve.address_ranges", at.receivers[0].composite_offset, 0)


def test_of_a_retrieval_of_more_than_was_offered(world):
    handle = world.a.give("share", [world.b], [(world.a.pages(), 1)], rights=RO)
    refused = compared(world, lambda: world.b.retrieve(handle, world.a))
    assert refused == ("mem.retrieve.data_access", mem.PERM_DATA_RW, mem.PERM_DATA_RO)


def test_of_a_second_retrieval(world):
    handle = world.a.give("share", [world.b], [(world.a.pages(), 1)])
    world.b.retrieve(handle, world.a)
    refused = compared(world, lambda: world.b.retrieve(handle, world.a))
    assert refused == ("mem.retrieve.again", handle, "not retrieved yet")


def test_of_a_retrieval_by_nobody_it_was_offered_to(world):
    handle = world.a.give("share", [world.b], [(world.a.pages(), 1)])
    refused = compared(world, lambda: world.c.retrieve(handle, world.a))
    assert refused == ("mem.retrieve.borrower", C, [B])
