"""Trusty's IPC between the worlds: messages over a virtio device (Trusty, tipc_virtio_dev.h).

Both sides have endpoints with 32-bit addresses. One of them, `CONTROL`, is where connections are
made and ended; a connection then has an address on either side.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, raw, u16, u32, u64

RECEIVE, TRANSMIT = 0, 1
"""The virtqueues."""

CONTROL: Final = 53
FIRST_CLIENT: Final = 1024
"""The normal world's endpoints from here on."""
FIRST_SERVER: Final = 1000
MAX_ENDPOINTS: Final = 256
MAX_MESSAGE: Final = 4096 - 256
NAME_SIZE: Final = 256
DEVICE_NAME_SIZE: Final = 32

HEADER: Final = Layout(
    "tipc_msg_hdr",
    "Trusty, tipc_virtio_dev.h",
    u32("src", "Address of the sender"),
    u32("dst", "Address of the receiver"),
    u16("reserved", "0"),
    u16("shm_count", "Shared memory objects after the data"),
    u16("length", "Bytes of data"),
    u16("flags", "0"),
)
HEADER_SIZE: Final = HEADER.at().size
_HEADER = HEADER.at()

CONFIG: Final = Layout(
    "tipc_dev_config",
    "Trusty, tipc_virtio_dev.h",
    u32("msg_buf_max_size", "Largest buffer in bytes"),
    u32("msg_buf_alignment", "Alignment of buffers"),
    raw("dev_name", DEVICE_NAME_SIZE, "Name of the device, ended by a zero"),
)
CONFIG_SIZE: Final = CONFIG.at().size


class Control(IntEnum):
    """Messages of the control endpoints."""

    GO_ONLINE = 1
    GO_OFFLINE = 2
    CONN_REQ = 3
    CONN_RSP = 4
    DISC_REQ = 5
    RELEASE = 6


_CONTROL = Layout(
    "tipc_ctrl_msg",
    "Trusty, tipc_virtio_dev.h",
    u32("type", "What is said"),
    u32("body_len", "Bytes that follow"),
).at()
_CONN_RSP = Layout(
    "tipc_conn_rsp_body",
    "Trusty, tipc_virtio_dev.h",
    u32("target", "The client's address"),
    u32("status", "0, or an error"),
    u32("remote", "The server's address"),
    u32("max_msg_size", "Largest message in bytes"),
    u32("max_msg_count", "Messages under way"),
).at()
_DISC_REQ = Layout(
    "tipc_disc_req_body", "Trusty, tipc_virtio_dev.h", u32("target", "The client's address")
).at()

SHARED: Final = Layout(
    "tipc_shm",
    "Trusty, trusty/ipc.h",
    u64("id", "FF-A handle of the memory"),
    u64("size", "Bytes"),
    u64("tag", "Tag of the transaction"),
).at()
"""Each of these follows the data of a message."""
MAX_SHARED: Final = 8
_RELEASE = Layout(
    "tipc_release_body", "Trusty, tipc_virtio_dev.h", u64("id", "FF-A handle of the memory")
).at()

NO_SUCH_PORT: Final = 2
"""ERR_NOT_FOUND, as the status of a CONN_RSP has it."""
NO_RESOURCES: Final = 5
"""ERR_NO_MEMORY."""


class Shared(Struct, frozen=True):
    """Memory that goes with a message: its FF-A handle, its bytes, the tag of its transaction."""

    id: int
    size: int
    tag: int = 0


class Message(Struct, frozen=True):
    """A message from an endpoint to an endpoint, and memory that goes with it."""

    src: int
    dst: int
    data: bytes
    shared: tuple[Shared, ...] = ()


class ConnRsp(Struct, frozen=True):
    """The answer to CONN_REQ: `status` 0, or why there is no connection."""

    target: int
    status: int
    remote: int = 0
    max_size: int = MAX_MESSAGE
    max_count: int = 1


def build(message: Message) -> bytes:
    """Header, data and shared memory; ValueError if a value does not fit."""
    data, shared = message.data, message.shared
    if len(shared) > MAX_SHARED:
        raise ValueError(f"{len(shared)} pieces of memory; a message has at most {MAX_SHARED}")
    header = _HEADER.pack(message.src, message.dst, 0, len(shared), len(data), 0)
    return header + data + b"".join(SHARED.pack(each.id, each.size, each.tag) for each in shared)


def parse(data: bytes) -> Message:
    """The message in a buffer, which may be longer. Raises DecodeError."""
    src, dst, _, shared, length, _ = _HEADER.unpack(data, 0, "tipc_msg_hdr")
    if shared > MAX_SHARED:
        offset = _HEADER.offsets["shm_count"]
        raise DecodeError("tipc_msg_hdr.shm_count", offset, shared, f"at most {MAX_SHARED}")
    end = HEADER_SIZE + length
    if end + shared * SHARED.size > len(data):
        offset = _HEADER.offsets["length"]
        reason = f"{len(data) - HEADER_SIZE} bytes follow"
        raise DecodeError("tipc_msg_hdr.length", offset, length, reason)
    pieces = [Shared(*SHARED.unpack(data, end + at * SHARED.size)) for at in range(shared)]
    return Message(src, dst, data[HEADER_SIZE:end], tuple(pieces))


def build_control(type_: Control, body: bytes = b"") -> bytes:
    """The data of a message of a control endpoint."""
    return _CONTROL.pack(type_, len(body)) + body


def build_conn_req(port: str) -> bytes:
    """The data of CONN_REQ; ValueError for a name that is too long."""
    name = port.encode()
    if not 0 < len(name) < NAME_SIZE:
        raise ValueError(f"the name of a port has 1 to {NAME_SIZE - 1} bytes: {port!r}")
    return build_control(Control.CONN_REQ, name.ljust(NAME_SIZE, b"\0"))


def build_conn_rsp(answer: ConnRsp) -> bytes:
    """The data of CONN_RSP."""
    body = (answer.target, answer.status, answer.remote, answer.max_size, answer.max_count)
    return build_control(Control.CONN_RSP, _CONN_RSP.pack(*body))


def build_disc_req(target: int) -> bytes:
    """The data of DISC_REQ."""
    return build_control(Control.DISC_REQ, _DISC_REQ.pack(target))


def parse_control(data: bytes) -> tuple[Control, bytes]:
    """Type and body of the data of a message of a control endpoint. Raises DecodeError."""
    type_, length = _CONTROL.unpack(data, 0, "tipc_ctrl_msg")
    try:
        kind = Control(type_)
    except ValueError:
        raise DecodeError("tipc_ctrl_msg.type", 0, type_, "there is no such message") from None
    if _CONTROL.size + length > len(data):
        reason = f"{len(data) - _CONTROL.size} bytes follow"
        raise DecodeError("tipc_ctrl_msg.body_len", 4, length, reason)
    return kind, data[_CONTROL.size : _CONTROL.size + length]


def parse_conn_req(body: bytes) -> str:
    """The port that CONN_REQ names. Raises DecodeError."""
    name = body[:NAME_SIZE].partition(b"\0")[0]
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise DecodeError("tipc_conn_req_body.name", 0, name, "not UTF-8") from None


def parse_conn_rsp(body: bytes) -> ConnRsp:
    """CONN_RSP. Raises DecodeError."""
    return ConnRsp(*_CONN_RSP.unpack(body, 0, "tipc_conn_rsp_body"))


def build_release(handle: int) -> bytes:
    """The data of RELEASE."""
    return build_control(Control.RELEASE, _RELEASE.pack(handle))


def parse_release(body: bytes) -> int:
    """The handle of the memory in RELEASE. Raises DecodeError."""
    handle: int = _RELEASE.unpack(body, 0, "tipc_release_body")[0]
    return handle


def parse_disc_req(body: bytes) -> int:
    """The client's address in DISC_REQ. Raises DecodeError."""
    target: int = _DISC_REQ.unpack(body, 0, "tipc_disc_req_body")[0]
    return target
