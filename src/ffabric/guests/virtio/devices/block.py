"""A disk in memory (virtio 1.3, 5.2)."""

from __future__ import annotations

from collections.abc import Callable
from mmap import mmap
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import block as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.block import SECTOR, Status, Type
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue

MAX_DISCARD_SECTORS: Final = 1 << 15
MAX_DISCARD_SEGMENTS: Final = 16
_Done = tuple[Status, int]
_ERROR: Final = (Status.IOERR, 0)
_OK: Final = (Status.OK, 0)


class BlockDevice(Device):
    """A disk with the content `data`, whole sectors; it writes to them unless it is `read_only`.

    `data` may be a file that is mapped, which is written to, too.
    """

    id = ids.BLOCK
    in_order = True

    def __init__(
        self, data: bytearray | mmap, *, read_only: bool = False, serial: str = ""
    ) -> None:
        super().__init__()
        if len(data) % SECTOR:
            raise ValueError(f"{len(data)} bytes: no multiple of {SECTOR}, a sector")
        self.data: bytearray | mmap = data
        self.serial: bytes = serial.encode()[: abi.ID_SIZE]
        self.read_only = read_only
        self.flushes: int = 0
        self.features: int = abi.F_SEG_MAX | abi.F_BLK_SIZE | abi.F_FLUSH
        self.features |= abi.F_RO if read_only else abi.F_DISCARD | abi.F_WRITE_ZEROES

    @property
    def config(self) -> bytes:
        """Capacity and limits."""
        record = abi.CONFIG.at()
        values = dict.fromkeys(record.names, 0) | {
            "capacity": len(self.data) // SECTOR,
            "seg_max": self.queue_sizes[0] - 2,
            "blk_size": SECTOR,
            "num_queues": 1,
            "max_discard_sectors": MAX_DISCARD_SECTORS,
            "max_discard_seg": MAX_DISCARD_SEGMENTS,
            "discard_sector_alignment": 1,
            "max_write_zeroes_sectors": MAX_DISCARD_SECTORS,
            "max_write_zeroes_seg": MAX_DISCARD_SEGMENTS,
        }
        return record.pack(*values.values())

    def resize(self, size: int) -> None:
        """Grow or shrink to `size` bytes, whole sectors; the driver is told."""
        if size % SECTOR:
            raise ValueError(f"{size} bytes: no multiple of {SECTOR}, a sector")
        if isinstance(self.data, mmap):
            self.data.resize(size)
        else:
            self.data[size:] = bytes(max(0, size - len(self.data)))
        if self.host is not None:
            self.host.config_changed(0, 8)

    def handle(self, queue: DeviceQueue, chain: Chain) -> int:
        """A request: header and data of the driver, data and status of the device.

        Sizes are judged before data is read: a request may have as many segments as the queue has
        descriptors, of any length.
        """
        room = chain.writable_size - 1
        if room < 0:
            return 0
        try:
            type_, sector = abi.parse_header(queue.read(chain, most=abi.HEADER.size))
        except DecodeError:
            status, written = _ERROR
        else:
            serve, needed = _SERVICES.get(type_, (_unsupported, 0))
            if self.driver_features & needed != needed:
                serve = _unsupported
            status, written = serve(self, queue, chain, sector, room)
        queue.write(chain, bytes((status,)), room)
        return room + 1 if written == room else written

    # Each service gets the sector, and the room before the status byte: the status, and how many
    # bytes it has written.

    def _in(self, queue: DeviceQueue, chain: Chain, sector: int, room: int) -> _Done:
        start = sector * SECTOR
        if room % SECTOR or start + room > len(self.data):
            return _ERROR
        return Status.OK, queue.write(chain, bytes(self.data[start : start + room]))

    def _out(self, queue: DeviceQueue, chain: Chain, sector: int, _room: int) -> _Done:
        start, size = sector * SECTOR, chain.readable_size - abi.HEADER.size
        if self.read_only or size % SECTOR or start + size > len(self.data):
            return _ERROR
        self.data[start : start + size] = queue.read(chain, abi.HEADER.size, size)
        return _OK

    def _flush(self, _queue: DeviceQueue, _chain: Chain, _sector: int, _room: int) -> _Done:
        self.flushes += 1
        return _OK

    def _get_id(self, queue: DeviceQueue, chain: Chain, _sector: int, room: int) -> _Done:
        return Status.OK, queue.write(chain, self.serial.ljust(abi.ID_SIZE, b"\0")[:room])

    def _discard(self, queue: DeviceQueue, chain: Chain, _sector: int, _room: int) -> _Done:
        """What is discarded reads as zeros."""
        return self._zero(queue, chain, 0)

    def _write_zeroes(self, queue: DeviceQueue, chain: Chain, _sector: int, _room: int) -> _Done:
        return self._zero(queue, chain, abi.SEGMENT_UNMAP)

    def _zero(self, queue: DeviceQueue, chain: Chain, flags: int) -> _Done:
        """Of DISCARD or WRITE_ZEROES, whose segments may have these ``flags`` (5.2.6.2)."""
        most = MAX_DISCARD_SEGMENTS * abi.SEGMENT.size
        try:
            segments = abi.parse_segments(queue.read(chain, abi.HEADER.size, most + 1))
        except DecodeError:
            return _ERROR
        if any(each & ~flags for _, _, each in segments):
            return Status.UNSUPP, 0
        sectors = len(self.data) // SECTOR
        fitting = all(
            count <= MAX_DISCARD_SECTORS and first + count <= sectors
            for first, count, _ in segments
        )
        if self.read_only or not fitting:
            return _ERROR
        for first, count, _ in segments:
            self.data[first * SECTOR : (first + count) * SECTOR] = bytes(count * SECTOR)
        return _OK


def _unsupported(
    _disk: BlockDevice, _queue: DeviceQueue, _chain: Chain, _sector: int, _room: int
) -> _Done:
    return Status.UNSUPP, 0


_Service = Callable[[BlockDevice, DeviceQueue, Chain, int, int], _Done]
_SERVICES: Final[dict[int, tuple[_Service, int]]] = {
    Type.IN: (BlockDevice._in, 0),
    Type.OUT: (BlockDevice._out, 0),
    Type.FLUSH: (BlockDevice._flush, abi.F_FLUSH),
    Type.GET_ID: (BlockDevice._get_id, 0),
    Type.DISCARD: (BlockDevice._discard, abi.F_DISCARD),
    Type.WRITE_ZEROES: (BlockDevice._write_zeroes, abi.F_WRITE_ZEROES),
}
"""By type: who serves it, and the feature that the driver must have chosen."""
