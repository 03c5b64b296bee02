"""Memory that Linux shares with a device side: areas of 512 KiB that are kept, and larger ones.

Buffers of up to 64 KiB are copied into the kept areas, of which there are more when those are full;
a larger one has an area of its own until it is done (DEN0153, as Linux's DMA helper has it).
"""

from __future__ import annotations

from typing import Final

from ffabric.lab.virtio_msg.linux import wire
from ffabric.lab.virtio_msg.linux.requests import Requests
from ffabric.lab.virtio_msg.linux.wire import LinuxError

AREA_UNIT: Final = 4096
"""Areas are counted in pages of so many bytes."""
CHUNK: Final = 512 << 10
COPIED: Final = 64 << 10
_ALIGN = 64


class Buffer:
    """Memory of ours, at an own address and at a DMA address."""

    def __init__(self, area: int, ipa: int, offset: int, size: int, *, alone: bool = False) -> None:
        self.area, self.ipa, self.size, self.alone = area, ipa, size, alone
        self.dma = area << wire.AREA_SHIFT | offset


class Pool:
    """All areas of one bus."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._max_areas = 0
        self._areas: dict[int, tuple[int, int, int]] = {}
        """By number: own address, pages, handle."""
        self._free: dict[int, list[tuple[int, int]]] = {}
        """By number of a kept area: (offset, bytes) that are free."""

    @property
    def areas(self) -> list[int]:
        """Numbers of the areas that are shared."""
        return list(self._areas)

    async def open(self, max_areas: int) -> None:
        """The first kept area, of as many areas as there may be."""
        self._max_areas = max_areas
        await self._grow()

    async def _grow(self) -> None:
        area, _ = await self._share(CHUNK // AREA_UNIT, wire.ATTRIBUTES)
        self._free[area] = [(0, CHUNK)]

    async def _share(self, pages: int, attributes: int) -> tuple[int, int]:
        requests = self._requests
        area = next(n for n in range(1, 1 << 16) if n not in self._areas)
        if area > self._max_areas:
            raise LinuxError(wire.EBUSY, f"all {self._max_areas} areas are shared")
        ipa = requests.ffa.ram.allocate(pages)
        handle = await requests.ffa.share(requests.peer, ipa=ipa, pages=pages, tag=area)
        values = (area, handle, area, pages, attributes)
        fields, _ = await requests.request(wire.AREA_SHARE, 0, *values)
        if fields[0] != area or fields[1] != wire.OK:
            raise LinuxError(wire.EIO, f"AREA_SHARE of area {area}: {fields}")
        self._areas[area] = (ipa, pages, handle)
        return area, ipa

    async def get(self, size: int) -> Buffer:
        """Memory for a buffer or a virtqueue, all zeros."""
        if size > COPIED:
            pages = -(-size // AREA_UNIT)
            area, ipa = await self._share(pages, wire.ONE_SHOT)
            self._requests.ffa.memory.write(ipa, bytes(size))
            return Buffer(area, ipa, 0, size, alone=True)
        need = -(-size // _ALIGN) * _ALIGN
        for _ in range(2):
            for area, holes in self._free.items():
                for at, (offset, room) in enumerate(holes):
                    if room >= need:
                        holes[at : at + 1] = [(offset + need, room - need)]
                        ipa = self._areas[area][0] + offset
                        self._requests.ffa.memory.write(ipa, bytes(need))
                        return Buffer(area, ipa, offset, need)
            await self._grow()
        raise AssertionError("a new area has room")

    async def put(self, buffer: Buffer) -> None:
        """The device has done with it."""
        if buffer.alone:
            await self._unshare(buffer.area)
        elif buffer.area in self._free:
            offset = buffer.dma & (1 << wire.AREA_SHIFT) - 1
            self._free[buffer.area].append((offset, buffer.size))

    async def _unshare(self, area: int) -> None:
        """AREA_UNSHARE, then the memory is reclaimed: it is to be back."""
        requests = self._requests
        fields, _ = await requests.request(wire.AREA_UNSHARE, 0, area)
        if fields != (area, wire.OK):
            raise LinuxError(wire.EIO, f"AREA_UNSHARE of area {area}: {fields}")
        ipa, pages, handle = self._areas.pop(area)
        await requests.ffa.reclaim(handle)
        requests.ffa.ram.free(ipa, pages)

    def released(self, area: int) -> None:
        """EVENT_AREA_RELEASE: the device side has given up an area. Of one in use, all is over."""
        if area in self._areas:
            raise LinuxError(wire.EIO, f"area {area} was released while it is in use")

    async def close(self) -> None:
        """Take everything back."""
        self._free.clear()
        for area in self.areas:
            await self._unshare(area)
