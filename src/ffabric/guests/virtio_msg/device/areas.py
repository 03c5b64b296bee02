"""Memory that a driver side has shared, as its devices see it: areas by number.

A DMA address is an area's number and an offset in it. An access is inside one area, or it is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ffabric.abi.virtio_msg.ffa import AREA_SHIFT
from ffabric.guests.virtio.dma import BadAddress
from ffabric.machine.access import DataAbort

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess


class Area:
    """Retrieved memory: `pieces` of (IPA, bytes), one buffer to the driver."""

    def __init__(self, number: int, handle: int, pieces: Sequence[tuple[int, int]]) -> None:
        self.number = number
        self.handle = handle
        self.pieces: list[tuple[int, int]] = []
        for ipa, size in pieces:
            if self.pieces and sum(self.pieces[-1]) == ipa:
                first, before = self.pieces.pop()
                self.pieces.append((first, before + size))
            else:
                self.pieces.append((ipa, size))
        self.size: int = sum(size for _, size in self.pieces)

    def split(self, offset: int, size: int) -> list[tuple[int, int]]:
        """(IPA, bytes) of a part, which must be inside."""
        parts = []
        for ipa, length in self.pieces:
            if offset < length and size:
                count = min(size, length - offset)
                parts.append((ipa + offset, count))
                offset += count
                size -= count
            offset -= length
        return parts


class Areas:
    """All areas of one driver. It is the `Dma` of the driver's devices."""

    def __init__(self, memory: GuestAccess, shift: int = AREA_SHIFT) -> None:
        self._memory = memory
        self._shift = shift
        self._mask = (1 << shift) - 1
        self._areas: dict[int, Area] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._areas

    def __len__(self) -> int:
        return len(self._areas)

    def __iter__(self) -> Iterator[Area]:
        return iter(list(self._areas.values()))

    def address(self, number: int) -> int:
        """Where an area begins."""
        return number << self._shift

    def add(self, area: Area) -> None:
        """An area more, with a number that is free."""
        self._areas[area.number] = area

    def remove(self, number: int) -> Area | None:
        """Take an area away, if there is one of that number."""
        return self._areas.pop(number, None)

    def find(self, address: int, size: int) -> tuple[Area, int]:
        """The area of an access, and the offset in it. Raises BadAddress."""
        number, offset = address >> self._shift, address & self._mask
        area = self._areas.get(number)
        if area is None:
            raise BadAddress(address, size, f"there is no area {number}")
        if offset + size > area.size:
            raise BadAddress(address, size, f"area {number} has {area.size:#x} bytes")
        return area, offset

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Judge an access without making it: all areas can be read and written."""
        self.find(address, size)

    def read16(self, address: int) -> int:
        """A word, by one access."""
        area, offset = self.find(address, 2)
        first, length = area.pieces[0]
        try:
            if offset < length:
                return self._memory.read16(first + offset)
            return self._memory.read16(area.split(offset, 2)[0][0])
        except DataAbort as abort:
            raise BadAddress(address, 2, str(abort)) from abort

    def write16(self, address: int, value: int) -> None:
        """Store a word, by one access."""
        area, offset = self.find(address, 2)
        first, length = area.pieces[0]
        try:
            if offset < length:
                self._memory.write16(first + offset, value)
            else:
                self._memory.write16(area.split(offset, 2)[0][0], value)
        except DataAbort as abort:
            raise BadAddress(address, 2, str(abort)) from abort

    def read(self, address: int, size: int) -> bytes:
        """A copy of `size` bytes, each read once."""
        area, offset = self.find(address, size)
        first, length = area.pieces[0]
        try:
            if offset + size <= length:
                return self._memory.read(first + offset, size)
            return b"".join([self._memory.read(ipa, n) for ipa, n in area.split(offset, size)])
        except DataAbort as abort:
            raise BadAddress(address, size, str(abort)) from abort

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        size = len(data)
        area, offset = self.find(address, size)
        first, length = area.pieces[0]
        try:
            if offset + size <= length:
                self._memory.write(first + offset, data)
                return
            done = 0
            for ipa, count in area.split(offset, size):
                self._memory.write(ipa, data[done : done + count])
                done += count
        except DataAbort as abort:
            raise BadAddress(address, size, str(abort)) from abort
