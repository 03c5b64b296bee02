"""What Linux's drivers do with devices, as far as it shows what the transport and rings do."""

from __future__ import annotations

import struct
from typing import Final

from ffabric.lab.virtio_msg.linux import wire
from ffabric.lab.virtio_msg.linux.device import LinuxDevice
from ffabric.lab.virtio_msg.linux.pool import Buffer
from ffabric.lab.virtio_msg.linux.wire import LinuxError

_BLOCK = struct.Struct("<IIQ")
_IN, _OUT, _FLUSH = 0, 1, 4
SECTOR: Final = 512
SEGMENTS: Final = 62
"""As many as the disk's seg_max lets there be, each of a page: a table as long as the virtqueue."""
LARGE: Final = 128 << 10
"""A buffer with an area of its own."""


async def use_disk(disk: LinuxDevice) -> None:
    """Capacity, and data that is written, flushed and read back: small, large, in many pieces."""
    capacity = int.from_bytes(await disk.read_config(0, 8), "little")
    (segments,) = struct.unpack("<I", await disk.read_config(12, 4))
    sizes = [SECTOR, 8 * SECTOR, LARGE]
    for size in (each for each in sizes if each <= capacity * SECTOR):
        buffer = await disk.bus.pool.get(size)
        content = bytes(at * 7 & 0xFF for at in range(size))
        disk.bus.ffa.memory.write(buffer.ipa, content)
        await _transfer(disk, _OUT, 0, [(buffer, size, False)])
        await _transfer(disk, _FLUSH, 0, [])
        disk.bus.ffa.memory.write(buffer.ipa, bytes(size))
        await _transfer(disk, _IN, 0, [(buffer, size, True)])
        if disk.bus.ffa.memory.read(buffer.ipa, size) != content:
            raise LinuxError(wire.EIO, f"{size} bytes read back as something else")
        await disk.bus.pool.put(buffer)
    await _in_many_pieces(disk, min(SEGMENTS, segments, capacity))


async def _in_many_pieces(disk: LinuxDevice, count: int) -> None:
    """`dd bs=64k`: as many segments as the disk takes (seg_max)."""
    pieces = [(await disk.bus.pool.get(SECTOR), SECTOR, True) for _ in range(count)]
    await _transfer(disk, _IN, 0, pieces)
    for piece, _, _ in pieces:
        await disk.bus.pool.put(piece)


async def _transfer(
    disk: LinuxDevice, kind: int, sector: int, data: list[tuple[Buffer, int, bool]]
) -> None:
    status = await disk.request(0, _BLOCK.pack(kind, 0, sector), 1, data)
    if status != b"\0":
        raise LinuxError(wire.EIO, f"request {kind} ended with status {status.hex()}")


async def use_console(console: LinuxDevice) -> None:
    """A line, and a character by the configuration (5.3.4)."""
    await console.request(1, b"Linux was here\n", 0)
    await console.write_config(8, b"!\0\0\0")


async def use_rng(rng: LinuxDevice) -> None:
    """64 bytes."""
    if not any(await rng.request(0, b"", 64)):
        raise LinuxError(wire.EIO, "64 zeros are no random numbers")


async def use_i2c(adapter: LinuxDevice) -> None:
    """A register of a chip at 0x50: write its number, read four bytes (5.15.6)."""
    for header, room in ((struct.pack("<HHI", 0xA0, 0, 0) + b"\0", 0), (_READ_HEADER, 4)):
        answer = await adapter.request(0, header, room + 1)
        if answer[-1]:
            raise LinuxError(wire.EIO, "a transfer was not acknowledged")


_READ_HEADER = struct.pack("<HHI", 0xA0, 0, 2)


async def use_gpio(controller: LinuxDevice) -> None:
    """The direction of line 0 (5.18.6)."""
    answer = await controller.request(0, struct.pack("<HHI", 2, 0, 0), 2)
    if answer[0]:
        raise LinuxError(wire.EIO, "GET_DIRECTION was refused")


USES: Final = {2: use_disk, 3: use_console, 4: use_rng, 34: use_i2c, 41: use_gpio}
