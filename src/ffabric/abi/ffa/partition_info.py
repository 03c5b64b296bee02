"""Partition information: descriptors in the RX buffer and in registers (DEN0077A v1.2, 6.2).

v1.0 describes a partition in 8 bytes, v1.1 adds a UUID, v1.3 the image UUID and the partition's
own FF-A version. A reader steps by the size that the producer advertises, not by its own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.functions import FFA_SUCCESS_64
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.abi.layout import Layout, mbz, raw, u16, u32

DESCRIPTOR: Final = Layout(
    "partition information descriptor",
    "DEN0077A v1.3, table 6.1; v1.1, table 13.37; v1.0, table 8.25",
    u16("id", "ID of the partition, stream or auxiliary endpoint"),
    u16("contexts", "Count of execution contexts, or ID of the proxy endpoint"),
    u32("properties", "Partition properties"),
    raw("uuid", 16, "Protocol UUID; MBZ if the request named one", since=V1_1),
    raw("image_uuid", 16, "UUID of the partition image", since=V1_3),
    u32("ffa_version", "FF-A version of the partition", since=V1_3),
    mbz(4, since=V1_3),
)


class IdType(IntEnum):
    """Properties 5:4: what the ID names."""

    PE_ENDPOINT = 0
    INDEPENDENT_DEVICE = 1
    DEPENDENT_DEVICE = 2
    AUXILIARY = 3


class Properties(Word):
    """Partition properties (DEN0077A v1.3, table 6.2)."""

    SMC64_CYCLES = Bit(13, since=V1_3)
    CPU_RENDEZVOUS = Bit(12, since=V1_3)
    LIVE_ACTIVATION = Bit(11, since=V1_3)
    DIRECT_REQ2_SEND = Bit(10, since=V1_2)
    DIRECT_REQ2_RECEIVE = Bit(9, since=V1_2)
    AARCH64 = Bit(8, since=V1_1)
    VM_DESTROYED = Bit(7, since=V1_1)
    VM_CREATED = Bit(6, since=V1_1)
    ID_TYPE = Bits(5, 4, IdType, since=V1_1)
    NOTIFICATIONS = Bit(3, since=V1_1)
    INDIRECT_MESSAGES = Bit(2)
    DIRECT_REQ_SEND = Bit(1)
    DIRECT_REQ_RECEIVE = Bit(0)


DIRECT_REQ_RECEIVE: Final = Properties.DIRECT_REQ_RECEIVE.mask
DIRECT_REQ_SEND: Final = Properties.DIRECT_REQ_SEND.mask
INDIRECT_MESSAGES: Final = Properties.INDIRECT_MESSAGES.mask
NOTIFICATIONS: Final = Properties.NOTIFICATIONS.mask
ID_TYPE: Final = Properties.ID_TYPE.mask
VM_CREATED: Final = Properties.VM_CREATED.mask
VM_DESTROYED: Final = Properties.VM_DESTROYED.mask
AARCH64: Final = Properties.AARCH64.mask
DIRECT_REQ2_RECEIVE: Final = Properties.DIRECT_REQ2_RECEIVE.mask
DIRECT_REQ2_SEND: Final = Properties.DIRECT_REQ2_SEND.mask
LIVE_ACTIVATION: Final = Properties.LIVE_ACTIVATION.mask
CPU_RENDEZVOUS: Final = Properties.CPU_RENDEZVOUS.mask
SMC64_CYCLES: Final = Properties.SMC64_CYCLES.mask


class PartitionInfo(Struct, frozen=True):
    """What discovery tells about one partition (and one of its UUIDs)."""

    id: int
    contexts: int
    properties: int = 0
    uuid: UUID = NIL
    image_uuid: UUID = NIL
    ffa_version: int = 0

    def __repr__(self) -> str:
        contexts = "1 context" if self.contexts == 1 else f"{self.contexts} contexts"
        rest = f"{contexts}, properties {self.properties:#x}, {self.uuid}"
        return f"<PartitionInfo {self.id:#06x}: {rest}>"


class RegisterPage(Struct, frozen=True):
    """One answer of FFA_PARTITION_INFO_GET_REGS: the descriptors `current`-n+1 .. `current`."""

    last: int
    current: int
    tag: int
    size: int
    infos: list[PartitionInfo]


_RECORDS = [DESCRIPTOR.at(V1_0), DESCRIPTOR.at(V1_1), DESCRIPTOR.at(V1_3)]
_REGISTERS: Final = 15  # x3 to x17 carry descriptors
_REGISTER_BYTES: Final = struct.Struct(f"<{_REGISTERS}Q")


def descriptor_size(version: int) -> int:
    """The size of a descriptor in bytes: 8, 24 or 48."""
    return DESCRIPTOR.at(version).size


def build_partition_info(infos: Sequence[PartitionInfo], version: int) -> bytes:
    """The descriptors that a caller of `version` gets; property bits it reserves are zero.

    ValueError if a value does not fit its field.
    """
    record = DESCRIPTOR.at(version)
    defined = Properties.defined(version)
    return b"".join(
        [
            record.pack(
                *(
                    info.id,
                    info.contexts,
                    info.properties & defined,
                    info.uuid.bytes,
                    info.image_uuid.bytes,
                    info.ffa_version,
                )[: len(record.names)]
            )
            for info in infos
        ]
    )


def parse_partition_info(data: bytes, count: int, size: int) -> list[PartitionInfo]:
    """`count` descriptors that stand `size` bytes apart; DecodeError if they do not fit.

    Of a descriptor longer than the known ones the tail is ignored.
    """
    if size < _RECORDS[0].size:
        raise DecodeError("partition_info.size", None, size, f"less than {_RECORDS[0].size}")
    if count * size > len(data):
        raise DecodeError("partition_info.count", None, count, f"{len(data)} bytes hold fewer")
    record = [known for known in _RECORDS if known.size <= size][-1]
    infos = []
    for at in range(0, count * size, size):
        fields = record.read(data, at)
        for name in ("uuid", "image_uuid"):
            if name in fields:
                fields[name] = UUID(bytes=fields[name])
        infos.append(PartitionInfo(**fields))
    return infos


def registers_per_page(version: int) -> int:
    """How many descriptors one answer of FFA_PARTITION_INFO_GET_REGS holds."""
    return _REGISTERS * 8 // descriptor_size(version)


def build_registers(
    infos: Sequence[PartitionInfo], start: int, tag: int, version: int
) -> list[int]:
    """x0 to x17 of the answer that begins with descriptor `start` of all `infos`.

    ValueError if there is none at `start` or the tag has more than 16 bits.
    """
    if not 0 <= tag <= 0xFFFF:
        raise ValueError(f"{tag:#x} is no 16-bit tag")
    page = infos[start : start + registers_per_page(version)]
    if not page or start < 0:
        raise ValueError(f"no partition information descriptor {start}, there are {len(infos)}")
    data = build_partition_info(page, version).ljust(_REGISTER_BYTES.size, b"\0")
    current = start + len(page) - 1
    header = len(infos) - 1 | current << 16 | tag << 32 | descriptor_size(version) << 48
    return [FFA_SUCCESS_64, 0, header, *_REGISTER_BYTES.unpack(data)]


def parse_registers(regs: Sequence[int], start: int) -> RegisterPage:
    """The answer in x0 to x17 to a request from index `start`; DecodeError if it contradicts."""
    header = regs[2]
    last, current = header & 0xFFFF, header >> 16 & 0xFFFF
    tag, size = header >> 32 & 0xFFFF, header >> 48 & 0xFFFF
    if not start <= current <= last:
        raise DecodeError("x2.current_index", None, current, f"not in {start}..{last}")
    data = _REGISTER_BYTES.pack(*regs[3:18])
    return RegisterPage(
        last, current, tag, size, parse_partition_info(data, current - start + 1, size)
    )
