"""The same client with version 2 of the socket bus, which lets memory be mapped."""

import mmap
import os
import socket
import struct

from socket_bus import BUS, Bus, Message

MAP, UNMAP = 0x95, 0x96


class MappedBus(Bus):
    """A connection on which memory that is mapped is read and written without a message."""

    def __init__(self, path: str, role: int, generation: int = 2, version: int = 2) -> None:
        self._files: list[int] = []
        self._maps: dict[tuple[int, int], mmap.mmap] = {}  # by device and first address
        super().__init__(path, role, generation, version)

    def map(self, address: int, device: int = 0) -> bool:
        """Map the memory that an address is in: whether ffabric lets us."""
        asked = struct.pack("<HHIQ", device, 0, 0, address)
        try:
            answer = self._done(self.request(BUS, MAP, asked))
        except PermissionError:
            return False
        first, size, offset = struct.unpack_from("<QQQ", answer, 8)
        file = self._files.pop()
        self._maps[device, first] = mmap.mmap(file, size, offset=offset)
        os.close(file)
        return True

    def unmap(self, asked: Message) -> None:
        """The other side wants memory back: give it up, and say so."""
        device, _, _, address = struct.unpack("<HHIQ", asked.payload)
        memory = self._maps.pop((device, address), None)
        if memory is not None:
            memory.close()
        self.answer(asked, struct.pack("<HH", device, 0))

    def read(self, address: int, size: int, device: int = 0) -> bytes:
        """Memory of the driver of a device."""
        if found := self._mapped(address, size, device):
            memory, at = found
            return memory[at : at + size]
        return super().read(address, size, device)

    def write(self, address: int, data: bytes, device: int = 0) -> None:
        """Store bytes there."""
        if found := self._mapped(address, len(data), device):
            memory, at = found
            memory[at : at + len(data)] = data
        else:
            super().write(address, data, device)

    def _mapped(self, address: int, size: int, device: int) -> tuple[mmap.mmap, int] | None:
        for (whose, first), memory in self._maps.items():
            if whose == device and first <= address and address + size <= first + len(memory):
                return memory, address - first
        return None

    def _receive(self, size: int) -> bytes:
        """Bytes, and the files that come beside them."""
        data, files, _, _ = socket.recv_fds(self._socket, size, 1)
        self._files += files
        return data
