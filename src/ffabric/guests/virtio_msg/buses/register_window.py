"""A window of registers for messages: a device on the machine's bus, whose accesses are trapped.

The driver writes a message into the window and its length into SEND. LENGTH then says how long the
response in the window is; 0 if there is none, BUSY if the message is to be sent again.
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.words import PAGE
from ffabric.guests.virtio_msg.buses.host import DeviceHost

MAGIC, VERSION, SIZE, SEND, LENGTH, MESSAGE = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x100
"""Offsets of the registers, of 32 bits each, and of the window behind them."""
MAGIC_VALUE: Final = int.from_bytes(b"VMSG", "little")
VERSION_VALUE: Final = 1
BUSY: Final = 0xFFFF_FFFF


class Window:
    """The device, for who is behind it."""

    def __init__(self, host: DeviceHost) -> None:
        self._host = host
        self._bytes = bytearray(PAGE - MESSAGE)
        self._length = 0

    def read(self, offset: int, size: int) -> int:
        """A register, or bytes of the window; what is not there is 0."""
        if offset >= MESSAGE:
            at = offset - MESSAGE
            return int.from_bytes(self._bytes[at : at + size], "little")
        values = {
            MAGIC: MAGIC_VALUE,
            VERSION: VERSION_VALUE,
            SIZE: self._host.max_size,
            LENGTH: self._length,
        }
        return values.get(offset, 0) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """SEND, or bytes of the window; other registers cannot be written."""
        if offset >= MESSAGE:
            at = offset - MESSAGE
            self._bytes[at : at + size] = value.to_bytes(size, "little")[: len(self._bytes) - at]
        elif offset == SEND:
            response = self._host.handle(bytes(self._bytes[: min(value, self._host.max_size)]))
            self._length = BUSY if response is None else len(response)
            data = response or b""
            self._bytes[: len(data)] = data
