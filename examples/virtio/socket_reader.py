"""A driver side on the socket bus: ``socket_reader.py SOCKET [SECTOR [GENERATION [VERSION]]]``.

It reads a sector of the first device, and prints it.

GENERATION is 2 for v2, as ffabric speaks it by default, or 1 for pr28 (v1). With VERSION 2 of the
bus it maps its memory, if it may, and says so.
"""

import struct
import sys

from mapped_bus import MappedBus
from socket_bus import BUS, DRIVER_SIDE, GET_DEVICES, MEMORY, Bus

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
FEATURES = 1 << 32 | 1 << 33  # VERSION_1, ACCESS_PLATFORM
SIZE = 4


class Reader:
    """A driver of the first device, which has to be a disk."""

    def __init__(self, bus: Bus, v2: bool) -> None:
        self.bus = bus
        self.enable = int(v2)  # the flag of SET_VQUEUE in v2
        answer = bus.request(BUS, GET_DEVICES, struct.pack("<HH", 0, 64))
        bits = int.from_bytes(answer[6:], "little")
        self.device = (bits & -bits).bit_length() - 1
        (self.memory, _) = struct.unpack("<QQ", bus.request(BUS, MEMORY))

    def ask(self, id: int, form: str, *values: int) -> bytes:
        return self.bus.request(0, id, struct.pack(form, *values), self.device)

    def start(self) -> None:
        """The order of virtio 1.3, 3.1.1."""
        assert struct.unpack_from("<I", self.ask(0x02, "<"))[0] == 2, "it is no disk"
        self.ask(0x08, "<I", 0)
        while struct.unpack("<I", self.ask(0x07, "<"))[0]:
            pass
        status = 0
        for step in (ACKNOWLEDGE, DRIVER):
            status |= step
            self.ask(0x08, "<I", status)
        offered = struct.unpack("<IIQ", self.ask(0x03, "<II", 0, 2))[2]
        assert offered & FEATURES == FEATURES
        self.ask(0x04, "<IIQ", 0, 2, FEATURES)
        status |= FEATURES_OK
        assert struct.unpack("<I", self.ask(0x08, "<I", status))[0] & FEATURES_OK
        places = (self.memory, self.memory + 0x400, self.memory + 0x800)
        assert struct.unpack_from("<II", self.ask(0x09, "<I", 0))[1] >= SIZE
        self.ask(0x0A, "<IIIIQQQ", 0, self.enable, SIZE, 0, *places)
        assert struct.unpack("<IIIIQQQ", self.ask(0x09, "<I", 0))[4:] == places
        self.ask(0x08, "<I", status | DRIVER_OK)
        self.table, self.avail, self.used = places

    def read(self, sector: int) -> bytes:
        """One request; waits for EVENT_USED."""
        bus, at = self.bus, self.memory + 0x1000
        bus.write(at, struct.pack("<IIQ", 0, 0, sector))
        pieces = ((at, 16, 1, 1), (at + 0x200, 512, 3, 2), (at + 0x400, 1, 2, 0))
        bus.write(self.table, b"".join(struct.pack("<QIHH", *each) for each in pieces))
        bus.write(self.avail, struct.pack("<HHH", 0, 1, 0))
        bus.send(0, 0x41, struct.pack("<II", 0, 0), self.device)
        while bus.receive().id != 0x42:
            pass
        assert bus.read(self.used + 2, 2) == b"\1\0"
        assert bus.read(at + 0x400, 1) == b"\0", "the disk says that it failed"
        return bus.read(at + 0x200, 512)


if __name__ == "__main__":
    path, sector, generation, version = (*sys.argv[1:], *("0", "2", "1")[len(sys.argv) - 2 :])
    kind = Bus if version == "1" else MappedBus
    bus = kind(path, DRIVER_SIDE, int(generation), int(version))
    reader = Reader(bus, generation == "2")
    if isinstance(bus, MappedBus) and bus.map(reader.memory):
        print("mapped")
    reader.start()
    print(reader.read(int(sector)).rstrip(b"\0").decode())
