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
    read_header,
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
    return encode(kind, generation, device, token, fields, response=response)


def encode(
    kind: MessageType,
    generation: Generation,
    device: int,
    token: int,
    fields: dict[str, Any],
    *,
    response: bool = False,
) -> bytes:
    """As `build`, for who has the fields as a dictionary."""
    body = kind.response if response else kind.request
    if body is None:
        raise ValueError(f"{kind.name} is an event: it has no response")
    type_ = (BUS if kind.bus else 0) | (RESPONSE if response else 0)
    return body.form(generation.number).build(type_, kind.id, device, token, fields)


def kind_of(header: Header) -> MessageType | None:
    """What a header announces; None if there is no such message."""
    return MESSAGES.get((header.type & BUS, header.id))


def parse(data: bytes, generation: Generation) -> Message:
    """The message in `data`, which may be longer than it is. Raises DecodeError.

    What it has beyond its fields (`excess`) is not looked at.
    """
    type_, id_, device, token, size = read_header(data)
    kind = MESSAGES.get((type_ & BUS, id_))
    if kind is None:
        raise DecodeError("message.msg_id", 1, id_, "there is no such message")
    response = bool(type_ & RESPONSE)
    body = kind.response if response else kind.request
    if body is None:
        raise DecodeError("message.type", 0, type_, f"{kind.name} has no response")
    if kind is ERROR and not response:
        raise DecodeError("message.type", 0, type_, "ERROR is a response")
    if body is NOTHING:
        return Message(kind, response, device, token, {}, size - HEADER_SIZE)
    fields, excess = body.form(generation.number).parse(data, size, kind.name)
    return Message(kind, response, device, token, fields, excess)
