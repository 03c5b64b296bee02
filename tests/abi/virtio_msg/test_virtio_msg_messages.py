"""Messages of virtio-msg: golden bytes of both generations, round trips, hostile bytes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import bus, ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.generations import GENERATIONS, PR28, V2
from ffabric.abi.virtio_msg.header import build_header, parse_header
from ffabric.abi.virtio_msg.message import MESSAGES, build, parse

BOTH = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)

# (message, response, generation, device, token, fields, bytes)
GOLDEN = [
    (t.GET_DEVICE_INFO, False, PR28, 3, 7, {}, "00 02 0300 0700 0800"),
    (
        t.GET_DEVICE_INFO,
        True,
        PR28,
        3,
        7,
        {
            "device_id": 2,
            "vendor_id": 0x554D4551,
            "num_features": 64,
            "config_size": 60,
            "max_virtqueues": 1,
            "admin_vq_start": 5,
            "admin_vq_count": 6,
        },
        "01 02 0300 0700 2000 02000000 51454d55 40000000 3c000000 01000000 0500 0600",
    ),
    (
        t.GET_DEVICE_INFO,
        True,
        V2,
        3,
        7,
        {"device_id": 2, "device_uuid": bytes(range(16)), "num_features": 2, "config_size": 60},
        "01 02 0300 0700 3400 02000000 00000000 "
        + bytes(range(16)).hex()
        + " 02000000 3c000000"
        + "00" * 12,
    ),
    (
        t.GET_DEVICE_FEATURES,
        True,
        PR28,
        0,
        1,
        {"index": 0, "blocks": bytes.fromhex("0100000002000000")},
        "01 03 0000 0100 1800 00000000 02000000 01000000 02000000",
    ),
    (
        t.SET_CONFIG,
        False,
        PR28,
        1,
        2,
        {"generation": 9, "offset": 4, "data": b"abc"},
        "00 06 0100 0200 1700 09000000 04000000 03000000 616263",
    ),
    (
        t.SET_CONFIG,
        True,
        V2,
        1,
        2,
        {"generation": 9, "offset": 4, "length": 3},
        "01 06 0100 0200 1400 09000000 04000000 03000000",
    ),
    (t.SET_DEVICE_STATUS, True, PR28, 1, 2, {"status": 11}, "01 08 0100 0200 0c00 0b000000"),
    (
        t.SET_VQUEUE,
        False,
        V2,
        1,
        2,
        {
            "index": 1,
            "flags": 1,
            "size": 64,
            "desc_area": 1 << 48,
            "driver_area": 2,
            "device_area": 3,
        },
        "00 0a 0100 0200 3000 01000000 01000000 40000000 00000000"
        "000000000000010002" + "00" * 7 + "03" + "00" * 7,
    ),
    (
        t.GET_VQUEUE,
        True,
        PR28,
        1,
        2,
        {"index": 1, "max_size": 128},
        "01 09 0100 0200 3000 01000000 80000000 00000000 00000000" + "00" * 24,
    ),
    (
        t.GET_SHM,
        True,
        PR28,
        1,
        2,
        {"index": 1, "length": 0x1000, "address": 5},
        "01 0c 0100 0200 1400 01000000 00100000 05000000",
    ),
    (
        t.GET_SHM,
        True,
        V2,
        1,
        2,
        {"index": 1, "length": 0x1000, "address": 5},
        "01 0c 0100 0200 2000 01000000 00000000 0010000000000000 0500000000000000",
    ),
    (
        t.EVENT_CONFIG,
        False,
        PR28,
        1,
        0,
        {"status": 0x4F, "generation": 3},
        "00 40 0100 0000 1800 4f000000 03000000 00000000 00000000",
    ),
    (t.EVENT_AVAIL, False, PR28, 1, 0, {"index": 2}, "00 41 0100 0000 1000 02000000 00000000"),
    (t.EVENT_USED, False, V2, 1, 0, {"index": 2}, "00 42 0100 0000 0c00 02000000"),
    (
        bus.GET_DEVICES,
        True,
        PR28,
        0,
        4,
        {"offset": 8, "next_offset": 24, "bitmap": b"\x81\x01"},
        "03 02 0000 0400 1000 0800 1000 1800 8101",
    ),
    (
        bus.GET_DEVICES,
        True,
        V2,
        0,
        4,
        {"offset": 8, "next_offset": 24, "bitmap": b"\x81\x01"},
        "03 02 0000 0400 1000 0800 1800 1000 8101",
    ),
    (bus.PING, False, PR28, 0, 4, {"data": 0xCAFE}, "02 03 0000 0400 0c00 feca0000"),
    (
        bus.EVENT_DEVICE,
        False,
        PR28,
        0,
        0,
        {"number": 2, "state": 1},
        "02 40 0000 0000 0c00 0200 0100",
    ),
    (
        ffa.VERSION,
        False,
        PR28,
        0,
        2,
        {"bus_version": 0x10000, "revision": 1, "ffa_version": 0x10002},
        "02 80 0000 0200 1400 00000100 01000000 02000100",
    ),
    (
        ffa.VERSION,
        True,
        PR28,
        0,
        2,
        {"bus_version": 0x10000, "revision": 1, "bus_features": 0x21, "max_areas": 255},
        "03 80 0000 0200 1e00 00000100 01000000 00000000 00000000 21000000 ff00",
    ),
    (
        ffa.AREA_SHARE,
        False,
        PR28,
        0,
        2,
        {"area": 1, "handle": 7, "tag": 9, "pages": 4, "attributes": 0x6F4},
        "02 81 0000 0200 2200 0100 0700000000000000 0900000000000000 04000000 f4060000",
    ),
    (
        ffa.AREA_UNSHARE,
        True,
        PR28,
        0,
        2,
        {"area": 1, "result": 2},
        "03 82 0000 0200 0c00 0100 0200",
    ),
    (ffa.RESET, True, PR28, 0, 2, {}, "03 83 0000 0200 0a00 0000"),
    (ffa.EVENT_POLL, True, PR28, 0, 2, {}, "03 84 0000 0200 0800"),
    (
        ffa.EVENT_CONFIGURE,
        False,
        PR28,
        0,
        2,
        {"method": 1, "notification": 5},
        "02 85 0000 0200 0c00 01 00 0500",
    ),
    (ffa.ERROR, True, PR28, 6, 2, {"msg_id": 0x33}, "03 87 0600 0200 0a00 3300"),
    (ffa.EVENT_AREA_RELEASE, False, PR28, 0, 0, {"area": 3}, "02 c0 0000 0000 0a00 0300"),
]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row[0].name}-{row[2].name}")
def test_golden_bytes(row):
    kind, response, generation, device, token, fields, text = row
    data = bytes.fromhex(text)
    built = build(kind, generation, device=device, token=token, response=response, **fields)
    assert built == data
    message = parse(data, generation)
    assert (message.kind, message.response) == (kind, response)
    assert (message.device, message.token) == (device, token)
    assert fields.items() <= message.fields.items()
    assert parse_header(data).size == len(data)


@BOTH
def test_every_mandatory_message_fits_the_smallest_message_size(generation):
    for kind in MESSAGES.values():
        if not kind.bus and kind is not t.GET_SHM:
            for body in filter(None, (kind.request, kind.response)):
                assert 8 + body.record(generation.number).size <= generation.least


def field_values(record):
    return st.fixed_dictionaries(
        {
            each.name: st.binary(min_size=each.size, max_size=each.size)
            if each.code.endswith("s")
            else st.integers(0, (1 << 8 * each.size) - 1)
            for each in record.fields
            if not each.reserved
        }
    )


@st.composite
def messages(draw):
    generation = draw(st.sampled_from([PR28, V2]))
    kind = draw(st.sampled_from(list(MESSAGES.values())))
    responses = [False] if kind.response is None else [False, True]
    response = kind is ffa.ERROR or draw(st.sampled_from(responses))
    body = kind.response if response else kind.request
    fields = draw(field_values(body.record(generation.number)))
    if body.tail:
        count = draw(st.integers(0, 40))
        data = draw(st.binary(min_size=(n := body.tail.unit.size(count)), max_size=n))
        fields |= {body.tail.name: data, body.tail.counted_by: count}
    return kind, response, generation, draw(st.integers(0, 0xFFFF)), fields


@given(messages(), st.binary(max_size=24))
def test_what_is_built_is_parsed_whatever_follows_it(message, poison):
    kind, response, generation, device, fields = message
    built = build(kind, generation, device=device, token=5, response=response, **fields)
    parsed = parse(built + poison, generation)
    assert (parsed.kind, parsed.response, parsed.device) == (kind, response, device)
    assert parsed.fields == fields
    assert str(parsed).startswith(kind.name)


@given(messages(), st.data())
def test_a_message_that_is_cut_is_refused(message, data):
    kind, response, generation, device, fields = message
    built = build(kind, generation, device=device, response=response, **fields)
    cut = data.draw(st.integers(0, len(built) - 1))
    with pytest.raises(DecodeError):
        parse(built[:cut], generation)


@given(st.binary(max_size=128), st.sampled_from([PR28, V2]))
def test_any_bytes_parse_or_are_refused(data, generation):
    with suppress(DecodeError):
        assert parse(data, generation).kind in MESSAGES.values()


@given(
    st.sampled_from(sorted(MESSAGES)),
    st.booleans(),
    st.binary(max_size=96),
    st.sampled_from([PR28, V2]),
)
def test_any_payload_parses_or_is_refused(key, response, payload, generation):
    type_, id_ = key
    data = build_header(type_ | response, id_, 1, 2, len(payload)) + payload
    with suppress(DecodeError):
        assert parse(data, generation).kind is MESSAGES[key]


def test_reserved_bits_of_the_type_are_ignored():
    data = bytes.fromhex("fc 07 0300 0700 0800")
    assert parse(data, PR28).kind is t.GET_DEVICE_STATUS


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ("00 02 0000 0000 07", "message"),
        ("00 02 0000 0000 0700", "message.msg_size"),
        ("00 02 0000 0000 0900", "message.msg_size"),
        ("00 00 0000 0000 0800", "message.msg_id"),
        ("00 7f 0000 0000 0800", "message.msg_id"),
        ("01 42 0000 0000 0c00 00000000", "message.type"),
        ("02 87 0000 0000 0800", "message.type"),
        ("01 08 0000 0000 0800", "SET_DEVICE_STATUS"),
        ("00 04 0000 0000 1000 00000000 01000000", "SET_DRIVER_FEATURES.num"),
        ("00 04 0000 0000 1000 00000000 ffffffff", "SET_DRIVER_FEATURES.num"),
        ("00 06 0000 0000 1500 00000000 00000000 02000000 aa", "SET_CONFIG.length"),
    ],
)
def test_hostile_messages(data, path):
    with pytest.raises(DecodeError) as caught:
        parse(bytes.fromhex(data), PR28)
    assert caught.value.path == path


def test_building_wrongly():
    with pytest.raises(ValueError, match="no such field: colour"):
        build(t.GET_VQUEUE, PR28, colour=1)
    with pytest.raises(ValueError, match="flags"):
        build(t.SET_VQUEUE, PR28, flags=1)
    with pytest.raises(ValueError, match="no response"):
        build(t.EVENT_USED, PR28, response=True)
    with pytest.raises(ValueError, match="payload"):
        build(t.GET_VQUEUE, PR28, index=-1)


def test_generations_by_name():
    assert GENERATIONS["v1"] is PR28
    assert GENERATIONS["v2"] is V2


def test_addresses_name_area_and_offset():
    assert ffa.address(255, 0x1000) == 0x00FF_0000_0000_1000
    assert ffa.split_address(0xFFFF_0000_0000_1234) == (0xFFFF, 0x1234)


def test_direct_carrier_pads_with_zeros():
    message = build(bus.PING, PR28, data=1)
    registers = ffa.to_registers(message)
    assert len(registers) == 14
    assert registers[0] == 0x000C_0000_0000_0302
    assert registers[2:] == (0,) * 12
    assert ffa.from_registers(registers) == message + bytes(100)
    with pytest.raises(ValueError, match="112"):
        ffa.to_registers(bytes(113))


def test_attributes_in_words():
    assert ffa.NORMAL_SHARED == 0x6F4
    assert ffa.NORMAL_SHARED | ffa.AreaAttributes.build(RETENTION=1) == 0xEF4
    assert "WRITABLE=1" in str(ffa.AreaAttributes(ffa.NORMAL_SHARED))


def test_bitmaps_have_the_least_bit_first():
    assert bus.pack_bitmap({8, 15, 16, 40}, 8, 16) == b"\x81\x01"
    assert bus.unpack_bitmap(b"\x81\x01", 8) == {8, 15, 16}
