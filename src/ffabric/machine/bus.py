"""The bus: devices in the physical address spaces.

A device is seen in the Secure space, in the Non-secure one, or in both; two devices may stand at
one address if their spaces differ, as the views of a GIC do.
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple, Protocol

import msgspec

from ffabric.machine.memory import MemoryFault


class Device(Protocol):
    """Registers of a device. `size` is 1, 2, 4 or 8 bytes, and values fit in it.

    An engine may split an access of 8 bytes into two of 4.
    """

    def read(self, offset: int, size: int) -> int:
        """The value of the `size` bytes at `offset`."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Store `value` in the `size` bytes at `offset`."""


class Region(msgspec.Struct, frozen=True):
    """Where a device stands: `secure` None is both spaces."""

    base: int
    end: int
    device: Device
    secure: bool | None


class _Space(NamedTuple):
    """The regions of one physical address space, by address, and the base of each."""

    bases: list[int]
    regions: list[Region]


class Bus:
    """The devices of a machine."""

    __slots__ = ("_spaces", "regions")

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self._spaces = {False: _Space([], []), True: _Space([], [])}

    def add(self, base: int, size: int, device: Device, *, secure: bool | None) -> Region:
        """Put `device` at `base` in one space (None: in both); ValueError if it overlaps there."""
        if base < 0 or size <= 0:
            raise ValueError(f"no device can take {size:#x} bytes at {base:#x}")
        end = base + size
        region = Region(base, end, device, secure)
        spaces = self._spaces.values() if secure is None else (self._spaces[secure],)
        for bases, regions in spaces:
            at = bisect_left(bases, end)  # the one before begins below the end
            if at and regions[at - 1].end > base:
                other = regions[at - 1].base
                raise ValueError(f"device at {base:#x} overlaps the one at {other:#x}")
        for bases, regions in spaces:
            at = bisect_left(bases, base)
            bases.insert(at, base)
            regions.insert(at, region)
        self.regions.append(region)
        return region

    def remove(self, region: Region) -> None:
        """Take the device of a region that `add` made off the bus."""
        self.regions.remove(region)
        for bases, regions in self._spaces.values():
            if region in regions:
                at = regions.index(region)
                del bases[at], regions[at]

    def find(self, pa: int, *, secure: bool | None = None) -> Region | None:
        """The device region at `pa` in a space (None: in any, the Non-secure one first)."""
        for space in (False, True) if secure is None else (secure,):
            bases, regions = self._spaces[space]
            index = bisect_right(bases, pa) - 1
            if index >= 0 and pa < regions[index].end:
                return regions[index]
        return None

    def read(self, pa: int, size: int, *, secure: bool) -> int:
        """Read `size` bytes of the device at `pa`; MemoryFault if there is none in that space."""
        region = self._region(pa, size, secure=secure)
        return region.device.read(pa - region.base, size)

    def write(self, pa: int, size: int, value: int, *, secure: bool) -> None:
        """Write `size` bytes of the device at `pa`; MemoryFault if there is none in that space."""
        region = self._region(pa, size, secure=secure)
        region.device.write(pa - region.base, size, value)

    def _region(self, pa: int, size: int, *, secure: bool) -> Region:
        region = self.find(pa, secure=secure)
        if region is None:
            space = "Secure" if secure else "Non-secure"
            raise MemoryFault(pa, f"no device there in the {space} space")
        if pa + size > region.end:
            raise MemoryFault(pa, f"{size} bytes run over the end of the device")
        return region
