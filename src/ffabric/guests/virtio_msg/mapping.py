"""How drivers' memory becomes reachable for devices over FF-A: static or dynamic.

*Static*: one pool is shared when the bus comes up (Linux: restricted-dma-pool). Virtqueues live in
it, and buffers are copied into it and out of it (bounced): no sharing per request, and nothing of
the driver's that happens to be beside a buffer is seen by the device. *Dynamic*: virtqueues and
buffers are shared where they are, in whole pages, and unshared after use: no copy, but two FF-A
transactions and two messages for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.virtio_msg.ffa import address, split_address
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.virtio.dma import Coherent, Mapped, NoRoom
from ffabric.guests.virtio_msg.attention import BusError
from ffabric.system.layout.memory_map import DMA_POOL
from ffabric.system.vcpu import OutOfMemory, Ram

if TYPE_CHECKING:
    from ffabric.guests.virtio_msg.bus_driver import DriverBus
    from ffabric.guests.virtio_msg.shared_areas import SharedArea


class StaticMapping:
    """Everything in one pool of `pages`, in memory of the VM's own, or that is ``reserved`` for it.

    Reserved memory is the region DMA_POOL of the VM's manifest, whose size is the pool's then.
    """

    def __init__(self, bus: DriverBus, pages: int, *, reserved: bool = False) -> None:
        self.pages: int = pages
        self._reserved = reserved
        self.shares: int = 0
        """How often memory was shared."""
        self._bus = bus
        self._number = 0
        self._pool = Ram(0, 0)

    async def open(self) -> None:
        """Share the pool."""
        ffa = self._bus.ffa
        if self._reserved:
            ipa, size = ffa.vcpu.region(DMA_POOL)
            self.pages = size // PAGE
        else:
            ipa = ffa.ram.allocate(self.pages)
        self._pool = Ram(ipa, self.pages * PAGE)
        self._number = (await self._bus.areas.share(ipa, self.pages)).number
        self.shares += 1

    def close(self) -> None:
        """Give the pool's pages back."""
        if not self._reserved and self._pool.size:
            self._bus.ffa.ram.free(self._pool.base, self.pages)
        self._pool = Ram(0, 0)

    async def allocate(self, size: int) -> Coherent:
        """Memory of the pool, zeroed."""
        ipa = self._take(size)
        self._bus.ffa.memory.write(ipa, bytes(pages_for(size) * PAGE))
        return Coherent(ipa, self._address(ipa), size)

    async def free(self, coherent: Coherent) -> None:
        """Back into the pool."""
        self._give(coherent.ipa, coherent.size)

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Bounce a buffer into the pool."""
        memory = self._bus.ffa.memory
        slot = self._take(size)
        if not from_device:
            memory.write(slot, memory.read(ipa, size))
        return Mapped(ipa, self._address(slot), size, from_device, slot)

    async def unmap(self, mapped: Mapped) -> None:
        """Bounce it out of the pool."""
        if mapped.from_device:
            memory = self._bus.ffa.memory
            memory.write(mapped.ipa, memory.read(mapped.key, mapped.size))
        self._give(mapped.key, mapped.size)

    async def abandon(self, given: Coherent | Mapped) -> None:
        """It stays taken: the device side has the pool as long as the bus is open."""

    def _take(self, size: int) -> int:
        try:
            return self._pool.allocate(pages_for(size))
        except OutOfMemory as error:
            raise NoRoom(f"the pool: {error}") from error

    def _give(self, ipa: int, size: int) -> None:
        if ipa in self._pool:  # not if the bus was closed
            self._pool.free(ipa, pages_for(size))

    def _address(self, ipa: int) -> int:
        return address(self._number, ipa - self._pool.base)


class DynamicMapping:
    """Everything shared for itself. What does not come back stays pinned, whoever frees it."""

    def __init__(self, bus: DriverBus) -> None:
        self.shares: int = 0
        """How often memory was shared."""
        self._bus = bus
        self._shared: dict[int, SharedArea] = {}
        self._coherent: dict[int, int] = {}
        """IPA -> pages."""

    async def open(self) -> None:
        """Nothing is shared yet."""

    def close(self) -> None:
        """Give back the pages of what was allocated and not freed."""
        for ipa, pages in self._coherent.items():
            self._bus.ffa.ram.free(ipa, pages)
        self._coherent.clear()
        self._shared.clear()

    async def allocate(self, size: int) -> Coherent:
        """Pages of their own, zeroed and shared."""
        ffa, pages = self._bus.ffa, pages_for(size)
        try:
            ipa = ffa.ram.allocate(pages)
        except OutOfMemory as error:
            raise NoRoom(str(error)) from error
        ffa.memory.write(ipa, bytes(pages * PAGE))
        try:
            area = await self._share(ipa, pages)
        except (BusError, NoRoom):
            ffa.ram.free(ipa, pages)
            raise
        self._coherent[ipa] = pages
        return Coherent(ipa, address(area.number), size)

    async def free(self, coherent: Coherent) -> None:
        """Unshare them."""
        await self._unshare(split_address(coherent.address)[0])
        pages = self._coherent.pop(coherent.ipa, 0)
        if pages:
            self._bus.ffa.ram.free(coherent.ipa, pages)

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Share the pages of a buffer."""
        offset = ipa % PAGE
        area = await self._share(ipa - offset, pages_for(offset + size))
        return Mapped(ipa, address(area.number, offset), size, from_device, area.number)

    async def unmap(self, mapped: Mapped) -> None:
        """Unshare them."""
        await self._unshare(mapped.key)

    async def abandon(self, given: Coherent | Mapped) -> None:
        """Unshare it: it is out of use until the device side has provably given it back."""
        if isinstance(given, Coherent):
            await self.free(given)
        else:
            await self.unmap(given)

    async def _share(self, ipa: int, pages: int) -> SharedArea:
        area = await self._bus.areas.share(ipa, pages)
        self.shares += 1
        self._shared[area.number] = area
        return area

    async def _unshare(self, number: int) -> None:
        area = self._shared.pop(number, None)
        if area is not None:
            await self._bus.areas.unshare(area)
