"""Messages of virtio-msg over FF-A in words.

A message does not say which generation it is of; they differ in few messages. It is read as the
newest generation that it fits to the last byte. Of those with 40 bytes, whose ids mean something
else in alpha and in rfc1, both meanings are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from struct import Struct
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import early, ffa
from ffabric.abi.virtio_msg.generations import PR28, RFC2, V2
from ffabric.abi.virtio_msg.header import BUS, EVENT, RESPONSE, parse_header
from ffabric.abi.virtio_msg.message import Message, parse
from ffabric.abi.virtio_msg.narrow import NARROW, widen

UUIDS: Final = frozenset({ffa.DEVICE_UUID, ffa.DRIVER_UUID})
"""Services whose messages these are."""
_EARLY_BUS: Final[dict[int, tuple[str, Struct, tuple[str, ...]]]] = {
    early.BUS_ERROR: ("ERROR", Struct("<"), ()),
    early.ACTIVATE: ("ACTIVATE", Struct("<I"), ("version",)),
    early.DEACTIVATE: ("DEACTIVATE", Struct("<"), ()),
    early.CONFIGURE: ("CONFIGURE", Struct("<Q"), ("features",)),
    early.AREA_SHARE: ("AREA_SHARE", early.AREA, ("area", "handle")),
    early.AREA_UNSHARE: ("AREA_UNSHARE", early.AREA, ("area",)),
}
"""By id: name and fields of the messages of the bus of 2024."""
_TAKEN: Final = bytes((BUS | RESPONSE, 0))


def message(data: bytes) -> str:
    """A message in words; what is wrong with it, if it is none."""
    try:
        header = parse_header(data)
        if (header.type, header.id) == (BUS | RESPONSE, 0):
            return "event taken"
        return str(read(data))
    except DecodeError as error:
        return _narrow(data) or _early(data) or f"malformed: {error}"


def _narrow(data: bytes) -> str:
    """A message whose header has 6 bytes, in words; nothing if it is none.

    Linux of July 2025 leaves in the registers what was there behind it.
    """
    size = int.from_bytes(data[4:NARROW], "little")
    if not NARROW <= size <= len(data):
        return ""
    if size == NARROW and data[0] & RESPONSE and (data[1] & EVENT or data[:2] == _TAKEN):
        return "event taken (rfc2)"
    with suppress(DecodeError):
        found = parse(widen(data[:size], 0), RFC2)
        if not found.excess:
            return f"{found} (rfc2)"
    return ""


def _early(data: bytes) -> str:
    """A message of 40 bytes, in words; nothing if it is none."""
    if len(data) < early.SIZE or any(data[early.SIZE :]) or data[0] & ~(BUS | RESPONSE):
        return ""
    found = early.parse(data)
    answered = " answered" if found.is_response else ""
    if found.is_bus:
        told = _EARLY_BUS.get(found.id)
        if told is None:
            return ""
        name, layout, names = told
        values = layout.unpack_from(found.payload) if not found.is_response else ()
        shown = "".join(f" {key}={value:#x}" for key, value in zip(names, values, strict=False))
        return f"{name}{answered}{shown} (alpha or rfc1)"
    kinds = {name: ids.get(found.id) for name, ids in early.IDS.items()}
    told_kinds = [
        f"{kind if isinstance(kind, str) else kind.name} ({name})"
        for name, kind in kinds.items()
        if kind is not None
    ]
    if not told_kinds:
        return ""
    return f"{' or '.join(told_kinds)} of device {found.device:#x}{answered}"


def read(data: bytes) -> Message:
    """The message in ``data``, in one of its generations. Raises DecodeError if it is of none."""
    try:
        newest = parse(data, V2)
    except DecodeError:
        return parse(data, PR28)
    if not newest.excess:
        return newest
    with suppress(DecodeError):
        older = parse(data, PR28)
        if not older.excess:
            return older
    return newest


def registers(words: Sequence[int]) -> str:
    """A message in x4 to x17."""
    return "busy" if tuple(words) == ffa.BUSY else message(ffa.from_registers(words))
