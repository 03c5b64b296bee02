"""Whole messages: bytes to fields and back, for every message there is."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg.body import NOTHING, MessageType
from ffabric.abi.virtio_msg.bus import BUS_MESSAGES
from ffabric.abi.virtio_msg.ffa import ERROR, FFA_MESSAGES
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.header import (
    BUS,
    HEADER_SIZE,
    RESPONSE,
    Header,
    build_header,
    parse_header,
)
from ffabric.abi.virtio_msg.socket import SOCKET_MESSAGES
from ffabric.abi.virtio_msg.transport import TRANSPORT

MESSAGES: Final[dict[tuple[int, int], MessageType]] = {
    (BUS if each.bus else 0, each.id): each
    for each in (*TRANSPORT, *BUS_MESSAGES, *FFA_MESSAGES, *SOCKET_MESSAGES)
}
"""By (type without the response bit, id); no two buses have an id of their own in common."""


class Message(Struct, frozen=True, gc=False):
    """A message with its fields by name."""

    kind: MessageType
    response: bool
    device: int
    token: int
    fields: dict[str, Any]
    excess: int = 0
    """Bytes of the message that nothing describes."""

    def __getitem__(self, name: str) -> Any:
        """A field."""
        return self.fields[name]

    def __str__(self) -> str:
        shown = " ".join(f"{name}={_shown(value)}" for name, value in self.fields.items())
        which = "" if self.kind.bus and not self.device else f" of device {self.device}"
        return f"{self.kind.name}{which}{' answered:' if self.response else ''} {shown}".rstrip()


def _shown(value: object) -> str:
    return value.hex() or "-" if isinstance(value, bytes) else f"{value:#x}"


def build(
    kind: MessageType,
    generation: Generation,
    /,
    *,
    device: int = 0,
    token: int = 0,
    response: bool = False,
    **fields: Any,
) -> bytes:
    """A message; ValueError for a field that it does not have or that does not fit."""
    body = kind.response if response else kind.request
    if body is None:
        raise ValueError(f"{kind.name} is an event: it has no response")
    payload = body.build(generation.number, fields) if body is not NOTHING or fields else b""
    type_ = (BUS if kind.bus else 0) | (RESPONSE if response else 0)
    return build_header(type_, kind.id, device, token, len(payload)) + payload


def kind_of(header: Header) -> MessageType | None:
    """What a header announces; None if there is no such message."""
    return MESSAGES.get((header.type & BUS, header.id))


def parse(data: bytes, generation: Generation, header: Header | None = None) -> Message:
    """The message in `data`, which may be longer than it is. Raises DecodeError.

    What it has beyond its fields (`excess`) is not looked at.

    `header` is the header in `data`, if it is known.
    """
    header = header or parse_header(data)
    kind = kind_of(header)
    if kind is None:
        raise DecodeError("message.msg_id", 1, header.id, "there is no such message")
    response = bool(header.type & RESPONSE)
    body = kind.response if response else kind.request
    if body is None:
        raise DecodeError("message.type", 0, header.type, f"{kind.name} has no response")
    if kind is ERROR and not response:
        raise DecodeError("message.type", 0, header.type, "ERROR is a response")
    if body is NOTHING:
        fields: dict[str, Any] = {}
        excess = header.size - HEADER_SIZE
    else:
        fields, excess = body.parse(generation.number, data[: header.size], kind.name)
    return Message(kind, response, header.device, header.token, fields, excess)
