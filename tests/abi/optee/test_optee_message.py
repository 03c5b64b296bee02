"""The message protocol: golden bytes, round trips, hostile bytes."""

import struct
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import message as m
from ffabric.abi.optee.message import Command, Empty, Fmem, Message, Rmem, Tmem, Type, Value

AVB = UUID("023f8f1a-292a-432b-8fc4-de8471358067")

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
u48 = st.integers(0, (1 << 48) - 1)
u64 = st.integers(0, (1 << 64) - 1)


def attributes(*types):
    flags = st.sampled_from([0, m.META, m.NONCONTIG, 1 << 16])
    return st.builds(lambda kind, flag: int(kind) | flag, st.sampled_from(types), flags)


VALUES = st.builds(
    Value, attributes(Type.VALUE_INPUT, Type.VALUE_OUTPUT, Type.VALUE_INOUT), u64, u64, u64
)
FMEMS = st.builds(
    Fmem, attributes(Type.FMEM_INPUT, Type.FMEM_OUTPUT, Type.FMEM_INOUT), u48, u16, u64, u64
)
RMEMS = st.builds(
    Rmem, attributes(Type.FMEM_INPUT, Type.FMEM_OUTPUT, Type.FMEM_INOUT), u64, u64, u64
)
TMEMS = st.builds(
    Tmem, attributes(Type.TMEM_INPUT, Type.TMEM_OUTPUT, Type.TMEM_INOUT), u64, u64, u64
)
EMPTY = st.just(Empty(0))


def messages(*kinds):
    params = st.lists(st.one_of(EMPTY, VALUES, *kinds), max_size=8)
    return st.builds(Message, u32, u32, u32, u32, u32, u32, params)


def test_the_bytes_that_open_a_session():
    a, b = m.uuid_words(AVB)
    message = Message(
        Command.OPEN_SESSION,
        cancel_id=0x11,
        ret=0xFFFF0000,
        params=[
            Value(m.META_VALUE, a, b),
            Value(m.META_VALUE, 0, 0, 0x8000_0000),
            Fmem(Type.FMEM_INOUT, 0x1_0000_0010, 0x123, 0x40, 0xC0DE),
        ],
    )
    assert m.build_message(message) == bytes.fromhex(
        "00000000 00000000 00000000 11000000 00000000 0000ffff 00000000 03000000"
        "0101000000000000 023f8f1a292a432b 8fc4de8471358067 0000000000000000"
        "0101000000000000 0000000000000000 0000000000000000 0000008000000000"
        "0700000000000000 10000000 0100 2301 4000000000000000 dec0000000000000"
    )
    assert m.words_uuid(a, b) == AVB


@given(messages(FMEMS, TMEMS))
def test_messages_over_ffa_come_back(message):
    data = m.build_message(message)
    assert len(data) == m.message_size(len(message.params))
    assert m.parse_message(data) == message


@given(messages(RMEMS, TMEMS))
def test_messages_over_smc_come_back(message):
    assert m.parse_message(m.build_message(message), registered=True) == message


@given(st.binary(max_size=300), st.booleans())
def test_hostile_bytes_raise_a_decode_error_or_nothing(data, registered):
    with suppress(DecodeError):
        m.parse_message(data, registered=registered)


def test_more_parameters_than_a_page_holds():
    header = struct.pack("<8I", 0, 0, 0, 0, 0, 0, 0, m.MAX_PARAMS + 1)
    with pytest.raises(DecodeError, match=r"message.num_params .*0x80: more than 127"):
        m.parse_header(header)


def test_parameters_that_are_not_there():
    header = struct.pack("<8I", 0, 0, 0, 0, 0, 0, 0, 2)
    with pytest.raises(DecodeError, match="params: 0x2: more than 32 bytes hold"):
        m.parse_message(header + bytes(m.PARAM_SIZE))


@pytest.mark.parametrize("kind", [4, 8, 12, 0xFF])
def test_types_that_there_are_not(kind):
    with pytest.raises(DecodeError, match=r"params\[1\].attributes .*no such type"):
        m.parse_params(bytes(32) + struct.pack("<4Q", kind, 0, 0, 0), 2)


def test_fields_that_do_not_fit():
    with pytest.raises(ValueError, match="optee_msg_param_fmem"):
        m.build_param(Fmem(Type.FMEM_INPUT, offset=1 << 48))
    with pytest.raises(ValueError, match="optee_msg_arg"):
        m.build_message(Message(-1))


def test_attributes_read_as_the_header_names_them():
    word = m.Attributes(m.NONCONTIG | m.META | Type.TMEM_INOUT)
    assert str(word) == "0x30b (NONCONTIG=1, META=1, TYPE=TMEM_INOUT)"


@given(st.integers(0, 1200), st.integers(0, 3))
def test_page_lists_come_back(count, spare):
    addresses = [0x4000_0000 + m.PAGE * index for index in range(count)]
    needed = max(1, -(-count // m.LIST_ENTRIES))
    places = [0x8000_0000 + m.PAGE * index for index in range(needed + spare)]
    pages = dict(zip(places, m.build_page_list(addresses, places), strict=False))
    found, at = [], places[0]
    while at:
        part, at = m.parse_list_page(pages[at], count - len(found))
        found += part
    assert found == addresses


def test_page_lists_with_what_is_no_page():
    page = bytearray(m.PAGE)
    page[8:16] = (0x1001).to_bytes(8, "little")
    with pytest.raises(DecodeError, match=r"page_list \(byte 0x8\): 0x1001: not the address"):
        m.parse_list_page(bytes(page), 2)
    assert m.parse_list_page(bytes(page), 1) == ([0], 0)
    with pytest.raises(DecodeError, match=r"page_list.next .*600 pages are still to come"):
        m.parse_list_page(bytes(m.PAGE), 600)
    with pytest.raises(DecodeError, match="shorter than 4096"):
        m.parse_list_page(b"", 1)
    with pytest.raises(ValueError, match="takes 2, not 1"):
        m.build_page_list([0] * 512, [0x1000])


@given(st.lists(u64, max_size=8), st.integers(0, m.LIST_ENTRIES), st.integers(0, 2000))
def test_hostile_page_lists(entries, at, left):
    page = bytearray(m.PAGE)
    for index, entry in enumerate(entries[: m.LIST_ENTRIES + 1 - at]):
        struct.pack_into("<Q", page, 8 * (at + index), entry)
    try:
        addresses, following = m.parse_list_page(bytes(page), left)
    except DecodeError:
        return
    assert len(addresses) == min(left, m.LIST_ENTRIES)
    assert bool(following) == (left > m.LIST_ENTRIES)
