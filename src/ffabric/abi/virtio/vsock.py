"""Socket devices: configuration, packets and events (virtio 1.3, 5.10)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, u16, u32, u64

F_STREAM: Final = 1 << 0

RECEIVE, TRANSMIT, EVENT = 0, 1, 2
"""The virtqueues."""
HOST_CID: Final = 2
FIRST_GUEST_CID: Final = 3
RESERVED_CIDS: Final = frozenset({0, 1, HOST_CID, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF})
"""Context ids that no guest has (5.10.4)."""
TYPE_STREAM: Final = 1
SHUTDOWN_RECEIVE: Final = 1 << 0
"""The sender of SHUTDOWN will receive no more."""
SHUTDOWN_SEND: Final = 1 << 1
"""It will send no more."""
TRANSPORT_RESET: Final = 0
"""The event: connections are gone, the guest's context id may be another."""

CONFIG: Final = Layout(
    "virtio_vsock_config", "virtio 1.3, 5.10.4", u64("guest_cid", "Context id of the guest")
)
CONFIG_SIZE: Final = CONFIG.at().size
EVENT_SIZE: Final = 4

HEADER: Final = Layout(
    "virtio_vsock_hdr",
    "virtio 1.3, 5.10.6",
    u64("src_cid", "Context id of the sender"),
    u64("dst_cid", "Context id of the receiver"),
    u32("src_port", "Port of the sender"),
    u32("dst_port", "Port of the receiver"),
    u32("len", "Bytes of data"),
    u16("type", "1: stream"),
    u16("op", "What is said"),
    u32("flags", "Of a SHUTDOWN"),
    u32("buf_alloc", "Bytes that the sender has room for, of this connection"),
    u32("fwd_cnt", "Bytes that its program has taken so far, modulo 2^32"),
)
HEADER_SIZE: Final = HEADER.at().size
_HEADER = HEADER.at()


class Op(IntEnum):
    """What a packet says."""

    REQUEST = 1
    RESPONSE = 2
    RST = 3
    SHUTDOWN = 4
    RW = 5
    CREDIT_UPDATE = 6
    CREDIT_REQUEST = 7


class Packet(Struct, frozen=True):
    """A packet, by the fields of its header, and its data."""

    src_cid: int
    dst_cid: int
    src_port: int
    dst_port: int
    op: int
    data: bytes = b""
    flags: int = 0
    buf_alloc: int = 0
    fwd_cnt: int = 0
    type: int = TYPE_STREAM


def build(packet: Packet) -> bytes:
    """Header and data; ValueError if a value does not fit."""
    return (
        _HEADER.pack(
            packet.src_cid,
            packet.dst_cid,
            packet.src_port,
            packet.dst_port,
            len(packet.data),
            packet.type,
            packet.op,
            packet.flags,
            packet.buf_alloc,
            packet.fwd_cnt,
        )
        + packet.data
    )


def parse(data: bytes) -> Packet:
    """The packet in a buffer, which may be longer. Raises DecodeError."""
    *ends, length, type_, op, flags, buf_alloc, fwd_cnt = _HEADER.unpack(data)
    if HEADER_SIZE + length > len(data):
        reason = f"{len(data) - HEADER_SIZE} bytes follow"
        raise DecodeError("virtio_vsock_hdr.len", _HEADER.offsets["len"], length, reason)
    content = data[HEADER_SIZE : HEADER_SIZE + length]
    src_cid, dst_cid, src_port, dst_port = ends
    return Packet(
        src_cid, dst_cid, src_port, dst_port, op, content, flags, buf_alloc, fwd_cnt, type_
    )
