"""Frames of a Replay Protected Memory Block (JEDEC JESD84-B51, eMMC 5.1, section 6.6.22).

A frame has 512 bytes, and numbers are big-endian in it. A request of several blocks is several
frames, of which the last one has the message authentication code: HMAC-SHA-256 of what follows the
code itself in each of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError

FRAME: Final = 512
BLOCK: Final = 256
"""Bytes of data in a frame."""
KEY: Final = 32
UNIT: Final = (128 << 10) // BLOCK
"""Blocks of what a partition's size is a multiple of (EXT_CSD[168], RPMB_SIZE_MULT)."""

MOST_PARTS: Final = 127
"""Partitions of one such unit on a card, with a block for each: addresses have 16 bits."""

_LAYOUT: Final = Layout(">196s32s256s16sIHHHH")
_SIGNED_FROM: Final = 196 + 32


class Type(IntEnum):
    """What a frame asks for; its answer has the number shifted by 8."""

    PROGRAM_KEY = 1
    READ_COUNTER = 2
    WRITE = 3
    READ = 4
    RESULT = 5


class Result(IntEnum):
    """What came of a request."""

    OK = 0
    GENERAL = 1
    AUTHENTICATION = 2
    COUNTER = 3
    ADDRESS = 4
    WRITE = 5
    READ = 6
    NO_KEY = 7


class Frame(Struct):
    """One frame."""

    type: int
    data: bytes = bytes(BLOCK)
    nonce: bytes = bytes(16)
    counter: int = 0
    address: int = 0
    count: int = 0
    result: int = 0
    mac: bytes = bytes(KEY)

    def encoded(self) -> bytes:
        """Its bytes."""
        return _LAYOUT.pack(
            bytes(196), self.mac, self.data.ljust(BLOCK, b"\0"), self.nonce, self.counter,
            self.address, self.count, self.result, self.type,
        )  # fmt: skip


def parse(data: bytes) -> list[Frame]:
    """The frames that ``data`` is; DecodeError if it is no number of whole ones."""
    if not data or len(data) % FRAME:
        raise DecodeError("rpmb", 0, len(data), f"not a multiple of {FRAME} bytes")
    frames = []
    for at in range(0, len(data), FRAME):
        _, mac, block, nonce, counter, address, count, result, type_ = _LAYOUT.unpack_from(data, at)
        frames.append(Frame(type_, block, nonce, counter, address, count, result, mac))
    return frames


def build(frames: Iterable[Frame]) -> bytes:
    """The bytes of frames."""
    return b"".join(frame.encoded() for frame in frames)


def code_of(key: bytes, frames: Iterable[Frame]) -> bytes:
    """The message authentication code of frames."""
    import hmac  # noqa: PLC0415 - most want the constants alone

    signed = b"".join(frame.encoded()[_SIGNED_FROM:] for frame in frames)
    return hmac.digest(key, signed, "sha256")


def signed(key: bytes, frames: list[Frame]) -> list[Frame]:
    """Frames, of which the last one has their code."""
    frames[-1].mac = bytes(KEY)
    frames[-1].mac = code_of(key, frames)
    return frames


def is_signed(key: bytes, frames: list[Frame]) -> bool:
    """Whether the last frame has their code."""
    import hmac  # noqa: PLC0415

    return hmac.compare_digest(frames[-1].mac, code_of(key, frames))
