"""Messages of virtio-msg over FF-A in words.

A message does not say which generation it is of; they differ in few messages. It is read as the
newest generation that it fits to the last byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg.generations import PR28, RFC2, V2
from ffabric.abi.virtio_msg.header import BUS, EVENT, RESPONSE, parse_header
from ffabric.abi.virtio_msg.message import Message, parse
from ffabric.abi.virtio_msg.narrow import NARROW, widen

UUIDS: Final = frozenset({ffa.DEVICE_UUID, ffa.DRIVER_UUID})
"""Services whose messages these are."""
_TAKEN: Final = bytes((BUS | RESPONSE, 0))


def message(data: bytes) -> str:
    """A message in words; what is wrong with it, if it is none."""
    try:
        header = parse_header(data)
        if (header.type, header.id) == (BUS | RESPONSE, 0):
            return "event taken"
        return str(read(data))
    except DecodeError as error:
        return _narrow(data) or f"malformed: {error}"


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
