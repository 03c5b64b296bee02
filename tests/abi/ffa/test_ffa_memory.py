"""Memory transactions and relinquish descriptors: golden bytes, round trips, refusals."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import memory as mem
from ffabric.abi.ffa import memory_words as words
from ffabric.abi.ffa.memory import Receiver, Relinquish, Transaction
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3, VERSIONS

FUZZ = settings(derandomize=True, deadline=None, max_examples=60, database=None)

HEADER_TAIL = "11000000 8877665544332211 0807060504030201"  # flags, handle, tag
RANGES = """
    03000000 02000000 0000000000000000
    0000004000000000 01000000 00000000
    0030004000000000 02000000 00000000
"""
GOLDEN = {
    V1_0: "0580 2f 00" + HEADER_TAIL + "00000000 02000000"
    "0380 02 00 40000000 0000000000000000"
    "0480 05 01 40000000 0000000000000000" + RANGES,
    V1_1: "0580 2f00" + HEADER_TAIL + "10000000 02000000 30000000 000000000000000000000000"
    "0380 02 00 50000000 0000000000000000"
    "0480 05 01 50000000 0000000000000000" + RANGES,
    V1_2: "0580 2f00" + HEADER_TAIL + "20000000 02000000 30000000 000000000000000000000000"
    "0380 02 00 70000000 a1a2000000000000 b1b2000000000000 0000000000000000"
    "0480 05 01 70000000 0000000000000000 0000000000000000 0000000000000000" + RANGES,
}
GOLDEN[V1_3] = GOLDEN[V1_2]


def sample(**changes):
    fields = {
        "sender": 0x8005,
        "attributes": words.MEM_ATTR_NORMAL_WB_INNER,
        "flags": 0x11,
        "handle": 0x1122_3344_5566_7788,
        "tag": 0x0102_0304_0506_0708,
        "receivers": [
            Receiver(0x8003, words.PERM_DATA_RW, impdef=(0xA2A1, 0xB2B1)),
            Receiver(0x8004, words.PERM_DATA_RO | words.PERM_INSTRUCTION_NX, 1),
        ],
        "constituents": [(0x4000_0000, 1), (0x4000_3000, 2)],
    }
    return Transaction(**{**fields, **changes})


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_bytes(version):
    golden = bytes.fromhex(GOLDEN[version])
    assert mem.build_transaction(sample(), version) == golden
    parsed = mem.parse_transaction(golden, version)
    assert (parsed.sender, parsed.attributes, parsed.flags) == (0x8005, 0x2F, 0x11)
    assert (parsed.handle, parsed.tag) == (0x1122_3344_5566_7788, 0x0102_0304_0506_0708)
    assert [(r.endpoint, r.permissions, r.flags) for r in parsed.receivers] == [
        (0x8003, 2, 0),
        (0x8004, 5, 1),
    ]
    assert (parsed.total_pages, parsed.range_count, parsed.has_composite) == (3, 2, True)
    assert parsed.constituents == [(0x4000_0000, 1), (0x4000_3000, 2)]
    assert parsed.header_length + 16 * parsed.range_count == len(golden)
    assert parsed.receivers[0].impdef == ((0xA2A1, 0xB2B1) if version >= V1_2 else (0, 0))


def transactions(version):
    def unsigned(bits):
        return st.integers(0, (1 << bits) - 1)

    impdef = st.tuples(unsigned(64), unsigned(64)) if version >= V1_2 else st.just((0, 0))
    receivers = st.builds(Receiver, unsigned(16), unsigned(8), unsigned(8), st.just(0), impdef)
    ranges = st.tuples(unsigned(64), unsigned(24))
    return st.builds(
        Transaction,
        sender=unsigned(16),
        attributes=unsigned(8 if version == V1_0 else 16),
        flags=unsigned(32),
        handle=unsigned(64),
        tag=unsigned(64),
        receivers=st.lists(receivers, min_size=1, max_size=4),
        constituents=st.lists(ranges, max_size=5),
        has_composite=st.booleans(),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_build_parse_build(version):
    @FUZZ
    @given(transactions(version))
    def check(transaction):
        built = mem.build_transaction(transaction, version)
        parsed = mem.parse_transaction(built, version)
        assert mem.build_transaction(parsed, version) == built
        assert parsed.constituents == transaction.constituents
        assert parsed.total_pages == sum(pages for _, pages in transaction.constituents)

    check()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_retrieve_request_without_ranges(version):
    request = sample(constituents=[])
    built = mem.build_transaction(request, version)
    parsed = mem.parse_transaction(built, version)
    assert not parsed.has_composite
    assert parsed.header_length == len(built)
    assert [r.composite_offset for r in parsed.receivers] == [0, 0]


@pytest.mark.parametrize(("version", "size"), [(V1_0, 32), (V1_1, 48), (V1_2, 48), (V1_3, 48)])
def test_a_hypervisors_retrieve_request_has_only_a_handle(version, size):
    built = mem.build_transaction(Transaction(0, handle=0x8000_0000_0000_0001), version)
    assert built == bytes(8) + bytes.fromhex("0100000000000080") + bytes(size - 16)
    parsed = mem.parse_transaction(built, version)
    assert (parsed.handle, parsed.receivers) == (0x8000_0000_0000_0001, [])


def test_a_v1_2_transaction_may_use_the_shorter_receivers_of_v1_1():
    data = bytes.fromhex(GOLDEN[V1_1])
    assert mem.parse_transaction(data, V1_2) == mem.parse_transaction(data, V1_1)


def test_a_first_fragment_holds_some_of_the_ranges():
    whole = bytes.fromhex(GOLDEN[V1_1])
    parsed = mem.parse_transaction(whole[:-16], V1_1)
    assert (parsed.range_count, parsed.constituents) == (2, [(0x4000_0000, 1)])
    assert mem.parse_constituents(whole[-16:]) == [(0x4000_3000, 2)]
    assert mem.parse_transaction(whole[:-32], V1_1).constituents == []


def test_bytes_after_the_last_range_are_not_ranges():
    parsed = mem.parse_transaction(bytes.fromhex(GOLDEN[V1_1]) + b"\xa5" * 40, V1_1)
    assert len(parsed.constituents) == 2


def test_declared_counts_are_kept():
    built = mem.build_transaction(sample(total_pages=9, range_count=7), V1_1)
    parsed = mem.parse_transaction(built, V1_1)
    assert (parsed.total_pages, parsed.range_count, len(parsed.constituents)) == (9, 7, 2)


@pytest.mark.parametrize("limit", [112, 119, 128, 4096])
def test_fragments_join_to_the_whole(limit):
    whole = mem.build_transaction(sample(constituents=[(0x1000 * n, 1) for n in range(20)]), V1_1)
    head = mem.parse_transaction(whole, V1_1).header_length
    parts = mem.fragments(whole, head, limit)
    assert b"".join(parts) == whole
    assert all(len(part) <= limit for part in parts)
    found = list(mem.parse_transaction(parts[0], V1_1).constituents)
    for part in parts[1:]:
        found += mem.parse_constituents(part)
    assert found == [(0x1000 * n, 1) for n in range(20)]


@pytest.mark.parametrize("limit", [0, 15, 95])
def test_a_fragment_too_small_for_the_header(limit):
    whole = bytes.fromhex(GOLDEN[V1_1])
    with pytest.raises(ValueError, match="does not hold the header"):
        mem.fragments(whole, mem.parse_transaction(whole, V1_1).header_length, limit)


# (version, byte offset, new 32-bit value, path, offset of the error)
BROKEN = [
    (V1_1, 24, 0, "receiver_size", 24),
    (V1_1, 24, 8, "receiver_size", 24),
    (V1_1, 24, 32, "receiver_size", 24),
    (V1_2, 24, 24, "receiver_size", 24),
    (V1_2, 24, 64, "receiver_size", 24),
    (V1_1, 32, 0, "receivers_offset", 32),
    (V1_1, 32, 32, "receivers_offset", 32),
    (V1_1, 32, 56, "receivers_offset", 32),
    (V1_1, 32, 0xFFFF_FFF0, "receiver_count", 28),
    (V1_1, 28, 7, "receiver_count", 28),
    (V1_1, 28, 0xFFFF_FFFF, "receiver_count", 28),
    (V1_0, 28, 7, "receiver_count", 28),
    (V1_1, 52, 0x60, "receivers[1].composite_offset", 68),
    (V1_1, 68, 0x58, "receivers[1].composite_offset", 68),
    (V1_0, 52, 0x50, "receivers[1].composite_offset", 52),
    (V1_2, 84, 0x78, "receivers[1].composite_offset", 84),
]


@pytest.mark.parametrize(("version", "at", "value", "path", "offset"), BROKEN)
def test_broken_structure(version, at, value, path, offset):
    data = bytearray.fromhex(GOLDEN[version])
    struct.pack_into("<I", data, at, value)
    with pytest.raises(DecodeError) as caught:
        mem.parse_transaction(bytes(data), version)
    assert caught.value.path == f"transaction.{path}"
    assert caught.value.offset == offset


@pytest.mark.parametrize("offset", [1, 8, 0x40, 0x4C, 0x51, 0x78, 0x80, 0xFFFF_FFF0, 0xFFFF_FFFF])
def test_a_composite_must_lie_aligned_behind_the_receivers_inside_the_data(offset):
    data = bytearray.fromhex(GOLDEN[V1_1])
    for at in (52, 68):
        struct.pack_into("<I", data, at, offset)
    with pytest.raises(DecodeError, match=r"receivers\[0\].composite_offset") as caught:
        mem.parse_transaction(bytes(data), V1_1)
    assert (caught.value.offset, caught.value.value) == (52, offset)


def test_the_receiver_that_names_the_composite_is_the_one_blamed():
    data = bytearray.fromhex(GOLDEN[V1_1])
    struct.pack_into("<I", data, 52, 0)
    struct.pack_into("<I", data, 68, 3)
    with pytest.raises(DecodeError) as caught:
        mem.parse_transaction(bytes(data), V1_1)
    assert (caught.value.path, caught.value.offset) == (
        "transaction.receivers[1].composite_offset",
        68,
    )


def test_a_receiver_may_leave_its_offset_zero():
    data = bytearray.fromhex(GOLDEN[V1_1])
    struct.pack_into("<I", data, 68, 0)
    assert mem.parse_transaction(bytes(data), V1_1).has_composite


@pytest.mark.parametrize("length", [0, 31, 47])
def test_a_header_cut_off(length):
    with pytest.raises(DecodeError, match="shorter than 48 bytes"):
        mem.parse_transaction(bytes(length), V1_1)


def test_a_range_cut_off():
    with pytest.raises(DecodeError, match="ends inside"):
        mem.parse_transaction(bytes.fromhex(GOLDEN[V1_1])[:-1], V1_1)
    with pytest.raises(DecodeError, match="multiple of 16"):
        mem.parse_constituents(bytes(17))


def test_offsets_near_2_to_32_do_not_wrap():
    data = bytearray.fromhex(GOLDEN[V1_1])
    struct.pack_into("<3I", data, 24, 16, 0x1000_0000, 48)
    with pytest.raises(DecodeError, match="receiver_count"):
        mem.parse_transaction(bytes(data), V1_1)


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": 0x10000},
        {"attributes": 0x1_0000},
        {"handle": -1},
        {"receivers": [Receiver(0x1_0000)]},
        {"receivers": [Receiver(1, 256)]},
        {"constituents": [(1 << 64, 1)]},
        {"constituents": [(0, 1 << 32)]},
    ],
)
def test_building_wrongly(changes):
    with pytest.raises(ValueError, match="descriptor"):
        mem.build_transaction(sample(**changes), V1_2)


def test_v1_0_has_8_bits_of_attributes():
    with pytest.raises(ValueError, match="transaction"):
        mem.build_transaction(sample(attributes=0x100), V1_0)


def test_an_unknown_version():
    with pytest.raises(ValueError, match="0x10009 is no FF-A version"):
        mem.parse_transaction(bytes(64), 0x10009)


def test_relinquish_golden():
    golden = bytes.fromhex("8877665544332211 02000000 02000000 0380 0480")
    relinquish = Relinquish(0x1122_3344_5566_7788, 2, [0x8003, 0x8004])
    assert mem.build_relinquish(relinquish) == golden
    assert mem.parse_relinquish(golden + b"\xa5\xa5") == relinquish


def test_relinquish_count_beyond_the_data():
    golden = mem.build_relinquish(Relinquish(1, 0, [2, 3]))
    with pytest.raises(DecodeError) as caught:
        mem.parse_relinquish(golden[:-1])
    assert (caught.value.path, caught.value.offset) == ("relinquish.endpoint_count", 12)
    with pytest.raises(DecodeError):
        mem.parse_relinquish(golden[:15])


def test_relinquish_built_wrongly():
    with pytest.raises(ValueError, match="16-bit"):
        mem.build_relinquish(Relinquish(1, 0, [0x10000]))
