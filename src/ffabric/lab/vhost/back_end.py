"""A vhost-user back end of our own, a process that has a device: ``python -m ... KIND SOCKET``.

It stands in for the daemons of rust-vmm where there is none, and offers what those offer: several
virtqueues, confirmations, the configuration, and a table of memory regions (vhost-user.rst). Its
front end is whoever connects first. It starts virtqueues at their beginning only, and ends when the
front end hangs up, or says what it does not understand: one line, status 1.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec import Struct

from ffabric.abi import vhost_user as abi
from ffabric.abi.errors import DecodeError
from ffabric.abi.vhost_user import Request
from ffabric.abi.virtio import features as bits
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import DeviceQueue, Place
from ffabric.guests.virtio.devices.gpio import GpioDevice
from ffabric.guests.virtio.devices.i2c import I2cDevice, Registers
from ffabric.guests.virtio.devices.rng import RngDevice
from ffabric.guests.virtio.dma import BadAddress, QueueError

CHIP: Final = 0x50
"""Address of the chip on the I2C bus, which has 16 registers."""
LINES: Final = ("led", "button")
"""Lines of the GPIO controller: the first one drives the second."""
_PROTOCOL: Final = abi.PROTOCOL_MQ | abi.PROTOCOL_REPLY_ACK | abi.PROTOCOL_CONFIG
_RINGS: Final = bits.VERSION_1 | bits.INDIRECT_DESC | abi.F_PROTOCOL_FEATURES
_MOST_FDS: Final = abi.BASELINE_REGIONS
_NO_FD: Final = 1 << 8
_MOST_CONFIG: Final = 256
"""Bytes of configuration (vhost-user.rst, virtio device config space)."""
_U16: Final = struct.Struct("@H")


class Misunderstood(Exception):  # noqa: N818 - what happened
    """The front end says what is none of the protocol, or not done here."""


class _Region(Struct):
    guest: int
    size: int
    user: int
    bytes: mmap.mmap
    offset: int
    """Where the region begins in its file."""


class Reach:
    """What the front end has handed over. It is the `Dma` of the device, by guest addresses."""

    def __init__(self) -> None:
        self._regions: list[_Region] = []

    def replace(self, table: list[tuple[int, int, int, int]], fds: list[int]) -> None:
        """These regions, of (guest address, bytes, user address, offset), and no others."""
        self.close()
        for (guest, size, user, offset), fd in zip(table, fds, strict=True):
            self._regions.append(_Region(guest, size, user, mmap.mmap(fd, offset + size), offset))

    def close(self) -> None:
        """Nothing any more."""
        for region in self._regions:
            region.bytes.close()
        self._regions.clear()

    def guest(self, user: int) -> int:
        """The guest address of what has a user address."""
        for region in self._regions:
            if region.user <= user < region.user + region.size:
                return region.guest + user - region.user
        raise Misunderstood(f"no region has {user:#x}")

    def _find(self, address: int, size: int) -> tuple[mmap.mmap, int]:
        for region in self._regions:
            if region.guest <= address and address + size <= region.guest + region.size:
                return region.bytes, region.offset + address - region.guest
        raise BadAddress(address, size, "no region has it")

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Judge an access; all regions can be written."""
        self._find(address, size)

    def read(self, address: int, size: int) -> bytes:
        """A copy of bytes."""
        memory, at = self._find(address, size)
        return memory[at : at + size]

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        memory, at = self._find(address, len(data))
        memory[at : at + len(data)] = data

    def read16(self, address: int) -> int:
        """A word, by one access."""
        memory, at = self._find(address, 2)
        value: int = _U16.unpack_from(memory, at)[0]
        return value

    def write16(self, address: int, value: int) -> None:
        """Store a word, by one access."""
        memory, at = self._find(address, 2)
        _U16.pack_into(memory, at, value)


class _Ring(Struct):
    """A virtqueue, as far as it was told; descriptors are -1 until they come."""

    size: int = 0
    user: tuple[int, int, int] = (0, 0, 0)
    """Descriptors, available ring, used ring."""
    kick: int = -1
    call: int = -1
    error: int = -1
    enabled: bool = False


class BackEnd:
    """A back end with a device, for the front end at the other end of a connection."""

    def __init__(self, device: Device, connection: socket.socket) -> None:
        self._device = device
        self._connection = connection
        self._reach = Reach()
        self._rings = [_Ring() for _ in device.queue_sizes]
        self._features = 0
        device.host = self

    def run(self) -> None:
        """Serve until the front end hangs up. Raises Misunderstood."""
        while True:
            kicks = {
                ring.kick: index
                for index, ring in enumerate(self._rings)
                if self._device.queues[index] is not None
            }
            connection = self._connection.fileno()
            ready, _, _ = select.select([connection, *kicks], [], [])
            for fd in ready:
                if fd in kicks:
                    with suppress(BlockingIOError):
                        os.eventfd_read(fd)
                        self._device.kick(kicks[fd])
            if connection in ready and not self._serve():
                return

    # What the device tells.

    def used(self, queue: int) -> None:
        """There are used buffers."""
        _signal(self._rings[queue].call)

    def config_changed(self, offset: int, length: int) -> None:
        """Nobody is told: that would take a connection of its own."""

    def broken(self, reason: str) -> None:
        """The driver's virtqueue is none."""
        for ring in self._rings:
            _signal(ring.error)

    def due(self) -> None:
        """What is left over is served at the next kick."""

    # What the front end says.

    def _serve(self) -> bool:
        """One message; False if there is none any more."""
        head, fds = self._receive(abi.HEADER.size)
        if not head:
            return False
        request, flags, size = abi.HEADER.unpack(head)
        if flags & 3 != abi.VERSION or size > abi.MAX_PAYLOAD:
            raise Misunderstood(f"request {request}: flags {flags:#x}, {size} bytes")
        payload, more = self._receive(size)
        serve = _SERVICES.get(request)
        if serve is None:
            raise Misunderstood(f"request {request} is not served here")
        try:
            answer = serve(self, payload, fds + more)
        except (struct.error, ValueError, LookupError, OverflowError, OSError) as error:
            raise Misunderstood(f"{Request(request).name}: {error}") from error
        except (DecodeError, QueueError) as error:
            raise Misunderstood(f"{Request(request).name}: {error}") from error
        if answer is None and flags & abi.FLAG_NEED_REPLY and self._acknowledges:
            answer = abi.U64.pack(0)
        if answer is not None:
            head = abi.HEADER.pack(request, abi.VERSION | abi.FLAG_REPLY, len(answer))
            self._connection.sendall(head + answer)
        return True

    def _receive(self, size: int) -> tuple[bytes, list[int]]:
        """So many bytes and what came beside them; nothing if the front end has hung up."""
        data, fds = b"", list[int]()
        while len(data) < size:
            part, more, _, _ = socket.recv_fds(self._connection, size - len(data), _MOST_FDS)
            fds += more
            if not part:
                return b"", fds
            data += part
        return data, fds

    @property
    def _acknowledges(self) -> bool:
        return bool(self._features & abi.F_PROTOCOL_FEATURES)

    def _get_features(self, _payload: bytes, _fds: list[int]) -> bytes:
        return abi.U64.pack(self._device.features | _RINGS)

    def _set_features(self, payload: bytes, _fds: list[int]) -> None:
        self._device.driver_features = abi.parse_u64(payload)

    def _get_protocol_features(self, _payload: bytes, _fds: list[int]) -> bytes:
        return abi.U64.pack(_PROTOCOL)

    def _set_protocol_features(self, _payload: bytes, _fds: list[int]) -> None:
        self._features |= abi.F_PROTOCOL_FEATURES

    def _set_owner(self, _payload: bytes, _fds: list[int]) -> None:
        """It is the only front end that there is."""

    def _get_queue_num(self, _payload: bytes, _fds: list[int]) -> bytes:
        return abi.U64.pack(len(self._rings))

    def _set_mem_table(self, payload: bytes, fds: list[int]) -> None:
        count, _ = abi.TABLE.unpack_from(payload)
        table = list(abi.REGION.iter_unpack(payload[abi.TABLE.size :]))
        if not len(table) == count == len(fds):
            raise ValueError(f"{count} regions, {len(table)} of them told, {len(fds)} files")
        self._reach.replace(table, fds)
        for fd in fds:
            os.close(fd)

    def _set_num(self, payload: bytes, _fds: list[int]) -> None:
        index, size = abi.VRING_STATE.unpack(payload)
        self._rings[index].size = size

    def _set_address(self, payload: bytes, _fds: list[int]) -> None:
        index, _, desc, used, avail, _ = abi.VRING_ADDR.unpack(payload)
        self._rings[index].user = (desc, avail, used)

    def _set_base(self, payload: bytes, _fds: list[int]) -> None:
        _, base = abi.VRING_STATE.unpack(payload)
        if base:
            raise ValueError("a virtqueue starts at its beginning here")

    def _get_base(self, payload: bytes, _fds: list[int]) -> bytes:
        """The virtqueue stops."""
        index, _ = abi.VRING_STATE.unpack(payload)
        device, ring = self._device, self._rings[index]
        queue, device.queues[index] = device.queues[index], None
        device.stop_queue(index)
        _close(ring.kick)
        ring.kick, ring.enabled = -1, False
        if not any(device.queues):
            device.stop()
        return abi.VRING_STATE.pack(index, 0 if queue is None else queue.taken)

    def _set_kick(self, payload: bytes, fds: list[int]) -> None:
        ring = self._rings[_queue(payload, fds)]
        _close(ring.kick)
        (ring.kick,) = fds
        os.set_blocking(ring.kick, False)
        if not self._acknowledges:
            ring.enabled = True
        self._start(self._rings.index(ring))

    def _set_call(self, payload: bytes, fds: list[int]) -> None:
        ring = self._rings[_queue(payload, fds)]
        _close(ring.call)
        (ring.call,) = fds

    def _set_error(self, payload: bytes, fds: list[int]) -> None:
        ring = self._rings[_queue(payload, fds)]
        _close(ring.error)
        (ring.error,) = fds

    def _enable(self, payload: bytes, _fds: list[int]) -> None:
        index, enabled = abi.VRING_STATE.unpack(payload)
        self._rings[index].enabled = bool(enabled)
        self._start(index)

    def _start(self, index: int) -> None:
        ring, device = self._rings[index], self._device
        if not ring.enabled or ring.kick < 0 or device.queues[index] is not None:
            return
        desc, avail, used = (self._reach.guest(user) for user in ring.user)
        place = Place(ring.size, desc, avail, used)
        first = not any(device.queues)
        device.queues[index] = DeviceQueue(self._reach, place, device.driver_features)
        if first:
            device.start()
        device.start_queue(index)
        device.kick(index)  # it may have been kicked already

    def _get_config(self, payload: bytes, _fds: list[int]) -> bytes:
        offset, size, flags = abi.CONFIG.unpack_from(payload)
        if size > _MOST_CONFIG:
            raise ValueError(f"{size} bytes of configuration")
        data = self._device.config[offset : offset + size].ljust(size, b"\0")
        return abi.CONFIG.pack(offset, size, flags) + data

    def _set_config(self, payload: bytes, _fds: list[int]) -> None:
        offset, size, _ = abi.CONFIG.unpack_from(payload)
        self._device.write_config(offset, payload[abi.CONFIG.size :][:size])


def _queue(payload: bytes, fds: list[int]) -> int:
    word = abi.parse_u64(payload)
    if word & _NO_FD or len(fds) != 1:
        raise ValueError(f"{len(fds)} descriptors: a virtqueue has one eventfd here")
    return word & 0xFF


def _signal(fd: int) -> None:
    if fd >= 0:
        os.eventfd_write(fd, 1)


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


_SERVICES: Final[dict[int, Callable[[BackEnd, bytes, list[int]], bytes | None]]] = {
    Request.GET_FEATURES: BackEnd._get_features,
    Request.SET_FEATURES: BackEnd._set_features,
    Request.SET_OWNER: BackEnd._set_owner,
    Request.SET_MEM_TABLE: BackEnd._set_mem_table,
    Request.SET_VRING_NUM: BackEnd._set_num,
    Request.SET_VRING_ADDR: BackEnd._set_address,
    Request.SET_VRING_BASE: BackEnd._set_base,
    Request.GET_VRING_BASE: BackEnd._get_base,
    Request.SET_VRING_KICK: BackEnd._set_kick,
    Request.SET_VRING_CALL: BackEnd._set_call,
    Request.SET_VRING_ERR: BackEnd._set_error,
    Request.GET_PROTOCOL_FEATURES: BackEnd._get_protocol_features,
    Request.SET_PROTOCOL_FEATURES: BackEnd._set_protocol_features,
    Request.GET_QUEUE_NUM: BackEnd._get_queue_num,
    Request.SET_VRING_ENABLE: BackEnd._enable,
    Request.GET_CONFIG: BackEnd._get_config,
    Request.SET_CONFIG: BackEnd._set_config,
}


def _gpio() -> GpioDevice:
    def on_output(line: int, value: int) -> None:
        if line == 0:
            gpio.drive(1, value)

    gpio = GpioDevice(LINES, on_output)
    return gpio


KINDS: Final[dict[str, Callable[[], Device]]] = {
    "gpio": _gpio,
    "i2c": lambda: I2cDevice({CHIP: Registers(bytes(16))}),
    "rng": lambda: RngDevice(seed=1),
}
"""Devices that it can have, by name."""


def main(arguments: list[str]) -> int:
    """Serve a device at a socket: the exit status."""
    if len(arguments) != 2 or arguments[0] not in KINDS:
        print(f"a kind of device ({', '.join(KINDS)}) and a socket are expected", file=sys.stderr)
        return 2
    kind, path = arguments
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        connection, _ = listening.accept()
    with connection:
        try:
            BackEnd(KINDS[kind](), connection).run()
        except Misunderstood as problem:
            print(problem, file=sys.stderr)
            return 1
        except ConnectionError:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
