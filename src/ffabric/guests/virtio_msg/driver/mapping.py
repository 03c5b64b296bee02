"""How drivers' memory becomes reachable for devices over FF-A: static or dynamic.

*Static*: one pool is shared when the bus comes up (Linux: restricted-dma-pool). Virtqueues live in
it, and buffers are copied into it and out of it (bounced): no sharing per request, and nothing of
the driver's that happens to be beside a buffer is seen by the device. *Dynamic*: virtqueues and
buffers are shared where they are, in whole pages, and unshared after use: no copy, but two FF-A
transactions and two messages for each.

An owner cannot share a page that it shares already, yet several buffers may be in one. A page that
is shared stays so until the last buffer in it is unmapped.
"""

from __future__ import annotations

from msgspec import Struct

from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.dma import Coherent, Mapped, NoRoom, Tally
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.shared_areas import SharedArea, SharedAreas
from ffabric.system.layout.defaults import DMA_POOL
from ffabric.system.vcpu import OutOfMemory, Ram


class StaticMapping:
    """Everything in one pool of `pages`, in memory of the VM's own, or that is ``reserved`` for it.

    Reserved memory is the region DMA_POOL of the VM's manifest, whose size is the pool's then.
    """

    def __init__(self, ffa: Ffa, areas: SharedAreas, pages: int, *, reserved: bool = False) -> None:
        self.pages: int = pages
        self._reserved = reserved
        self.shares: int = 0
        """How often memory was shared."""
        self._ffa = ffa
        self._areas = areas
        self._number = 0
        self._pool = Ram(0, 0)
        self.tally: Tally = Tally()

    async def open(self) -> None:
        """Share the pool."""
        ffa = self._ffa
        if self._reserved:
            ipa, size = ffa.vcpu.region(DMA_POOL)
            self.pages = size // PAGE
        else:
            ipa = ffa.ram.allocate(self.pages)
        self._pool = Ram(ipa, self.pages * PAGE)
        self._number = (await self._areas.share(ipa, self.pages)).number
        self.shares += 1
        self.tally.pages += self.pages
        self.tally.reserved += self.pages * PAGE

    def close(self) -> None:
        """Give the pool's pages back."""
        if not self._reserved and self._pool.size:
            self._ffa.ram.free(self._pool.base, self.pages)
        self._pool = Ram(0, 0)

    async def allocate(self, size: int) -> Coherent:
        """Memory of the pool, zeroed."""
        ipa = self._take(size)
        self._ffa.memory.write(ipa, bytes(pages_for(size) * PAGE))
        return Coherent(ipa, self._address(ipa), size)

    async def free(self, coherent: Coherent) -> None:
        """Back into the pool."""
        self._give(coherent.ipa, coherent.size)

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Bounce a buffer into the pool."""
        memory = self._ffa.memory
        slot = self._take(size)
        if not from_device:
            memory.write(slot, memory.read(ipa, size))
            self.tally.copied += size
        return Mapped(ipa, self._address(slot), size, from_device, slot)

    async def unmap(self, mapped: Mapped) -> None:
        """Bounce it out of the pool."""
        if mapped.from_device:
            memory = self._ffa.memory
            memory.write(mapped.ipa, memory.read(mapped.key, mapped.size))
            self.tally.copied += mapped.size
        self._give(mapped.key, mapped.size)

    async def abandon(self, given: Coherent | Mapped) -> None:
        """It stays taken: the device side has the pool as long as the bus is open."""

    @property
    def place(self) -> tuple[int, int]:
        """The address of the whole pool to the device side, and its bytes; 0: it is not open."""
        return (self._address(self._pool.base), self._pool.size) if self._pool.size else (0, 0)

    def ipa(self, at: int, size: int) -> int:
        """Where bytes of the pool are that the device side has `at`. ValueError if outside."""
        first, length = self.place
        if not first <= at <= at + size <= first + length:
            raise ValueError(f"{size} bytes at {at:#x} are not in the pool")
        return self._pool.base + at - first

    def _take(self, size: int) -> int:
        try:
            ipa = self._pool.allocate(pages_for(size))
        except OutOfMemory as error:
            raise NoRoom(f"the pool: {error}") from error
        end = ipa + pages_for(size) * PAGE - self._pool.base
        self.tally.touched = max(self.tally.touched, end)
        return ipa

    def _give(self, ipa: int, size: int) -> None:
        if ipa in self._pool:  # not if the bus was closed
            self._pool.free(ipa, pages_for(size))

    def _address(self, ipa: int) -> int:
        return self._areas.address(self._number, ipa - self._pool.base)


class _Use(Struct):
    """An area, by how many buffers and virtqueues it is used, and of what it is a copy if it is."""

    area: SharedArea
    users: int = 1
    copy: int = 0
    """Pages of a copy, which are our own."""


class DynamicMapping:
    """Everything shared for itself. What does not come back stays pinned, whoever frees it.

    A buffer whose pages are all in one area already needs no other. One of which only some pages
    are shared, or whose pages another bus has shared, is copied to pages of its own.

    With `lend` buffers are lent: nobody but the device reaches them until they are unmapped. One
    that does not fill its pages is copied then, so that what else is in them stays with the driver.
    """

    def __init__(self, ffa: Ffa, areas: SharedAreas, *, lend: bool = False) -> None:
        self._lend = lend
        self.shares: int = 0
        """How often memory was shared."""
        self._ffa = ffa
        self._areas = areas
        self.tally: Tally = Tally()
        self._uses: dict[int, _Use] = {}
        """By number of the area."""
        self._by_page: dict[int, _Use] = {}
        """By IPA of each page that is shared."""
        self._coherent: dict[int, int] = {}
        """IPA -> pages."""

    async def open(self) -> None:
        """Nothing is shared yet."""

    def close(self) -> None:
        """Give back the pages of what was allocated and not freed."""
        ram = self._ffa.ram
        for ipa, pages in self._coherent.items():
            ram.free(ipa, pages)
        for use in self._uses.values():
            if use.copy:
                ram.free(use.area.ipa, use.copy)
        self._coherent.clear()
        self._uses.clear()
        self._by_page.clear()

    async def allocate(self, size: int) -> Coherent:
        """Pages of their own, zeroed and shared."""
        ffa, pages = self._ffa, pages_for(size)
        ipa = self._own(pages)
        ffa.memory.write(ipa, bytes(pages * PAGE))
        try:
            use = await self._share(ipa, pages)
        except (BusError, NoRoom):
            ffa.ram.free(ipa, pages)
            raise
        self._coherent[ipa] = pages
        return Coherent(ipa, self._areas.address(use.area.number), size)

    async def free(self, coherent: Coherent) -> None:
        """Unshare them."""
        await self._end(self._areas.number(coherent.address))
        pages = self._coherent.pop(coherent.ipa, 0)
        if pages:
            self._ffa.ram.free(coherent.ipa, pages)

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Share the pages of a buffer, as far as they are not shared."""
        offset = ipa % PAGE
        first, pages = ipa - offset, pages_for(offset + size)
        use = self._by_page.get(first)
        if use is not None and first + pages * PAGE <= use.area.ipa + use.area.pages * PAGE:
            use.users += 1
        elif (
            use is not None or self._is_taken(first, pages) or (self._lend and pages * PAGE != size)
        ):
            return await self._copy(ipa, size, from_device=from_device)
        else:
            use = await self._share(first, pages, lend=self._lend)
        number = use.area.number
        at = self._areas.address(number, ipa - use.area.ipa)
        return Mapped(ipa, at, size, from_device, number)

    async def unmap(self, mapped: Mapped) -> None:
        """Unshare those that no other buffer is in."""
        use = self._uses.get(mapped.key)
        pages = use.copy if use is not None else 0
        if use is None or not pages:
            await self._end(mapped.key)
            return
        use.copy = 0  # the pages are freed here, when they have been read
        back = await self._end(mapped.key)
        memory, copy = self._ffa.memory, use.area.ipa
        if mapped.from_device and (back or not self._lend):
            memory.write(mapped.ipa, memory.read(copy, mapped.size))
            self.tally.copied += mapped.size
        self._ffa.ram.free(copy, pages)
        if mapped.from_device and self._lend and not back:
            raise BusError("a buffer that was lent does not come back")

    async def abandon(self, given: Coherent | Mapped) -> None:
        """Unshare it: it is out of use until the device side has provably given it back."""
        if isinstance(given, Coherent):
            await self.free(given)
        else:
            await self._end(given.key)

    def _is_taken(self, ipa: int, pages: int) -> bool:
        """Whether some of those pages are shared already, but not on their way back."""
        if any(ipa + PAGE * page in self._by_page for page in range(pages)):
            return True
        return self._ffa.ram.is_pinned(ipa, pages) and not self._areas.holds(ipa, pages)

    async def _copy(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Map a copy of a buffer."""
        ffa, pages = self._ffa, pages_for(size)
        copy = self._own(pages)
        ffa.memory.write(copy, bytes(pages * PAGE) if from_device else ffa.memory.read(ipa, size))
        try:
            use = await self._share(copy, pages, lend=self._lend)
        except (BusError, NoRoom):
            ffa.ram.free(copy, pages)
            raise
        use.copy = pages
        if not from_device:
            self.tally.copied += size
        at = self._areas.address(use.area.number)
        return Mapped(ipa, at, size, from_device, use.area.number)

    def _own(self, pages: int) -> int:
        try:
            return self._ffa.ram.allocate(pages)
        except OutOfMemory as error:
            raise NoRoom(str(error)) from error

    async def _share(self, ipa: int, pages: int, *, lend: bool = False) -> _Use:
        area = await self._areas.share(ipa, pages, lend=lend)
        self.shares += 1
        self.tally.pages += pages
        use = self._uses[area.number] = _Use(area)
        for page in range(ipa, ipa + pages * PAGE, PAGE):
            self._by_page[page] = use
        return use

    async def _end(self, number: int) -> bool:
        """One buffer in an area less; without any it is unshared: whether it is back then."""
        use = self._uses.get(number)
        if use is None:
            return True
        use.users -= 1
        if use.users:
            return False
        del self._uses[number]
        area = use.area
        for page in range(area.ipa, area.ipa + area.pages * PAGE, PAGE):
            self._by_page.pop(page, None)
        back = await self._areas.unshare(area)
        if use.copy:
            self._ffa.ram.free(area.ipa, use.copy)
        return back


class PreparedMapping(DynamicMapping):
    """Dynamic for buffers; virtqueues are in `queues` pages that are shared when the bus comes up.

    What does not fit there is shared for itself.
    """

    def __init__(self, ffa: Ffa, areas: SharedAreas, queues: int, *, lend: bool = False) -> None:
        super().__init__(ffa, areas, lend=lend)
        self._queues = StaticMapping(ffa, areas, queues)
        self._inside: set[int] = set()
        """IPAs of memory in those pages."""

    async def open(self) -> None:
        """Share the pages."""
        self._queues.tally = self.tally
        await self._queues.open()
        self.shares += 1

    def close(self) -> None:
        """Give all pages back."""
        super().close()
        self._inside.clear()
        self._queues.close()

    async def allocate(self, size: int) -> Coherent:
        """Some of those pages, zeroed, as long as there are any."""
        try:
            coherent = await self._queues.allocate(size)
        except NoRoom:
            return await super().allocate(size)
        self._inside.add(coherent.ipa)
        return coherent

    async def free(self, coherent: Coherent) -> None:
        """Back to where they are from."""
        if coherent.ipa in self._inside:
            self._inside.discard(coherent.ipa)
            await self._queues.free(coherent)
        else:
            await super().free(coherent)
