"""The header that every message begins with (virtio-msg pr28, v1 and v2: common message format)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ffabric.abi.bits import Bit, Word
from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, u8, u16

HEADER: Final = Layout(
    "virtio_msg_header",
    "virtio-msg pr28, common message format",
    u8("type", "Bit 0: response, bit 1: bus message; the others are ignored"),
    u8("msg_id", "What the message is"),
    u16("dev_num", "The device; 0 in most bus messages"),
    u16("token", "The bus's own: a response has that of its request"),
    u16("msg_size", "Bytes of the whole message, this header included"),
)
_RECORD = HEADER.at()
HEADER_SIZE: Final = _RECORD.size
HEADER_FORMAT: Final = _RECORD.struct.format
HEADER_FIELDS: Final = len(_RECORD.names)

RESPONSE: Final = 1 << 0
BUS: Final = 1 << 1
_TYPE_MASK = RESPONSE | BUS
EVENT: Final = 1 << 6
"""Set in the ids of messages that have no response (pr28: the ranges 40-7F and C0-FF)."""


class Type(Word):
    """The type of a message."""

    BUS = Bit(1)
    RESPONSE = Bit(0)


class Header(Struct, frozen=True, gc=False):
    """`size` in bytes, the header's eight included."""

    type: int
    id: int
    device: int
    token: int
    size: int


def build_header(type_: int, id_: int, device: int = 0, token: int = 0, payload: int = 0) -> bytes:
    """The header of a message with `payload` bytes after it; ValueError if a value misfits."""
    return _RECORD.pack(type_, id_, device, token, HEADER_SIZE + payload)


def read_header(data: bytes) -> tuple[int, int, int, int, int]:
    """As `parse_header`: type, id, device, token and size."""
    if len(data) < HEADER_SIZE:
        _RECORD.unpack(data, 0, "message")  # which says so
    type_, id_, device, token, size = _RECORD.struct.unpack_from(data)
    if not HEADER_SIZE <= size <= len(data):
        reason = f"not in {HEADER_SIZE}..{len(data)}"
        raise DecodeError("message.msg_size", _RECORD.offsets["msg_size"], size, reason)
    return type_ & _TYPE_MASK, id_, device, token, size


def parse_header(data: bytes) -> Header:
    """The header of the message in `data`, which may be longer; DecodeError if it is shorter."""
    return Header(*read_header(data))


def peek_header(data: bytes) -> Header:
    """What can be read of a header that is none, zeros for the rest: to say what is refused."""
    type_, id_, device, token, size = _RECORD.unpack(data.ljust(HEADER_SIZE, b"\0"), 0, "message")
    return Header(type_ & _TYPE_MASK, id_, device, token, size)


def with_token(message: bytes, token: int) -> bytes:
    """A copy of a message with another token: the bus's own."""
    return message[:4] + token.to_bytes(2, "little") + message[6:]


def with_device(message: bytes, device: int) -> bytes:
    """A copy of a message for a device that has another number at the other end."""
    return message[:2] + device.to_bytes(2, "little") + message[4:]
