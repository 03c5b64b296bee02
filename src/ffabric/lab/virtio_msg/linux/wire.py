"""Both wire forms of virtio-msg as tables, each cited by the clause that has it.

A message is a header of 8 bytes (type, id, device number, token, size) and a payload whose size is
exact. pr28 is the text of December 2025 (transport-msg.tex), v2 the one of 2026; the bus over FF-A
is Arm DEN0153 as Linux has it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<BBHHH")
"""Type, id, device number, token, size in bytes with the header (pr28, Common Message Format)."""
TRANSPORT, BUS, RESPONSE = 0, 2, 1
"""Bits of the type: bit 1 is the bus's, bit 0 a response's (pr28, Common Message Format)."""
EVENT: Final = 0x40
"""Bit 6 of an id: nothing answers it (pr28, Message Ids)."""
CARRIER: Final = 112
"""Bytes in x4 to x17 of FFA_MSG_SEND_DIRECT_REQ2 (DEN0077A 1.2, 15.4)."""
LARGEST: Final = 104
"""The largest message over FF-A (Linux 2026)."""

EPERM, ENXIO, E2BIG, EBUSY, ENODEV, EINVAL, EPROTO, EOPNOTSUPP, ETIMEDOUT, EIO = (
    *(1, 6, 7, 16, 19, 22, 71, 95, 110, 5),
)


class LinuxError(Exception):
    """What Linux gives up with: a negative error number, and why."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"-{number}: {reason}")
        self.number = number


class Kind(NamedTuple):
    """A message: its id, its clause, the payloads of request and response (None: there is none).

    What follows a payload is as long as the message says.
    """

    id: int
    name: str
    clause: str
    request: struct.Struct
    response: struct.Struct | None = None
    bus: bool = False


_NOTHING = struct.Struct("")


def _kind(
    number: int, name: str, clause: str, request: str, response: str | None, *, bus: bool = False
) -> Kind:
    return Kind(
        number,
        name,
        clause,
        struct.Struct("<" + request),
        None if response is None else struct.Struct("<" + response),
        bus,
    )


class Form(NamedTuple):
    """A wire form: the messages that the two have in another shape."""

    name: str
    info: Kind
    feature_unit: int
    """Bits that GET_DEVICE_INFO counts features in."""
    get_devices: Kind
    count_first: bool
    """GET_DEVICES answers offset, count, next; else offset, next, count."""
    enabled: int
    """What SET_VQUEUE says to enable a virtqueue, and GET_VQUEUE of one that is."""
    strict: bool
    """A SET_CONFIG of an old generation is rejected; else its generation is 0."""


VERSION: Final = _kind(0x80, "VERSION", "DEN0153, VERSION", "III", "IIIIIH", bus=True)
AREA_SHARE: Final = _kind(0x81, "AREA_SHARE", "DEN0153, AREA_SHARE", "HQQII", "HH", bus=True)
AREA_UNSHARE: Final = _kind(0x82, "AREA_UNSHARE", "DEN0153, AREA_UNSHARE", "H", "HH", bus=True)
RESET: Final = _kind(0x83, "RESET", "DEN0153, RESET", "", "H", bus=True)
EVENT_POLL: Final = _kind(0x84, "EVENT_POLL", "DEN0153, EVENT_POLL", "", "", bus=True)
EVENT_CONFIGURE: Final = _kind(
    0x85, "EVENT_CONFIGURE", "DEN0153, EVENT_CONFIGURE", "BBH", "H", bus=True
)
FIFO_CONFIGURE: Final = _kind(
    0x86, "FIFO_CONFIGURE", "DEN0153, FIFO_CONFIGURE", "QHH", "HH", bus=True
)
ERROR: Final = _kind(0x87, "ERROR", "DEN0153, ERROR", "", "H", bus=True)
AREA_RELEASE: Final = _kind(
    0xC0, "EVENT_AREA_RELEASE", "DEN0153, EVENT_AREA_RELEASE", "H", None, bus=True
)
EVENT_DEVICE: Final = _kind(0x40, "EVENT_DEVICE", "pr28, EVENT_DEVICE", "HH", None, bus=True)
PING: Final = _kind(0x03, "PING", "pr28, PING", "I", "I", bus=True)

GET_FEATURES: Final = _kind(0x03, "GET_DEVICE_FEATURES", "pr28, GET_DEVICE_FEATURES", "II", "II")
SET_FEATURES: Final = _kind(0x04, "SET_DRIVER_FEATURES", "pr28, SET_DRIVER_FEATURES", "II", "")
GET_CONFIG: Final = _kind(0x05, "GET_CONFIG", "pr28, GET_CONFIG", "II", "III")
SET_CONFIG: Final = _kind(0x06, "SET_CONFIG", "pr28, SET_CONFIG", "III", "III")
GET_STATUS: Final = _kind(0x07, "GET_DEVICE_STATUS", "pr28, GET_DEVICE_STATUS", "", "I")
SET_STATUS: Final = _kind(0x08, "SET_DEVICE_STATUS", "pr28, SET_DEVICE_STATUS", "I", "I")
GET_VQUEUE: Final = _kind(0x09, "GET_VQUEUE", "pr28, GET_VQUEUE", "I", "IIIIQQQ")
SET_VQUEUE: Final = _kind(0x0A, "SET_VQUEUE", "pr28, SET_VQUEUE", "IIIIQQQ", "")
RESET_VQUEUE: Final = _kind(0x0B, "RESET_VQUEUE", "pr28, RESET_VQUEUE", "I", "")
EVENT_CONFIG: Final = _kind(0x40, "EVENT_CONFIG", "pr28, EVENT_CONFIG", "IIII", None)
EVENT_AVAIL: Final = _kind(0x41, "EVENT_AVAIL", "pr28, EVENT_AVAIL", "II", None)
EVENT_USED: Final = _kind(0x42, "EVENT_USED", "pr28, EVENT_USED", "I", None)
INFO_ID: Final = 0x02
"""GET_DEVICE_INFO, and of the bus GET_DEVICES."""

PR28: Final = Form(
    "pr28",
    _kind(INFO_ID, "GET_DEVICE_INFO", "pr28, GET_DEVICE_INFO", "", "IIIIIHH"),
    1,
    _kind(INFO_ID, "GET_DEVICES", "pr28, GET_DEVICES", "HH", "HHH", bus=True),
    count_first=True,
    enabled=0,
    strict=True,
)
V2: Final = Form(
    "v2",
    _kind(INFO_ID, "GET_DEVICE_INFO", "v2, virtio_msg_protocol.h", "", "II16sIIIII"),
    32,
    _kind(INFO_ID, "GET_DEVICES", "v2, virtio_msg_protocol.h", "HH", "HHH", bus=True),
    count_first=False,
    enabled=1,
    strict=False,
)
FORMS: Final = {form.name: form for form in (PR28, V2)}

ATTRIBUTES: Final = 0xEF4
"""Of the areas that Linux shares: share, writable, inner shareable, write-back, normal, non-secure,
and (bit 11) kept until they are released."""
ONE_SHOT: Final = ATTRIBUTES & ~(1 << 11)
AREA_SHIFT: Final = 48
"""A DMA address has the area in bits 63:48 (Linux 2026)."""
FEATURES: Final = {
    "DIRECT_RX": 1,
    "DIRECT_TX": 2,
    "INDIRECT_RX": 4,
    "INDIRECT_TX": 8,
    "NOTIF_RX": 16,
    "NOTIF_TX": 32,
    "FIFO": 64,
}
"""Bits of the bus features (DEN0153, VERSION)."""
POLLED, BY_NOTIFICATION, BY_MESSAGE, BY_FIFO = 0, 1, 2, 3
"""Methods of EVENT_CONFIGURE."""
OK, FAILED, BUSY = 0, 1, 2
"""Results."""


def build(kind: Kind, device: int, token: int, *values: object, more: bytes = b"") -> bytes:
    """A request or an event."""
    return _message(kind, 0, device, token, kind.request.pack(*values) + more)


def respond(kind: Kind, device: int, token: int, *values: object, more: bytes = b"") -> bytes:
    """A response."""
    payload = (kind.response or _NOTHING).pack(*values) + more
    return _message(kind, RESPONSE, device, token, payload)


def _message(kind: Kind, direction: int, device: int, token: int, payload: bytes) -> bytes:
    type_ = (BUS if kind.bus else TRANSPORT) | direction
    size = HEADER.size + len(payload)
    return HEADER.pack(type_, kind.id, device, token, size) + payload


def head(data: bytes, what: str) -> tuple[int, int, int, int, int]:
    """The fields of a header: type, id, device number, token, size. LinuxError if it is none."""
    if len(data) < HEADER.size:
        raise LinuxError(EPROTO, f"{what}: {len(data)} bytes are not a message")
    type_, number, device, token, size = HEADER.unpack_from(data)
    return type_, number, device, token, size


class Got(NamedTuple):
    """A message that has come: its header, and its payload."""

    type: int
    id: int
    device: int
    token: int
    payload: bytes


def parse(data: bytes, what: str) -> Got:
    """The message at the beginning of what a carrier has brought.

    Linux: the size is that of the header at least and fits, and all behind it is zero.
    """
    type_, number, device, token, size = head(data, what)
    if not HEADER.size <= size <= min(len(data), LARGEST):
        raise LinuxError(EPROTO, f"{what}: msg_size {size} of {len(data)} bytes (pr28, Header)")
    if any(data[size:]):
        raise LinuxError(EPROTO, f"{what}: what follows {size} bytes is not zero (pr28, Header)")
    if type_ & ~(BUS | RESPONSE):
        raise LinuxError(EPROTO, f"{what}: type {type_:#x} has reserved bits (pr28, Header)")
    return Got(type_, number, device, token, data[HEADER.size : size])


def check_response(kind: Kind, sent: bytes, got: Got, more: int | None = 0) -> tuple[int, ...]:
    """The fields of the response to what was sent, of which ``more`` bytes follow (None: any).

    Linux: type, id, device number and token are those of the request, the size is exact.
    """
    type_, number, device, token, _ = HEADER.unpack_from(sent)
    name = kind.name
    if got.type == BUS | RESPONSE and got.id == ERROR.id:
        raise LinuxError(EIO, f"{name} was answered with ERROR")
    if got.type != type_ | RESPONSE:
        raise LinuxError(EPROTO, f"{name}: the response has type {got.type:#x} ({kind.clause})")
    if got.id != number:
        raise LinuxError(EPROTO, f"{name}: the response has id {got.id:#x} ({kind.clause})")
    if got.device != device:
        raise LinuxError(EPROTO, f"{name}: the response is of device {got.device} ({kind.clause})")
    if got.token != token:
        raise LinuxError(EPROTO, f"{name}: the response has token {got.token:#x} ({kind.clause})")
    layout = kind.response or _NOTHING
    extra = len(got.payload) - layout.size
    if extra < 0 or (more is not None and extra != more):
        size = HEADER.size + len(got.payload)
        raise LinuxError(EPROTO, f"{name}: the response has {size} bytes ({kind.clause})")
    return layout.unpack_from(got.payload)


def unpack(kind: Kind, got: Got) -> tuple[int, ...]:
    """The fields of an event, whose size is exact."""
    if len(got.payload) != kind.request.size:
        size = HEADER.size + len(got.payload)
        raise LinuxError(EINVAL, f"{kind.name} of {size} bytes ({kind.clause})")
    return kind.request.unpack(got.payload)
