"""An I2C adapter with targets on its bus (virtio 1.3, 5.15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import i2c as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.i2c import Status
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue

MAX_TRANSFER: Final = 1 << 16
"""Bytes of a request in either direction; a longer one fails."""
_OK: Final = bytes((Status.OK,))
_ERROR: Final = bytes((Status.ERR,))


class Target(Protocol):
    """A chip on the bus."""

    def write(self, data: bytes) -> bool:
        """Take what the controller writes; False: not acknowledged."""

    def read(self, count: int) -> bytes | None:
        """`count` bytes for the controller; None: not acknowledged."""


class Registers:
    """A chip with registers of a byte each: a write begins with the number of the first."""

    def __init__(self, content: bytes) -> None:
        self.content: bytearray = bytearray(content)
        self._at = 0

    def write(self, data: bytes) -> bool:
        """The number of the first register, then values for it and those behind."""
        if data:
            self._at = data[0] % len(self.content)
        for byte in data[1:]:
            self.content[self._at] = byte
            self._at = (self._at + 1) % len(self.content)
        return True

    def read(self, count: int) -> bytes | None:
        """``count`` registers from where the last transfer ended; the first follows the last."""
        size = len(self.content)
        got = bytes(self.content[(self._at + n) % size] for n in range(count))
        self._at = (self._at + count) % size
        return got


class I2cDevice(Device):
    """An adapter; `targets` by 7-bit address. Requests are served in order."""

    id = ids.I2C
    in_order = True
    features = abi.F_ZERO_LENGTH_REQUEST

    def __init__(self, targets: Mapping[int, Target]) -> None:
        super().__init__()
        self.targets: dict[int, Target] = dict(targets)
        self._failing = False
        """A request of the present group has failed: the rest of it fails too."""

    def handle(self, queue: DeviceQueue, chain: Chain) -> int:
        """A request: header, what is written; what is read, status."""
        room = chain.writable_size
        if not room:
            return 0
        got = None
        if room <= MAX_TRANSFER and chain.readable_size <= MAX_TRANSFER:
            got = self._request(queue.read(chain), room - 1)
        if got is None:
            queue.write(chain, _ERROR, room - 1)
            return 1 if room == 1 else 0
        return queue.write(chain, got.ljust(room - 1, b"\0") + _OK)

    def _request(self, request: bytes, room: int) -> bytes | None:
        """What was read; None if the request has failed."""
        try:
            address, flags = abi.parse_header(request)
        except DecodeError:
            return None
        got = None if self._failing else self._transfer(address, flags, request, room)
        self._failing = got is None and bool(flags & abi.FAIL_NEXT)
        return got

    def _transfer(self, address: int, flags: int, request: bytes, room: int) -> bytes | None:
        """What was read; None if nobody has acknowledged."""
        target = self.targets.get(address)
        if target is None:
            return None
        if flags & abi.READ:
            got = target.read(room)
            return None if got is None else got[:room]
        return b"" if target.write(request[abi.HEADER.size :]) else None

    def stop(self) -> None:
        """No group is under way."""
        self._failing = False
