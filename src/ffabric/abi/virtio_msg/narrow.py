"""Messages with a header of 6 bytes: virtio-msg rfc2, which Linux's patches of July 2025 speak.

The header has type, id, device and size, and no token; the rest is that of `Generation` RFC2. A
message is *widened* where it comes in and *narrowed* where it goes out: in between it has a header
of 8 bytes, as all others. What is sent is zero behind its size, which tells the two apart.
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.virtio_msg.header import HEADER_SIZE as WIDE

NARROW: Final = 6
"""Bytes of a header."""
_SIZE, _MORE = 4, WIDE - NARROW
_VERSION: Final = bytes((2, 0x80, 0, 0, 24, 0))
"""The header of a VERSION, the first message of the bus over FF-A."""


def widen(data: bytes, token: int) -> bytes:
    """A message with a token. What is no message has a size that is none afterwards, too."""
    size = int.from_bytes(data[_SIZE:NARROW], "little") + _MORE & 0xFFFF
    return (
        data[:_SIZE].ljust(_SIZE, b"\0")
        + token.to_bytes(2, "little")
        + size.to_bytes(2, "little")
        + data[NARROW:]
    )


def narrow(message: bytes) -> bytes:
    """A message without its token. ValueError for what is none."""
    if len(message) < WIDE:
        raise ValueError(f"{len(message)} bytes are not a message")
    size = int.from_bytes(message[NARROW:WIDE], "little") - _MORE
    return message[:_SIZE] + size.to_bytes(2, "little") + message[WIDE:]


def is_narrow(data: bytes) -> bool:
    """Whether this is a message with a header of 6 bytes, and nothing but zeros behind it.

    A VERSION is known by its header alone: Linux of July 2025 leaves in the registers of a direct
    message what was there.
    """
    return data[:NARROW] == _VERSION or _is_whole(data, _SIZE, NARROW)


def is_wide(data: bytes) -> bool:
    """Whether it is one with a header of 8 bytes."""
    return _is_whole(data, NARROW, WIDE)


def _is_whole(data: bytes, at: int, least: int) -> bool:
    size = int.from_bytes(data[at : at + 2], "little")
    return least <= size <= len(data) and not any(data[size:])
