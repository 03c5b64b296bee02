"""How the payload of a message is declared: a fixed part and, for some, a tail that it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Field, Layout, Record
from ffabric.abi.virtio_msg.header import HEADER_SIZE


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


class Body:
    """The payload of a message, per generation."""

    def __init__(self, *fields: Field, tail: Tail | None = None) -> None:
        self.layout: Layout = Layout("payload", "virtio-msg", *fields)
        self.tail = tail
        self._records: dict[int, Record] = {}

    def record(self, generation: int) -> Record:
        """The fixed part."""
        record = self._records.get(generation)
        if record is None:
            record = self._records[generation] = self.layout.at(generation)
        return record

    def build(self, generation: int, fields: dict[str, Any]) -> bytes:
        """The bytes; fields that are left out are 0. ValueError for an unknown or a wide one."""
        record, tail = self.record(generation), self.tail
        data = b""
        if tail is not None:
            data = bytes(fields.get(tail.name, b""))
            if tail.counted_by not in fields:
                fields = fields | {tail.counted_by: tail.unit.count(len(data))}
            known = {*record.names, tail.name}
        else:
            known = set(record.names)
        if fields.keys() - known:
            raise ValueError(f"no such field: {', '.join(sorted(fields.keys() - known))}")
        return record.pack(*[fields.get(name, 0) for name in record.names]) + data

    def parse(self, generation: int, data: bytes, path: str) -> tuple[dict[str, Any], int]:
        """The fields in `data`, a whole message, and how many bytes nothing describes."""
        record, tail = self.record(generation), self.tail
        fields: dict[str, Any] = dict(
            zip(record.names, record.unpack(data, HEADER_SIZE, path), strict=True)
        )
        at = HEADER_SIZE + record.size
        if tail is not None:
            size = tail.unit.size(fields[tail.counted_by])
            if tail.optional and at == len(data):
                size = 0
            if at + size > len(data):
                raise DecodeError(
                    f"{path}.{tail.counted_by}",
                    HEADER_SIZE + record.offsets[tail.counted_by],
                    fields[tail.counted_by],
                    f"{len(data) - at} bytes follow, not {size}",
                )
            fields[tail.name] = data[at : at + size]
            at += size
        return fields, len(data) - at


NOTHING: Final = Body()


class MessageType(Struct, frozen=True):
    """A kind of message; an event has no `response`."""

    id: int
    name: str
    request: Body = NOTHING
    response: Body | None = None
    bus: bool = False
