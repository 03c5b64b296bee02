"""Partition information in memory and in registers."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.partition_info import PartitionInfo
from ffabric.abi.ffa.uuids import NIL, from_pair, from_words, to_pair, to_words
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3, VERSIONS

FUZZ = settings(derandomize=True, deadline=None, max_examples=60, database=None)

PROTOCOL = UUID("a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8")
IMAGE = UUID("e1e2e3e4-f1f2-0102-0304-05060708090a")
PARTITION = PartitionInfo(0x8001, 4, 0x3FCF, PROTOCOL, IMAGE, V1_3)
UUIDS = "a1a2a3a4b1b2c1c2d1d2d3d4d5d6d7d8", "e1e2e3e4f1f20102030405060708090a"
GOLDEN = {
    V1_0: "0180 0400 07000000",
    V1_1: "0180 0400 cf010000" + UUIDS[0],
    V1_2: "0180 0400 cf070000" + UUIDS[0],
    V1_3: "0180 0400 cf3f0000" + "".join(UUIDS) + "03000100 00000000",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_bytes_and_properties_of_the_version(version):
    golden = bytes.fromhex(GOLDEN[version])
    assert info.build_partition_info([PARTITION], version) == golden
    assert info.descriptor_size(version) == len(golden)
    (parsed,) = info.parse_partition_info(golden, 1, len(golden))
    assert (parsed.id, parsed.contexts) == (0x8001, 4)
    assert parsed.properties == 0x3FCF & info.Properties.defined(version)
    assert parsed.uuid == (PROTOCOL if version >= V1_1 else NIL)
    assert parsed.image_uuid == (IMAGE if version >= V1_3 else NIL)
    assert parsed.ffa_version == (V1_3 if version >= V1_3 else 0)


@pytest.mark.parametrize("version", VERSIONS)
@FUZZ
@given(seed=st.binary(min_size=96, max_size=96))
def test_build_parse_build(version, seed):
    size = info.descriptor_size(version)
    infos = info.parse_partition_info(seed, 2, size)
    built = info.build_partition_info(infos, version)
    parsed = info.parse_partition_info(built, 2, size)
    assert info.build_partition_info(parsed, version) == built
    assert [p.uuid for p in parsed] == [p.uuid for p in infos]


def test_the_reader_steps_by_the_advertised_size():
    wide = b"".join(
        info.build_partition_info([PartitionInfo(n, 1, 3, PROTOCOL)], V1_1).ljust(40, b"\xa5")
        for n in range(3)
    )
    parsed = info.parse_partition_info(wide, 3, 40)
    assert [p.id for p in parsed] == [0, 1, 2]
    assert {p.uuid for p in parsed} == {PROTOCOL}


def test_descriptors_that_do_not_fit():
    with pytest.raises(DecodeError, match=r"partition_info.size"):
        info.parse_partition_info(bytes(64), 1, 7)
    with pytest.raises(DecodeError, match=r"partition_info.count"):
        info.parse_partition_info(bytes(47), 2, 24)
    with pytest.raises(DecodeError, match=r"partition_info.count"):
        info.parse_partition_info(bytes(47), 0xFFFF_FFFF, 0xFFFF_FFFF)


def test_building_wrongly():
    with pytest.raises(ValueError, match="partition information"):
        info.build_partition_info([PartitionInfo(0x1_0000, 1)], V1_0)


@pytest.mark.parametrize(("version", "per_page"), [(V1_1, 5), (V1_2, 5), (V1_3, 2)])
def test_registers(version, per_page):
    infos = [PartitionInfo(0x8001 + n, 1, 3, PROTOCOL) for n in range(7)]
    found = []
    while len(found) < len(infos):
        regs = info.build_registers(infos, len(found), 0x1234, version)
        assert regs[0] == fid.FFA_SUCCESS_64
        assert len(regs) == 18
        page = info.parse_registers(regs, len(found))
        assert (page.last, page.tag, page.size) == (6, 0x1234, info.descriptor_size(version))
        assert len(page.infos) == min(per_page, 7 - len(found))
        found += page.infos
        assert page.current == len(found) - 1
    assert found == infos


def test_registers_golden():
    regs = info.build_registers([PartitionInfo(0x8001, 4, 0x103, PROTOCOL)], 0, 1, V1_2)
    assert regs[2] == 0x0018_0001_0000_0000
    assert regs[3:6] == [0x0000_0103_0004_8001, 0xC2C1_B2B1_A4A3_A2A1, 0xD8D7_D6D5_D4D3_D2D1]
    assert regs[6:] == [0] * 12


@pytest.mark.parametrize(
    ("header", "path"),
    [
        (24 << 48 | 0 << 16 | 5, "x2.current_index"),  # before the start index
        (24 << 48 | 6 << 16 | 5, "x2.current_index"),  # after the last
        (24 << 48 | 9 << 16 | 9, "partition_info.count"),  # more than 15 registers hold
        (0 << 48 | 2 << 16 | 5, "partition_info.size"),
        (0xFFFF << 48 | 1 << 16 | 5, "partition_info.count"),
    ],
)
def test_registers_that_contradict_themselves(header, path):
    with pytest.raises(DecodeError) as caught:
        info.parse_registers([fid.FFA_SUCCESS_64, 0, header, *[0] * 15], 1)
    assert caught.value.path == path


@pytest.mark.parametrize(("start", "tag"), [(7, 0), (-1, 0), (0, 0x10000)])
def test_registers_built_wrongly(start, tag):
    with pytest.raises(ValueError, match="no "):
        info.build_registers([PARTITION] * 7, start, tag, V1_2)


def test_uuids_in_registers():
    words = (0xA4A3A2A1, 0xC2C1B2B1, 0xD4D3D2D1, 0xD8D7D6D5)
    pair = (0xC2C1B2B1A4A3A2A1, 0xD8D7D6D5D4D3D2D1)
    assert to_words(PROTOCOL) == words
    assert to_pair(PROTOCOL) == pair
    assert from_words(*(word | 0xDEAD << 32 for word in words)) == PROTOCOL
    assert from_pair(*pair) == PROTOCOL


def test_properties_print():
    assert str(info.Properties(0x103)) == (
        "0x103 (AARCH64=1, ID_TYPE=PE_ENDPOINT, DIRECT_REQ_SEND=1, DIRECT_REQ_RECEIVE=1)"
    )
    assert info.Properties.defined(V1_0) == 0x7
    assert info.Properties.defined(V1_1) == 0x1FF
    assert info.Properties.defined(V1_2) == 0x7FF
    assert info.Properties.defined(V1_3) == 0x3FFF
