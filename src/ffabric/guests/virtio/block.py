"""A disk in memory (virtio 1.3, 5.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import block as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.block import SECTOR, Status, Type
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue

MAX_DISCARD_SECTORS: Final = 1 << 15
MAX_DISCARD_SEGMENTS: Final = 16
_UNSUPPORTED = bytes([Status.UNSUPP])
_ERROR = bytes([Status.IOERR])
_OK = bytes([Status.OK])


class BlockDevice(Device):
    """A disk with the content `data`, whole sectors; it writes to them unless it is `read_only`."""

    id = ids.BLOCK

    def __init__(self, data: bytearray, *, read_only: bool = False, serial: str = "") -> None:
        super().__init__()
        if len(data) % SECTOR:
            raise ValueError(f"{len(data)} bytes are no whole sectors of {SECTOR}")
        self.data = data
        self.serial = serial.encode()[: abi.ID_SIZE]
        self.read_only = read_only
        self.flushes = 0
        self.features = abi.F_SEG_MAX | abi.F_BLK_SIZE | abi.F_FLUSH
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
            raise ValueError(f"{size} bytes are no whole sectors of {SECTOR}")
        self.data[size:] = bytes(max(0, size - len(self.data)))
        if self.host is not None:
            self.host.config_changed(0, 8)

    def handle(self, queue: DeviceQueue, chain: Chain) -> int:
        """A request: header and data of the driver, data and status of the device."""
        request = queue.read(chain)
        room = chain.writable_size
        if not room:
            return 0
        try:
            type_, sector = abi.parse_header(request)
        except DecodeError:
            return queue.write(chain, bytes(room - 1) + _ERROR)
        serve = _SERVICES.get(type_)
        if serve is None:
            return queue.write(chain, bytes(room - 1) + _UNSUPPORTED)
        return queue.write(chain, serve(self, sector, request[abi.HEADER.size :], room - 1))

    # Each service gets the sector, the driver's data and the room before the status byte.

    def _in(self, sector: int, _data: bytes, room: int) -> bytes:
        start = sector * SECTOR
        if room % SECTOR or start + room > len(self.data):
            return bytes(room) + _ERROR
        return bytes(self.data[start : start + room]) + _OK

    def _out(self, sector: int, data: bytes, room: int) -> bytes:
        start = sector * SECTOR
        if self.read_only or len(data) % SECTOR or start + len(data) > len(self.data):
            return bytes(room) + _ERROR
        self.data[start : start + len(data)] = data
        return bytes(room) + _OK

    def _flush(self, _sector: int, _data: bytes, room: int) -> bytes:
        self.flushes += 1
        return bytes(room) + _OK

    def _get_id(self, _sector: int, _data: bytes, room: int) -> bytes:
        return self.serial.ljust(room, b"\0")[:room] + _OK

    def _zero(self, _sector: int, data: bytes, room: int) -> bytes:
        """DISCARD and WRITE_ZEROES: what is discarded reads as zeros."""
        try:
            segments = abi.parse_segments(data)
        except DecodeError:
            return bytes(room) + _ERROR
        sectors = len(self.data) // SECTOR
        fitting = all(
            count <= MAX_DISCARD_SECTORS and first + count <= sectors
            for first, count, _ in segments
        )
        if self.read_only or len(segments) > MAX_DISCARD_SEGMENTS or not fitting:
            return bytes(room) + _ERROR
        for first, count, _ in segments:
            self.data[first * SECTOR : (first + count) * SECTOR] = bytes(count * SECTOR)
        return bytes(room) + _OK


_Service = Callable[[BlockDevice, int, bytes, int], bytes]
_SERVICES: Final[dict[int, _Service]] = {
    Type.IN: BlockDevice._in,
    Type.OUT: BlockDevice._out,
    Type.FLUSH: BlockDevice._flush,
    Type.GET_ID: BlockDevice._get_id,
    Type.DISCARD: BlockDevice._zero,
    Type.WRITE_ZEROES: BlockDevice._zero,
}
