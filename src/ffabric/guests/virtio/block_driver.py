"""A driver for disks (virtio 1.3, 5.2)."""

from __future__ import annotations

from ffabric.abi.virtio import block as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.block import HEADER, ID_SIZE, SECTOR, SEGMENT, Status, Type
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.virtio.dma import Coherent
from ffabric.guests.virtio.driver import Driver

STATUS_OFFSET = HEADER.size
_NO_STATUS = 0xFF


class BlockError(Exception):
    """A disk refused or failed a request."""

    def __init__(self, what: str, status: int) -> None:
        name = Status(status).name if status in Status.__members__.values() else hex(status)
        super().__init__(f"{what}: {name}")
        self.status = status


class BlockDriver(Driver):
    """A disk of `capacity` sectors of 512 bytes.

    Header and status of a request are in memory that stays shared, its data is mapped for it.
    """

    id = ids.BLOCK
    features = abi.F_FLUSH | abi.F_RO | abi.F_BLK_SIZE | abi.F_DISCARD | abi.F_WRITE_ZEROES

    capacity: int = 0

    async def start(self) -> None:
        """Read the capacity; take memory for headers, and for the data of those who have none."""
        mapping = self.device.mapping
        self.capacity = int.from_bytes(await self.device.read_config(0, 8), "little")
        self._control: Coherent = await mapping.allocate(PAGE)

    async def remove(self) -> None:
        """The same, with the memory for headers."""
        await super().remove()
        await self.device.mapping.free(self._control)

    async def transfer(self, type_: int, sector: int, ipa: int = 0, size: int = 0) -> None:
        """One request, whose data is at `ipa` in the driver's memory. Raises BlockError."""
        control, memory = self._control, self.device.memory
        memory.write(control.ipa, HEADER.pack(type_, 0, sector) + bytes([_NO_STATUS]))
        header = (control.address, HEADER.size, False)
        status = (control.address + STATUS_OFFSET, 1, True)
        if size:
            mapped = await self.map(ipa, size, from_device=type_ in _FROM_DEVICE)
            data = (mapped.address, size, mapped.from_device)
            try:
                await self.request(0, (header, data, status))
            finally:
                await self.device.mapping.unmap(mapped)
        else:
            await self.request(0, (header, status))
        answer = memory.read(control.ipa + STATUS_OFFSET, 1)[0]
        if answer != Status.OK:
            raise BlockError(f"{Type(type_).name} at sector {sector}", answer)

    async def read(self, sector: int, count: int = 1) -> bytes:
        """`count` sectors."""
        return await self._from_device(Type.IN, sector, count * SECTOR)

    async def write(self, sector: int, data: bytes) -> None:
        """Store whole sectors."""
        await self._to_device(Type.OUT, sector, data)

    async def flush(self) -> None:
        """Have everything that was written on the disk."""
        await self.transfer(Type.FLUSH, 0)

    async def serial(self) -> str:
        """The disk's serial number."""
        data = await self._from_device(Type.GET_ID, 0, ID_SIZE)
        return data.rstrip(b"\0").decode("ascii", "backslashreplace")

    async def discard(self, sector: int, count: int) -> None:
        """Sectors that are of no use any more."""
        await self._to_device(Type.DISCARD, 0, SEGMENT.pack(sector, count, 0))

    async def write_zeroes(self, sector: int, count: int) -> None:
        """Sectors of zeros."""
        await self._to_device(Type.WRITE_ZEROES, 0, SEGMENT.pack(sector, count, 0))

    async def _from_device(self, type_: Type, sector: int, size: int) -> bytes:
        device, pages = self.device, pages_for(size)
        ipa = device.ram.allocate(pages)
        try:
            await self.transfer(type_, sector, ipa, size)
            return device.memory.read(ipa, size)
        finally:
            device.ram.free(ipa, pages)

    async def _to_device(self, type_: Type, sector: int, data: bytes) -> None:
        device, pages = self.device, pages_for(len(data))
        ipa = device.ram.allocate(pages)
        try:
            device.memory.write(ipa, data)
            await self.transfer(type_, sector, ipa, len(data))
        finally:
            device.ram.free(ipa, pages)


_FROM_DEVICE = frozenset({Type.IN, Type.GET_ID})
