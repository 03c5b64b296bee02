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
from ffabric.guests.virtio.dma import Coherent, Mapped
from ffabric.system.layout.memory_map import DMA_POOL
from ffabric.system.vcpu import Ram

if TYPE_CHECKING:
    from ffabric.guests.virtio_msg.bus_driver import DriverBus, SharedArea


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
        self._number = (await self._bus.share(ipa, self.pages)).number
        self.shares += 1

    def close(self) -> None:
        """Give the pool's pages back."""
        if not self._reserved:
            self._bus.ffa.ram.free(self._pool.base, self.pages)
        self._pool = Ram(0, 0)

    async def allocate(self, size: int) -> Coherent:
        """Memory of the pool, zeroed."""
        ipa = self._pool.allocate(pages_for(size))
        self._bus.ffa.memory.write(ipa, bytes(pages_for(size) * PAGE))
        return Coherent(ipa, self._address(ipa), size)

    async def free(self, coherent: Coherent) -> None:
        """Back into the pool."""
        self._pool.free(coherent.ipa, pages_for(coherent.size))

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Bounce a buffer into the pool."""
        memory = self._bus.ffa.memory
        slot = self._pool.allocate(pages_for(size))
        if not from_device:
            memory.write(slot, memory.read(ipa, size))
        return Mapped(ipa, self._address(slot), size, from_device, slot)

    async def unmap(self, mapped: Mapped) -> None:
        """Bounce it out of the pool."""
        if mapped.from_device:
            memory = self._bus.ffa.memory
            memory.write(mapped.ipa, memory.read(mapped.key, mapped.size))
        self._pool.free(mapped.key, pages_for(mapped.size))

    def _address(self, ipa: int) -> int:
        return address(self._number, ipa - self._pool.base)


class DynamicMapping:
    """Everything shared for itself."""

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
        ipa = ffa.ram.allocate(pages)
        ffa.memory.write(ipa, bytes(pages * PAGE))
        self._coherent[ipa] = pages
        area = await self._share(ipa, pages)
        return Coherent(ipa, address(area.number), size)

    async def free(self, coherent: Coherent) -> None:
        """Unshare them."""
        number, _ = split_address(coherent.address)
        await self._unshare(number)
        self._bus.ffa.ram.free(coherent.ipa, self._coherent.pop(coherent.ipa))

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Share the pages of a buffer."""
        offset = ipa % PAGE
        area = await self._share(ipa - offset, pages_for(offset + size))
        return Mapped(ipa, address(area.number, offset), size, from_device, area.number)

    async def unmap(self, mapped: Mapped) -> None:
        """Unshare them."""
        await self._unshare(mapped.key)

    async def _share(self, ipa: int, pages: int) -> SharedArea:
        area = await self._bus.share(ipa, pages)
        self.shares += 1
        self._shared[area.number] = area
        return area

    async def _unshare(self, number: int) -> None:
        await self._bus.unshare(self._shared.pop(number))
