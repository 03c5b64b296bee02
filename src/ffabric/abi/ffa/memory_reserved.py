"""Reserved bytes of memory descriptors that are not zero (DEN0140 v1.2, section 1; DEN0077A v1.0).

The tables of v1.0 have them MBZ, those of later versions SBZ; `ffabric.abi.ffa.memory` declares
both. Whoever packs a descriptor writes zeros, and parsing skips what stands there.
"""

from __future__ import annotations

from collections.abc import Iterator

from ffabric.abi.ffa.memory import Transaction
from ffabric.abi.ffa.memory_layouts import COMPOSITE, CONSTITUENT, RECEIVER, TRANSACTION
from ffabric.abi.ffa.rxtx import DESCRIPTOR
from ffabric.abi.ffa.version import V1_0, V1_1
from ffabric.abi.layout import Record

Dirty = tuple[str, int, bytes]
"""The structure, the byte offset of a reserved field in the data, and what stands there."""


def _in_record(record: Record, data: bytes, at: int) -> Iterator[Dirty]:
    for _, where, content in record.dirty(data, at):
        yield record.name, where, content


def in_headers(data: bytes, version: int) -> Iterator[Dirty]:
    """Those of the transaction descriptor and its receivers, in a first fragment that parses."""
    header = TRANSACTION.at(version)
    yield from _in_record(header, data, 0)
    said = header.read(data)
    receiver = RECEIVER.at(version)
    if said.get("receiver_size", receiver.size) != receiver.size:
        receiver = RECEIVER.at(V1_1)  # which a v1.2 sender may use, too
    start = said.get("receivers_offset", header.size)
    for at in range(start, start + said["receiver_count"] * receiver.size, receiver.size):
        yield from _in_record(receiver, data, at)


def in_ranges(data: bytes, version: int, sent: Transaction | None = None) -> Iterator[Dirty]:
    """Those of the composite descriptor and its address ranges; without ``sent``, of ranges alone.

    ``data`` is the first fragment of ``sent``, or a later one.
    """
    start = 0
    if sent is not None:
        if not sent.has_composite:
            return
        start = sent.header_length
        composite = COMPOSITE.at(version)
        yield from _in_record(composite, data, start - composite.size)
    yield from in_constituents(data, version, start, len(data))


def in_constituents(data: bytes, version: int, start: int, end: int) -> Iterator[Dirty]:
    """Those of the address ranges between two offsets."""
    record = CONSTITUENT.at(version)
    for at in range(start, end - record.size + 1, record.size):
        yield from _in_record(record, data, at)


def in_buffers(data: bytes) -> Iterator[Dirty]:
    """Those of an endpoint RX/TX descriptor of v1.0 that parses, and of what it refers to."""
    header, composite = DESCRIPTOR.at(V1_0), COMPOSITE.at(V1_0)
    yield from _in_record(header, data, 0)
    _, *offsets = header.unpack(data)
    for at in offsets:
        yield from _in_record(composite, data, at)
        _, count = composite.unpack(data, at)
        start = at + composite.size
        yield from in_constituents(data, V1_0, start, start + count * CONSTITUENT.at(V1_0).size)
