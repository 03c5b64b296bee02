"""Split virtqueues, from both sides (virtio 1.3, 2.7), as plain as can be.

Descriptors have 16 bytes: address, length, flags (1: next, 2: write, 4: indirect), next. The
available ring is flags, index, heads; the used ring flags, index, pairs of head and length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ffabric.lab.virtio_msg.linux.wire import EINVAL, EIO, LinuxError

DESCRIPTOR: Final = struct.Struct("<QIHH")
NEXT, WRITE, INDIRECT = 1, 2, 4
_U16 = struct.Struct("<H")
_USED = struct.Struct("<II")
Read = Callable[[int, int], bytes]
Write = Callable[[int, bytes], None]


class Parts(NamedTuple):
    """Where a virtqueue is: descriptors, available ring, used ring."""

    desc: int
    avail: int
    used: int


def parts(base: int, size: int) -> tuple[Parts, int]:
    """A virtqueue in one piece, each part aligned to 64 bytes as Linux does; bytes in all."""
    avail = base + 16 * size
    used = -(-(avail + 6 + 2 * size) // 64) * 64
    return Parts(base, avail, used), used + 6 + 8 * size - base


class DriverRing:
    """The driver's side of a virtqueue in its own memory at ``base``, to the device ``bias`` on."""

    def __init__(self, read: Read, write: Write, base: int, size: int) -> None:
        self.size = size
        self.at, self.bytes = parts(base, size)
        self._read, self._write = read, write
        self._free = list(range(size))
        self._chains: dict[int, list[int]] = {}
        self._added = self._seen = 0
        write(base, bytes(self.bytes))

    def add(self, pieces: Sequence[tuple[int, int, bool]], table: tuple[int, int] | None) -> int:
        """Make (address, bytes, writable) available: the head.

        With a ``table`` (own address, DMA address) they are in an indirect one (2.7.5.3).
        """
        entries = [
            DESCRIPTOR.pack(address, length, (WRITE if write else 0) | NEXT, index + 1)
            for index, (address, length, write) in enumerate(pieces)
        ]
        last = pieces[-1]
        entries[-1] = DESCRIPTOR.pack(last[0], last[1], WRITE if last[2] else 0, 0)
        if table is not None:
            head = self._free.pop()
            self._write(table[0], b"".join(entries))
            length = 16 * len(entries)
            self._put(head, DESCRIPTOR.pack(table[1], length, INDIRECT, 0))
            self._chains[head] = [head]
        else:
            if len(pieces) > len(self._free):
                raise LinuxError(EINVAL, f"{len(pieces)} descriptors of {self.size} are not free")
            taken = [self._free.pop() for _ in pieces]
            for at, (index, (address, length, write)) in enumerate(zip(taken, pieces, strict=True)):
                following = taken[at + 1] if at + 1 < len(taken) else 0
                flags = (WRITE if write else 0) | (NEXT if at + 1 < len(taken) else 0)
                self._put(index, DESCRIPTOR.pack(address, length, flags, following))
            head = taken[0]
            self._chains[head] = taken
        self._write(self.at.avail + 4 + 2 * (self._added % self.size), _U16.pack(head))
        self._added = self._added + 1 & 0xFFFF
        self._write(self.at.avail + 2, _U16.pack(self._added))
        return head

    def _put(self, index: int, entry: bytes) -> None:
        self._write(self.at.desc + 16 * index, entry)

    def used(self) -> list[tuple[int, int]]:
        """(head, bytes written) of what the device has used since the last time."""
        (index,) = _U16.unpack(self._read(self.at.used + 2, 2))
        done = []
        while self._seen != index:
            at = self.at.used + 4 + 8 * (self._seen % self.size)
            head, length = _USED.unpack(self._read(at, 8))
            if head not in self._chains:
                raise LinuxError(EIO, f"id {head} is not a head (virtio 1.3, 2.7.8)")
            self._free += self._chains.pop(head)
            self._seen = self._seen + 1 & 0xFFFF
            done.append((head, length))
        return done


class DeviceRing:
    """The device's side of a virtqueue, all of it by DMA address."""

    def __init__(self, read: Read, write: Write, size: int, at: Parts) -> None:
        self.size, self.at = size, at
        self._read, self._write = read, write
        self._taken = self._used = 0

    def take(self) -> tuple[int, list[tuple[int, int, bool]]] | None:
        """The next chain: its head, and (address, bytes, writable) of its pieces."""
        (index,) = _U16.unpack(self._read(self.at.avail + 2, 2))
        if index == self._taken:
            return None
        at = self.at.avail + 4 + 2 * (self._taken % self.size)
        (head,) = _U16.unpack(self._read(at, 2))
        self._taken = self._taken + 1 & 0xFFFF
        return head, self._chain(self.at.desc, self.size, head, inner=False)

    def _chain(
        self, table: int, count: int, index: int, *, inner: bool
    ) -> list[tuple[int, int, bool]]:
        pieces: list[tuple[int, int, bool]] = []
        while True:
            if index >= count or len(pieces) > self.size:
                raise LinuxError(EINVAL, f"descriptor {index} of {count} (virtio 1.3, 2.7.5)")
            entry = DESCRIPTOR.unpack(self._read(table + 16 * index, 16))
            address, length, flags, following = entry
            if flags & INDIRECT:
                if inner or flags & NEXT or pieces or length % 16:
                    raise LinuxError(EINVAL, "an indirect table that cannot be (2.7.5.3.1)")
                return self._chain(address, length // 16, 0, inner=True)
            pieces.append((address, length, bool(flags & WRITE)))
            if not flags & NEXT:
                return pieces
            index = following

    def give(self, head: int, written: int) -> None:
        """Give a chain back."""
        at = self.at.used + 4 + 8 * (self._used % self.size)
        self._write(at, _USED.pack(head, written))
        self._used = self._used + 1 & 0xFFFF
        self._write(self.at.used + 2, _U16.pack(self._used))
