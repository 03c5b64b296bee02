"""Memory management descriptors: transactions, their constituents, relinquish (DEN0140 v1.2, 1).

A transaction is a header, an array of receivers and, for all but most retrieve requests, a
composite descriptor with the address ranges: `ffabric.abi.ffa.memory_layouts` has them byte by
byte, and how versions differ. Parsing checks structure only: what is inside the data and where;
whether the values make sense is for the rules of the partition manager. What the bits of
attributes, permissions and flags mean is in `ffabric.abi.ffa.memory_words`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from msgspec import Struct
from msgspec import field as msgspec_field

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.memory_layouts import (
    COMPOSITE,
    CONSTITUENT,
    RECEIVER,
    RELINQUISH,
    TRANSACTION,
)
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.abi.layout import misfit
from ffabric.abi.words import MASK64

HANDLE_INVALID: Final = MASK64
HANDLE_HYPERVISOR: Final = 1 << 63
"""Who allocated a handle: the hypervisor, else the SPMC (DEN0140 v1.2, table 1.17)."""


class Receiver(Struct, gc=False):
    """An endpoint memory access descriptor; `impdef` are its two words of v1.2."""

    endpoint: int
    permissions: int = 0
    flags: int = 0
    composite_offset: int = 0
    impdef: tuple[int, int] = (0, 0)


class Transaction(Struct, gc=False):
    """A memory transaction descriptor, whole or its first fragment.

    `total_pages` and `range_count` are what the composite header declares, `constituents` the
    (address, pages) pairs that the parsed bytes contain. `header_length` is where the first of
    them stands, so that `header_length + 16 * range_count` is the length of the whole.
    """

    sender: int
    attributes: int = 0
    flags: int = 0
    handle: int = 0
    tag: int = 0
    receivers: list[Receiver] = msgspec_field(default_factory=list)
    total_pages: int = 0
    range_count: int = 0
    constituents: list[tuple[int, int]] = msgspec_field(default_factory=list)
    has_composite: bool = False
    header_length: int = 0


Access = tuple[int, int, int, tuple[int, int]]
"""What `Receiver` holds but for the offset: ID, permissions, flags and the two words of v1.2."""


class Relinquish(Struct, gc=False):
    """A descriptor to relinquish a memory region."""

    handle: int
    flags: int = 0
    endpoints: list[int] = msgspec_field(default_factory=list)


_COMPOSITE = COMPOSITE.at()
_CONSTITUENT = CONSTITUENT.at()
_RELINQUISH = RELINQUISH.at()
_RELINQUISH_ONE = struct.Struct("<" + "".join(each.code for each in _RELINQUISH.fields) + "H")
"""With the one endpoint that is legal."""
_RANGE_SIZE: Final = _CONSTITUENT.size
_COMPOSITE_SIZE: Final = _COMPOSITE.size
_unpack_composite = _COMPOSITE.struct.unpack_from
_unpack_ranges = _CONSTITUENT.struct.iter_unpack
_CONSTITUENT_CODE = "".join(field.code for field in _CONSTITUENT.fields)

_RECEIVER_16 = RECEIVER.at(V1_0)
_RECEIVER_32 = RECEIVER.at(V1_2)


def _receivers_16(data: bytes) -> list[Receiver]:
    return [Receiver(*fields) for fields in _RECEIVER_16.struct.iter_unpack(data)]


def _receivers_32(data: bytes) -> list[Receiver]:
    if len(data) == _RECEIVER_32.size:  # as nearly always
        endpoint, permissions, flags, offset, low, high = _RECEIVER_32.struct.unpack(data)
        return [Receiver(endpoint, permissions, flags, offset, (low, high))]
    return [
        Receiver(endpoint, permissions, flags, offset, (low, high))
        for endpoint, permissions, flags, offset, low, high in _RECEIVER_32.struct.iter_unpack(data)
    ]


_ReadReceivers = Callable[[bytes], list[Receiver]]


class _Head:
    """A built transaction up to its address ranges, or through the first of them, as one struct."""

    __slots__ = ("composite", "pack", "placement", "size", "unpack")

    def __init__(self, whole: struct.Struct, placement: tuple[int, ...], composite: int) -> None:
        self.pack: Callable[..., bytes] = whole.pack
        self.unpack: Callable[[bytes], tuple[int, ...]] = whole.unpack
        self.size: int = whole.size
        self.placement: tuple[int, ...] = placement
        """What the header says of the receivers."""
        self.composite: int = composite
        """What the receivers say of the composite descriptor."""


class _Shape:
    """A version's header, and the receivers that may follow it.

    `unpack` gives the header's five values, then size, count and offset of the receivers.
    Nearly all descriptors have one receiver and then either nothing (`bare`) or one address range
    (`plain`), with no gap anywhere: those are one struct.
    """

    def __init__(self, version: int, readers: dict[int, _ReadReceivers]) -> None:
        self.record = TRANSACTION.at(version)
        self.size = self.record.size
        self.receiver = RECEIVER.at(version)
        self.has_impdef = "impdef_low" in self.receiver.names
        self.unpack: Callable[[bytes], tuple[Any, ...]] = self.record.struct.unpack_from
        if "receiver_size" not in self.record.names:
            self.unpack = self._unpack_without_placement
        self.readers = readers
        self.head = functools.lru_cache(maxsize=64)(self._make_head)
        self.bare = self._make_head(1, with_composite=False)
        self.plain = self._make_head(1, with_composite=True, ranges=1)
        self.usual: dict[int, Callable[[bytes], Transaction | None]] = {}
        """Length of such a descriptor -> its parser (None: it is another one of that length)."""

    def _unpack_without_placement(self, data: bytes) -> tuple[Any, ...]:
        *values, count = self.record.struct.unpack_from(data)
        return (*values, self.receiver.size, count, self.size)

    def _make_head(self, count: int, with_composite: bool, ranges: int = 0) -> _Head:
        records = [self.record, *[self.receiver] * count, *[_COMPOSITE] * with_composite]
        records += [_CONSTITUENT] * ranges
        code = "<" + "".join(field.code for record in records for field in record.fields)
        whole = struct.Struct(code)
        start = self.size if count else 0
        size = self.receiver.size if count else 0
        said = {"receiver_size": size, "receiver_count": count, "receivers_offset": start}
        placement = tuple(said[name] for name in self.record.names[5:])
        composite = start + size * count if with_composite else 0
        return _Head(whole, placement, composite)


def _parse_bare(data: bytes) -> Transaction | None:
    """A descriptor of v1.2 with one receiver and nothing behind it, if it is that."""
    (
        sender, attributes, flags, handle, tag, size, count, start,
        endpoint, permissions, receiver_flags, composite, low, high,
    ) = _unpack_bare(data)  # fmt: skip
    if (size, count, start) != _PLACEMENT or composite:
        return None
    receiver = Receiver(endpoint, permissions, receiver_flags, 0, (low, high))
    return Transaction(sender, attributes, flags, handle, tag, [receiver], header_length=_BARE_SIZE)


def _parse_plain(data: bytes) -> Transaction | None:
    """A descriptor of v1.2 with one receiver and one address range, if it is that."""
    (
        sender, attributes, flags, handle, tag, size, count, start,
        endpoint, permissions, receiver_flags, composite, low, high,
        total_pages, range_count, address, pages,
    ) = _unpack_plain(data)  # fmt: skip
    if (size, count, start) != _PLACEMENT or composite != _AT_COMPOSITE or range_count != 1:
        return None
    receivers = [Receiver(endpoint, permissions, receiver_flags, composite, (low, high))]
    ranges = [(address, pages)]
    return Transaction(
        sender, attributes, flags, handle, tag, receivers,
        total_pages, 1, ranges, True, _AT_RANGES,  # noqa: FBT003 - in their order: by names it costs
    )  # fmt: skip


_V1_0_READERS: dict[int, _ReadReceivers] = {_RECEIVER_16.size: _receivers_16}
_V1_2_READERS: dict[int, _ReadReceivers] = {**_V1_0_READERS, _RECEIVER_32.size: _receivers_32}


class _Shapes(dict[int, _Shape]):
    def __missing__(self, version: int) -> _Shape:
        raise ValueError(f"{version:#x} is no FF-A version")


_SHAPES: Final = _Shapes(
    {
        V1_0: _Shape(V1_0, _V1_0_READERS),
        V1_1: _Shape(V1_1, _V1_0_READERS),
        V1_2: _Shape(V1_2, _V1_2_READERS),
        V1_3: _Shape(V1_3, _V1_2_READERS),
    }
)


_BARE, _PLAIN = _SHAPES[V1_2].bare, _SHAPES[V1_2].plain
_unpack_bare, _unpack_plain = _BARE.unpack, _PLAIN.unpack
_PLACEMENT, _BARE_SIZE = _BARE.placement, _BARE.size
_AT_COMPOSITE, _AT_RANGES = _PLAIN.composite, _PLAIN.size - _RANGE_SIZE
for _version in (V1_2, V1_3):
    _SHAPES[_version].usual = {_BARE.size: _parse_bare, _PLAIN.size: _parse_plain}


def _refuse(name: str, at: int | None, value: int, reason: str) -> DecodeError:
    return DecodeError(f"transaction.{name}", at, value, reason)


def _bad_receivers(data: bytes, shape: _Shape, size: int, count: int, start: int) -> DecodeError:
    """What is wrong with where the header says that the receivers are."""
    offsets = shape.record.offsets
    if size not in shape.readers:
        sizes = ", ".join(map(str, shape.readers))
        return _refuse("receiver_size", offsets.get("receiver_size"), size, f"not one of {sizes}")
    if start < shape.size or start % 16:
        at = offsets.get("receivers_offset")
        return _refuse("receivers_offset", at, start, "inside the header or not a multiple of 16")
    reason = f"the receivers end at {start + size * count:#x}, the data at {len(data):#x}"
    return _refuse("receiver_count", offsets["receiver_count"], count, reason)


def _composite_offset(receivers: list[Receiver], size: int, start: int) -> int:
    """The one offset that all receivers name (0: none does); DecodeError if two differ."""
    composite = 0
    for index, receiver in enumerate(receivers):
        offset = receiver.composite_offset
        if offset != composite and offset:
            if composite:
                raise _refuse(
                    f"receivers[{index}].composite_offset",
                    start + index * size + _RECEIVER_16.offsets["composite_offset"],
                    offset,
                    f"another receiver has {composite:#x}",
                )
            composite = offset
    return composite


def parse_transaction(data: bytes, version: int) -> Transaction:
    """The transaction in `data`, a snapshot of its first (or only) fragment.

    DecodeError if the structure is not that of `version`: something lies outside the data,
    overlaps the header, is misaligned or contradicts itself.
    """
    shape = _SHAPES[version]
    length = len(data)
    parse = shape.usual.get(length)
    if parse is not None:
        found = parse(data)
        if found is not None:
            return found
    if length < shape.size:
        raise DecodeError("transaction", 0, length, f"shorter than {shape.size} bytes")
    sender, attributes, flags, handle, tag, size, count, start = shape.unpack(data)
    if not count:
        return Transaction(sender, attributes, flags, handle, tag, header_length=shape.size)
    read = shape.readers.get(size)
    end = start + size * count
    if read is None or start < shape.size or start & 15 or end > length:
        raise _bad_receivers(data, shape, size, count, start)
    receivers = read(data[start:end])
    composite = receivers[0].composite_offset
    if count > 1:
        composite = _composite_offset(receivers, size, start)
    if not composite:
        return Transaction(sender, attributes, flags, handle, tag, receivers, header_length=end)
    ranges = composite + _COMPOSITE_SIZE
    if composite < end or composite & 7 or ranges > length:
        index = next(i for i, r in enumerate(receivers) if r.composite_offset)
        at = start + index * size + _RECEIVER_16.offsets["composite_offset"]
        reason = f"not a multiple of 8 between {end:#x} and {length - _COMPOSITE_SIZE:#x}"
        raise _refuse(f"receivers[{index}].composite_offset", at, composite, reason)
    total_pages, range_count = _unpack_composite(data, composite)
    stop = ranges + _RANGE_SIZE * range_count
    if stop > length:
        stop = length
        if (stop - ranges) % _RANGE_SIZE:
            raise _refuse("constituents", ranges, stop - ranges, "the data ends inside of one")
    return Transaction(
        sender,
        attributes,
        flags,
        handle,
        tag,
        receivers,
        total_pages,
        range_count,
        list(_unpack_ranges(data[ranges:stop])),
        has_composite=True,
        header_length=ranges,
    )


def parse_constituents(data: bytes) -> list[tuple[int, int]]:
    """The (address, pages) pairs of a later fragment; DecodeError if one is cut off."""
    if len(data) % _RANGE_SIZE:
        raise DecodeError("fragment", 0, len(data), f"not a multiple of {_RANGE_SIZE} bytes")
    return list(_unpack_ranges(data))


@functools.lru_cache(maxsize=16)
def _ranges_packer(count: int) -> Callable[..., bytes]:
    return struct.Struct("<" + _CONSTITUENT_CODE * count).pack


def build_constituents(constituents: Sequence[tuple[int, int]]) -> bytes:
    """The bytes of (address, pages) pairs; ValueError if one does not fit its field."""
    try:
        return _ranges_packer(len(constituents))(*chain.from_iterable(constituents))
    except struct.error as error:
        values = [*chain.from_iterable(constituents)]
        records = [_CONSTITUENT] * len(constituents)
        raise ValueError(misfit(records, values) or f"{CONSTITUENT.name}: {error}") from None


def build_transaction(transaction: Transaction, version: int) -> bytes:
    """The whole descriptor in the layout of `version`; ValueError if a value does not fit.

    With constituents (or `has_composite`) a composite descriptor follows the receivers and all
    of them name it; `total_pages` and `range_count` are counted unless they are set. Without
    receivers the header is that of a hypervisor's retrieve request: handle and zeros.
    """
    each = transaction
    ranges = each.constituents if each.constituents or each.has_composite else None
    return build_descriptor(
        version,
        (each.sender, each.attributes, each.flags, each.handle, each.tag),
        [(who.endpoint, who.permissions, who.flags, who.impdef) for who in each.receivers],
        ranges,
        total_pages=each.total_pages,
        range_count=each.range_count,
    )


def build_descriptor(
    version: int,
    header: tuple[int, int, int, int, int],
    receivers: Sequence[Access],
    ranges: Sequence[tuple[int, int]] | None = None,
    *,
    total_pages: int = 0,
    range_count: int = 0,
) -> bytes:
    """As `build_transaction`, of values alone.

    `header` is sender, attributes, flags, handle and tag. `ranges` None: no composite descriptor;
    `total_pages` and `range_count` 0: counted.
    """
    shape = _SHAPES[version]
    if len(receivers) == 1:
        ((endpoint, permissions, flags, impdef),) = receivers
        rest: tuple[int, ...] | None = () if ranges is None else None
        head = shape.bare
        if ranges and len(ranges) == 1:
            ((address, pages),) = ranges
            rest = (total_pages or pages, range_count or 1, address, pages)
            head = shape.plain
        if rest is not None:
            if shape.has_impdef:
                rest = (*impdef, *rest)
            try:
                return head.pack(
                    *header, *head.placement, endpoint, permissions, flags, head.composite, *rest
                )
            except struct.error:
                pass  # what does not fit is told below
    head = shape.head(len(receivers), ranges is not None)
    values = [*header, *head.placement]
    for endpoint, permissions, flags, impdef in receivers:
        values += (endpoint, permissions, flags, head.composite)
        values += impdef if shape.has_impdef else ()
    if ranges is not None:
        values += (total_pages or sum([pages for _, pages in ranges]), range_count or len(ranges))
    try:
        data = head.pack(*values)
    except struct.error as error:
        records = [shape.record, *[shape.receiver] * len(receivers)]
        records += [_COMPOSITE] * (ranges is not None)
        raise ValueError(misfit(records, values) or f"{TRANSACTION.name}: {error}") from None
    return data + build_constituents(ranges) if ranges else data


def fragments(data: bytes, header_length: int, limit: int) -> list[bytes]:
    """A built transaction cut into fragments of at most `limit` bytes, each of whole constituents.

    `header_length` is that of the parsed transaction. ValueError if the first fragment cannot
    hold the header.
    """
    if len(data) <= limit:
        return [data]
    if limit < header_length or limit < _RANGE_SIZE:
        raise ValueError(f"a fragment of {limit} bytes does not hold the header")
    first = limit - (limit - header_length) % _RANGE_SIZE
    step = limit - limit % _RANGE_SIZE
    return [data[:first], *(data[at : at + step] for at in range(first, len(data), step))]


def parse_relinquish(data: bytes) -> Relinquish:
    """The relinquish descriptor at the start of `data`; DecodeError if it does not fit."""
    if len(data) >= _RELINQUISH_ONE.size:
        handle, flags, count, endpoint = _RELINQUISH_ONE.unpack_from(data)
        if count == 1:
            return Relinquish(handle, flags, [endpoint])
    handle, flags, count = _RELINQUISH.unpack(data, 0, "relinquish")
    end = _RELINQUISH.size + 2 * count
    if end > len(data):
        at = _RELINQUISH.offsets["endpoint_count"]
        raise DecodeError("relinquish.endpoint_count", at, count, f"beyond {len(data)} bytes")
    ids = struct.unpack_from(f"<{count}H", data, _RELINQUISH.size)
    return Relinquish(handle, flags, list(ids))


def build_relinquish(relinquish: Relinquish) -> bytes:
    """The bytes of a relinquish descriptor; ValueError if a value does not fit."""
    ids = relinquish.endpoints
    head = _RELINQUISH.pack(relinquish.handle, relinquish.flags, len(ids))
    try:
        return head + struct.pack(f"<{len(ids)}H", *ids)
    except struct.error:
        raise ValueError(f"not all 16-bit endpoint IDs: {ids}") from None
