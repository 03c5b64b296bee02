"""Memory that a back end has in common with its front end, and with nobody else.

It is a file of its own: what is handed over with it is only what was put into it.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

from ffabric.machine.host import sealed
from ffabric.machine.host.vhost_user.front_end import Region

UNIT: Final = 64
"""Bytes that are allocated at least."""
_U16 = struct.Struct("@H")


class Room:
    """A part of a file from which bytes are allocated: `size` of them from offset `base` on."""

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.size = size
        self._used = bytearray(size // UNIT)

    def allocate(self, size: int) -> int | None:
        """The offset of so many bytes that are free, aligned to a granule; None if none are."""
        count = -(-size // UNIT)
        at = self._used.find(bytes(count))
        if at < 0:
            return None
        self._used[at : at + count] = b"\1" * count
        return self.base + at * UNIT

    def free(self, offset: int, size: int) -> None:
        """Give bytes back that were allocated."""
        at, count = (offset - self.base) // UNIT, -(-size // UNIT)
        self._used[at : at + count] = bytes(count)


class PrivateMemory:
    """`size` bytes, which the back end knows from `address` on; here they are named by offset."""

    def __init__(self, name: str, size: int, address: int) -> None:
        self.size = size
        self.address = address
        self._fd = sealed.create(f"ffabric:{name}", size)
        try:
            self._bytes = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        self.region: Region = Region(address, size, self._fd, 0)

    def close(self) -> None:
        """Give it back. May be called twice."""
        if self._fd >= 0:
            self._bytes.close()
            os.close(self._fd)
            self._fd = -1

    def read16(self, offset: int) -> int:
        """A word, by one access."""
        value: int = _U16.unpack_from(self._bytes, offset)[0]
        return value

    def write16(self, offset: int, value: int) -> None:
        """Store a word, by one access."""
        _U16.pack_into(self._bytes, offset, value)

    def read(self, offset: int, n: int) -> bytes:
        """A copy of `n` bytes."""
        return self._bytes[offset : offset + n]

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes."""
        self._bytes[offset : offset + len(data)] = data
