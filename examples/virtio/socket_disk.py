"""A disk as a device side on the socket bus: ``socket_disk.py SOCKET [GENERATION [VERSION]]``.

GENERATION is 2 for v2, as ffabric speaks it by default, or 1 for pr28 (v1). With VERSION 2 of the
bus the disk maps its driver's memory, if it may.
"""

import struct
import sys

from mapped_bus import UNMAP, MappedBus
from socket_bus import BUS, DEVICE_SIDE, GET_DEVICES, PING, RESET, Bus, Message

SECTOR, SECTORS, QUEUE_SIZE = 512, 64, 64
FEATURES = 1 << 32 | 1 << 33 | 1 << 40  # VERSION_1, ACCESS_PLATFORM, RING_RESET
FEATURES_OK, DRIVER_OK, NEEDS_RESET = 8, 4, 64
NEXT, WRITE, INDIRECT = 1, 2, 4


class Disk:
    """Device 0 of the bus; everything that a driver may ask of a device."""

    def __init__(self, bus: Bus, v2: bool) -> None:
        self.bus = bus
        self.v2 = v2
        self.data = bytearray(SECTORS * SECTOR)
        self.generation = 1
        self.reset()

    def reset(self) -> None:
        self.status = self.chosen = 0
        self.queue = (0, 0, 0, 0)  # size, descriptors, available ring, used ring
        self.next = 0
        self.asked_to_map = False

    # Messages of the transport, by id: what is answered.

    def info(self, _: bytes) -> bytes:
        if self.v2:  # a UUID, and blocks of features instead of bits
            return struct.pack("<II16sIIIII", 2, 0x1AF4, bytes(16), 2, 8, 1, 0, 0)
        return struct.pack("<IIIIIHH", 2, 0x1AF4, 64, 8, 1, 0, 0)

    def features(self, asked: bytes) -> bytes:
        index, count = struct.unpack("<II", asked)
        count = min(count, (self.bus.max_size - 16) // 4)
        blocks = [FEATURES >> 32 * at & 0xFFFFFFFF for at in range(index, index + count)]
        return struct.pack(f"<II{count}I", index, count, *blocks)

    def choose(self, asked: bytes) -> bytes:
        index, count = struct.unpack_from("<II", asked)
        for at, block in enumerate(struct.unpack_from(f"<{count}I", asked, 8)):
            shift = 32 * (index + at)
            self.chosen = self.chosen & ~(0xFFFFFFFF << shift) | block << shift
        return b""

    def config(self, asked: bytes) -> bytes:
        offset, length = struct.unpack("<II", asked)
        capacity = struct.pack("<Q", len(self.data) // SECTOR)
        data = capacity[offset : offset + length] if offset + length <= 8 else b""
        return struct.pack("<III", self.generation, offset, len(data)) + data

    def write_config(self, asked: bytes) -> bytes:
        _, offset, _ = struct.unpack_from("<III", asked)
        return struct.pack("<III", self.generation, offset, 0)  # nothing of it is writable

    def get_status(self, _: bytes) -> bytes:
        return struct.pack("<I", self.status)

    def set_status(self, asked: bytes) -> bytes:
        (wanted,) = struct.unpack("<I", asked)
        if not wanted:
            self.reset()
        elif (wanted & FEATURES_OK and self.chosen & ~FEATURES) or not self.chosen >> 32 & 1:
            wanted &= ~FEATURES_OK & ~DRIVER_OK
        self.status |= wanted & ~NEEDS_RESET
        return self.get_status(b"")

    def get_queue(self, asked: bytes) -> bytes:
        (index,) = struct.unpack("<I", asked)
        if index:
            return struct.pack("<IIIIQQQ", index, 0, 0, 0, 0, 0, 0)
        size, *places = self.queue
        enabled = int(self.v2 and size > 0)
        return struct.pack("<IIIIQQQ", index, QUEUE_SIZE, size, enabled, *places)

    def set_queue(self, asked: bytes) -> bytes | None:
        index, enable, size, _, *places = struct.unpack("<IIIIQQQ", asked)
        if index or self.queue[0] or not 0 < size <= QUEUE_SIZE or enable != self.v2:
            return None
        self.queue, self.next = (size, *places), 0
        return b""

    def reset_queue(self, _: bytes) -> bytes:
        self.queue, self.next = (0, 0, 0, 0), 0
        return b""

    def no_memory(self, asked: bytes) -> bytes:
        return asked + bytes(20 if self.v2 else 8)

    # The virtqueue.

    def avail(self) -> None:
        """Serve what is available, and say so once."""
        size, table, avail, used = self.queue
        if not size or not self.status & DRIVER_OK:
            return
        if isinstance(self.bus, MappedBus) and not self.asked_to_map:
            self.asked_to_map = True
            self.bus.map(table)
        bus, done = self.bus, self.next
        while self.next != struct.unpack("<H", bus.read(avail + 2, 2))[0]:
            (head,) = struct.unpack("<H", bus.read(avail + 4 + 2 * (self.next % size), 2))
            written = self.serve(self.chain(table, head, size))
            bus.write(used + 4 + 8 * (self.next % size), struct.pack("<II", head, written))
            self.next = (self.next + 1) & 0xFFFF
            bus.write(used + 2, struct.pack("<H", self.next))
        if done != self.next and not struct.unpack("<H", bus.read(avail, 2))[0] & 1:
            bus.send(0, 0x42, struct.pack("<I", 0))  # EVENT_USED of virtqueue 0

    def chain(self, table: int, index: int, size: int) -> list[tuple[int, int, int]]:
        pieces: list[tuple[int, int, int]] = []
        while len(pieces) < size:
            address, length, flags, following = struct.unpack(
                "<QIHH", self.bus.read(table + 16 * index, 16)
            )
            pieces.append((address, length, flags))
            if not flags & NEXT:
                break
            index = following
        return pieces

    def serve(self, pieces: list[tuple[int, int, int]]) -> int:
        bus = self.bus
        kind, _, sector = struct.unpack("<IIQ", bus.read(pieces[0][0], 16))
        at, status, written = sector * SECTOR, 0, 0
        for address, length, flags in pieces[1:-1]:
            if at + length > len(self.data) or kind not in (0, 1) or bool(flags & WRITE) == kind:
                status = 1 if kind in (0, 1) else 2
                break
            if kind == 0:
                bus.write(address, bytes(self.data[at : at + length]))
                written += length
            else:
                self.data[at : at + length] = bus.read(address, length)
            at += length
        if kind not in (0, 1):
            status = 2  # UNSUPP
        bus.write(pieces[-1][0], bytes((status,)))
        return written + 1


REQUESTS = {
    0x02: Disk.info, 0x03: Disk.features, 0x04: Disk.choose, 0x05: Disk.config,
    0x06: Disk.write_config, 0x07: Disk.get_status, 0x08: Disk.set_status, 0x09: Disk.get_queue,
    0x0A: Disk.set_queue, 0x0B: Disk.reset_queue, 0x0C: Disk.no_memory,
}  # fmt: skip


def devices(asked: bytes, v2: bool) -> bytes:
    """GET_DEVICES: there is device 0."""
    offset, count = struct.unpack("<HH", asked)
    bitmap = bytearray(count // 8)
    if not offset:
        bitmap[0] = 1
    places = (offset, 0, count) if v2 else (offset, count, 0)  # the next offset is 0: that was all
    return struct.pack("<HHH", *places) + bitmap


def serve(bus: Bus, disk: Disk, message: Message) -> None:
    """Serve one message; what is not known is discarded."""
    if message.type & BUS:
        if message.id == GET_DEVICES:
            bus.answer(message, devices(message.payload, disk.v2))
        elif message.id == PING:
            bus.answer(message, message.payload)
        elif message.id == RESET:
            disk.reset()
            bus.answer(message, bytes(2))
        elif message.id == UNMAP and isinstance(bus, MappedBus):
            bus.unmap(message)
    elif message.id == 0x41:
        try:
            disk.avail()
        except PermissionError:  # the driver's memory is not what its rings say
            disk.status |= NEEDS_RESET
            bus.send(0, 0x40, struct.pack("<IIII", disk.status, disk.generation, 0, 0))
    elif message.id in REQUESTS and not message.device:
        answer = REQUESTS[message.id](disk, message.payload)
        if answer is None:
            bus.send(3, 0x87, struct.pack("<H", message.id), message.device, message.token)
        else:
            bus.answer(message, answer)


def main(path: str, generation: str = "2", version: str = "1") -> None:
    """Serve whoever listens at a socket, again and again, until nobody does."""
    while True:
        try:
            kind = Bus if version == "1" else MappedBus
            bus = kind(path, DEVICE_SIDE, int(generation), int(version))
        except OSError:
            return
        disk = Disk(bus, generation == "2")
        try:
            while True:
                serve(bus, disk, bus.receive())
        except ConnectionError:
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
