"""How the payload of a message is declared: a fixed part and, for some, a tail that it counts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Field, Layout, Record
from ffabric.abi.virtio_msg.header import (
    HEADER_FIELDS,
    HEADER_FORMAT,
    HEADER_SIZE,
    build_header,
)


class Unit(Struct, frozen=True):
    """What a tail consists of: its bytes from the count, the count from its bytes."""

    name: str
    size: Callable[[int], int]
    count: Callable[[int], int]


BYTES: Final = Unit("bytes", lambda count: count, lambda size: size)
WORDS: Final = Unit("32-bit words", lambda count: 4 * count, lambda size: size // 4)
BITMAP: Final = Unit("bits", lambda count: -(-count // 8), lambda size: 8 * size)


class Tail(Struct, frozen=True):
    """Bytes after the fixed part, as many units as its field `counted_by` says.

    `optional`: they may be left out, whatever the count says.
    """

    name: str
    counted_by: str
    unit: Unit
    optional: bool = False


class Form:
    """The payload of one generation, compiled with the header before it: one `struct` for both.

    A message is packed and unpacked in one step, as most that is sent is short.
    """

    def __init__(self, record: Record, tail: Tail | None) -> None:
        self.record = record
        self.tail = tail
        self.names: tuple[str, ...] = record.names
        self.known: frozenset[str] = frozenset(record.names) | ({tail.name} if tail else set())
        self._whole = struct.Struct(HEADER_FORMAT + record.struct.format.removeprefix("<"))
        self.size: int = self._whole.size
        """Bytes of header and fixed part."""

    def build(self, type_: int, id_: int, device: int, token: int, fields: dict[str, Any]) -> bytes:
        """A whole message; fields that are left out are 0. ValueError for one that misfits."""
        tail, data = self.tail, b""
        if tail is not None:
            data = bytes(fields.get(tail.name, b""))
            if tail.counted_by not in fields:
                fields = fields | {tail.counted_by: tail.unit.count(len(data))}
        if not fields.keys() <= self.known:
            unknown = ", ".join(sorted(fields.keys() - self.known))
            raise ValueError(f"no such field: {unknown}")
        values = [fields.get(name, 0) for name in self.names]
        size = self.size + len(data)
        try:
            return self._whole.pack(type_, id_, device, token, size, *values) + data
        except struct.error:
            header = build_header(type_, id_, device, token, size - HEADER_SIZE)
            return header + self.record.pack(*values) + data  # one of them says what misfits

    def parse(self, data: bytes, size: int, path: str) -> tuple[dict[str, Any], int]:
        """The fields in ``data``, of which ``size`` bytes are the message.

        With them comes how many bytes nothing describes. Raises DecodeError.
        """
        at = self.size
        if at > size:
            self.record.unpack(data[:size], HEADER_SIZE, path)  # which says so
        values = self._whole.unpack_from(data)
        fields: dict[str, Any] = dict(zip(self.names, values[HEADER_FIELDS:], strict=True))
        tail = self.tail
        if tail is not None:
            count = tail.unit.size(fields[tail.counted_by])
            if tail.optional and at == size:
                count = 0
            if at + count > size:
                raise DecodeError(
                    f"{path}.{tail.counted_by}",
                    HEADER_SIZE + self.record.offsets[tail.counted_by],
                    fields[tail.counted_by],
                    f"{size - at} bytes follow, not {count}",
                )
            fields[tail.name] = data[at : at + count]
            at += count
        return fields, size - at


class Body:
    """The payload of a message, per generation."""

    def __init__(self, *fields: Field, tail: Tail | None = None) -> None:
        self.layout: Layout = Layout("payload", "virtio-msg", *fields)
        self.tail = tail
        self._forms: dict[int, Form] = {}

    def form(self, generation: int) -> Form:
        """Of one generation, compiled."""
        form = self._forms.get(generation)
        if form is None:
            form = self._forms[generation] = Form(self.layout.at(generation), self.tail)
        return form

    def record(self, generation: int) -> Record:
        """The fixed part."""
        return self.form(generation).record


NOTHING: Final = Body()


class MessageType(Struct, frozen=True, eq=False):
    """A kind of message; an event has no `response`. Each is there once, and equal to itself."""

    id: int
    name: str
    request: Body = NOTHING
    response: Body | None = None
    bus: bool = False
