"""Hostile bytes: whatever the buffer holds, a parser answers or raises the decode error."""

import random
import struct
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import boot_info, memory, messages, partition_info, resources, rxtx
from ffabric.abi.ffa.version import V1_1, V1_2, VERSIONS

FUZZ = settings(derandomize=True, deadline=None, max_examples=60, database=None)

TRANSACTION = memory.Transaction(
    0x8001,
    0x2F,
    receivers=[memory.Receiver(0x8002, 2), memory.Receiver(0x8003, 2)],
    constituents=[(0x4000_0000, 1), (0x4000_2000, 2)],
)
MESSAGE = messages.Message(1, 2, b"payload", UUID(int=5))
BUFFERS = rxtx.EndpointBuffers(1, [(0x1000, 1)], [(0x3000, 1)])
BOOT = [
    boot_info.BootInfo("fdt", data=b"12345678"),
    boot_info.BootInfo(UUID(int=7), 0x80, boot_info.ContentsFormat.VALUE, 1, 4),
]
MAPS = [resources.AddressMap(0x1000, 1, 0x33, 1), resources.AddressMap(0x2000, 1, 0x33, 1)]

# name: valid bytes, parser
SUBJECTS = {
    **{
        f"transaction-{version:#x}": (
            memory.build_transaction(TRANSACTION, version),
            lambda data, version=version: memory.parse_transaction(data, version),
        )
        for version in VERSIONS
    },
    **{
        f"message-{version:#x}": (
            messages.build_message(MESSAGE, version),
            lambda data, version=version: messages.parse_message(data, version),
        )
        for version in (V1_1, V1_2)
    },
    "fragment": (memory.build_constituents([(0x1000, 1)] * 3), memory.parse_constituents),
    "relinquish": (
        memory.build_relinquish(memory.Relinquish(5, 0, [1, 2, 3])),
        memory.parse_relinquish,
    ),
    "buffers": (rxtx.build_endpoint_buffers(BUFFERS), rxtx.parse_endpoint_buffers),
    "boot-info": (boot_info.build_boot_info(BOOT, V1_1), boot_info.parse_boot_info),
    "boot-info-v1.0": (
        boot_info.build_boot_info_v1_0([boot_info.BootInfo("fdt", contents=1, size=2)]),
        boot_info.parse_boot_info_v1_0,
    ),
    "resources": (resources.build_resources(MAPS), resources.parse_resources),
    "partition-info": (
        partition_info.build_partition_info([partition_info.PartitionInfo(1, 1)] * 3, V1_2),
        lambda data: partition_info.parse_partition_info(data, 3, 24),
    ),
}
CASES = [pytest.param(*subject, id=name) for name, subject in SUBJECTS.items()]


def attempt(parse, data):
    """Whether `data` parses; a refusal must name a field and, where it can, its place."""
    refusal = None
    try:
        parse(data)
    except DecodeError as error:
        refusal = error
    if refusal is None:
        return True
    assert refusal.path
    assert refusal.reason
    assert str(refusal)
    assert refusal.offset is None or 0 <= refusal.offset < 1 << 33
    return False


@pytest.mark.parametrize(("valid", "parse"), CASES)
def test_valid_bytes_parse_and_cut_ones_never_crash(valid, parse):
    assert attempt(parse, valid)
    for length in range(len(valid)):
        attempt(parse, valid[:length])


@pytest.mark.parametrize(("valid", "parse"), CASES)
def test_every_word_at_every_boundary(valid, parse):
    size = len(valid)
    values = {0, 1, 2, 8, 15, 16, 17, 24, 32, 48, size - 16, size - 1, size, size + 1}
    values |= {0x7FFF_FFFF, 0x8000_0000, 0x1000_0000, *(0xFFFF_FFFF - k for k in (0, 1, 15, 31))}
    for at in range(0, size - 3, 2):
        for value in values:
            data = bytearray(valid)
            struct.pack_into("<I", data, at, value)
            attempt(parse, bytes(data))


@pytest.mark.parametrize(("valid", "parse"), CASES)
def test_random_damage(valid, parse):
    generator = random.Random(1)
    for _ in range(400):
        data = bytearray(valid)
        for _ in range(generator.randint(1, 6)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        attempt(parse, bytes(data))


@pytest.mark.parametrize(("valid", "parse"), CASES)
def test_random_bytes(valid, parse):
    @FUZZ
    @given(st.binary(max_size=160))
    def check(data):
        attempt(parse, data)

    check()
