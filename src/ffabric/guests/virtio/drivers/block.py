"""A driver for disks (virtio 1.3, 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ffabric.abi.virtio import block as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.block import HEADER, ID_SIZE, SECTOR, SEGMENT, Status, Type
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.virtio.driver import Driver

STATUS_OFFSET: Final = HEADER.size
SLOT: Final = 32
"""Bytes for the header and the status of a request."""
_NO_STATUS = 0xFF


class BlockRequest(Struct):
    """A request that is under way; its header and status are at `slot` in the driver's page."""

    number: int
    slot: int
    what: str


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
        self.capacity = int.from_bytes(await self.device.read_config(0, 8), "little")
        self._control = await self.allocate(PAGE)
        self._slots = list(range(0, PAGE, SLOT))

    async def begin(
        self, type_: int, sector: int, ipa: int = 0, size: int = 0, *, notify: bool = True
    ) -> BlockRequest:
        """Begin a request whose data is at `ipa` in the driver's memory; `end` waits for it.

        Without `notify`, the device hears of it with the next one that has it.
        """
        while not self._slots:
            await self.wait_for_some(0)
        mapped = []
        if size:
            mapped.append(await self.map(ipa, size, from_device=type_ in _FROM_DEVICE))
        slot = self._slots.pop()
        control = self._control
        header = HEADER.pack(type_, 0, sector) + bytes((_NO_STATUS,))
        self.device.memory.write(control.ipa + slot, header)
        address = control.address + slot
        data = [(each.address, each.size, each.from_device) for each in mapped]
        number = await self.submit(
            0,
            [(address, HEADER.size, False), *data, (address + STATUS_OFFSET, 1, True)],
            mapped,
            forget=lambda: self._slots.append(slot),
            notify=notify,
        )
        name = Type(type_).name if type_ in _TYPES else f"request {type_}"
        return BlockRequest(number, slot, f"{name} at sector {sector}")

    async def end(self, request: BlockRequest) -> None:
        """Wait for a request. Raises BlockError."""
        await self.finish(0, request.number)
        at = self._control.ipa + request.slot + STATUS_OFFSET
        status = self.device.memory.read(at, 1)[0]
        self._slots.append(request.slot)
        if status != Status.OK:
            raise BlockError(request.what, status)

    async def transfer(self, type_: int, sector: int, ipa: int = 0, size: int = 0) -> None:
        """One request. Raises BlockError."""
        await self.end(await self.begin(type_, sector, ipa, size))

    async def transfer_all(self, requests: Sequence[tuple[int, int, int, int]]) -> None:
        """Several requests of (type, sector, IPA, bytes), of which the device is told at once.

        Raises the BlockError of the first that failed, when all are done.
        """
        begun = [await self.begin(*each, notify=False) for each in requests]
        self.queues[0].notify_after(len(begun))
        await self.notify(0)
        failed = None
        for request in begun:
            try:
                await self.end(request)
            except BlockError as error:
                failed = failed or error
        if failed is not None:
            raise failed

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
        """Tell the disk that the content of ``count`` sectors is not needed any more."""
        await self._to_device(Type.DISCARD, 0, SEGMENT.pack(sector, count, 0))

    async def write_zeroes(self, sector: int, count: int) -> None:
        """Fill ``count`` sectors with zeros."""
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
_TYPES = frozenset(Type)
