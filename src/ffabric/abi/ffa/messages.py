"""Partition messages in RX and TX buffers: a header and a payload (DEN0077A v1.2, 7.3).

FFA_MSG_SEND of v1.0 has no header in memory; its registers say who, to whom and how long.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.flags import MsgSend2Flags
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.ffa.version import V1_1, V1_2
from ffabric.abi.layout import Layout, raw, sbz, u16, u32

HEADER: Final = Layout(
    "partition message header",
    "DEN0077A v1.2, table 7.1",
    sbz(4),
    sbz(4),
    u32("offset", "Offset of the payload from the start of the buffer"),
    u16("receiver", "ID of the receiver"),
    u16("sender", "ID of the sender"),
    u32("size", "Size of the payload in bytes"),
    sbz(4, since=V1_2),
    raw("uuid", 16, "UUID of the protocol", since=V1_2),
)

DELAY_SCHEDULE_RECEIVER: Final = MsgSend2Flags.DELAY_SCHEDULE_RECEIVER.mask
"""Flag of FFA_MSG_SEND2."""


class Message(Struct):
    """A partition message; `uuid` names its protocol (v1.2)."""

    sender: int
    receiver: int
    payload: bytes = b""
    uuid: UUID = NIL


def header_size(version: int) -> int:
    """The size of the header: 20 bytes in v1.1, 40 from v1.2; ValueError before."""
    if version < V1_1:
        raise ValueError("messages of v1.0 have no header")
    return HEADER.at(version).size


def build_message(message: Message, version: int) -> bytes:
    """Header and payload, with nothing between; ValueError if a value does not fit."""
    size = header_size(version)
    record = HEADER.at(version)
    values = (size, message.receiver, message.sender, len(message.payload), message.uuid.bytes)
    return record.pack(*values[: len(record.names)]) + message.payload


def parse_message(data: bytes, version: int, *, older: bool = False) -> Message:
    """The message in `data`, a snapshot of the buffer; DecodeError if the payload is not in it.

    `older`: the header may be of an older version too. Nothing in it tells which, but where the
    payload begins there is no header any more.
    """
    record = HEADER.at(version)
    offset, receiver, sender, length, *uuid = record.unpack(data, 0, "message")
    size = header_size(version)
    if older and offset < size:
        size, uuid = header_size(V1_1), []
    if not size <= offset <= len(data):
        reason = f"not in {size:#x}..{len(data):#x}"
        raise DecodeError("message.offset", record.offsets["offset"], offset, reason)
    if offset + length > len(data):
        reason = f"the payload from {offset:#x} leaves the {len(data)} bytes"
        raise DecodeError("message.size", record.offsets["size"], length, reason)
    payload = data[offset : offset + length]
    return Message(sender, receiver, payload, UUID(bytes=uuid[0]) if uuid else NIL)
