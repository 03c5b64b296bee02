"""Two systems with a window of memory and a doorbell between them, and nothing else in common.

That is the case of two operating systems on unlike cores, or of a board behind PCIe. The window is
a file that both map: two rings of messages (as the FIFO of the bus over FF-A has them), and behind
them a pool for virtqueues and copies of buffers. Device addresses are offsets in the window. The
doorbell is a socket on which a byte says that there is something in a ring.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final, TypeVar

from ffabric.abi.virtio_msg.generations import (
    DEFAULT,
    Generation,
    GenerationName,
    as_wide_generation,
)
from ffabric.abi.virtio_msg.header import RESPONSE, parse_header
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.virtio.dma import BadAddress, Coherent, Mapped, Mapping, NoRoom, Tally
from ffabric.guests.virtio_msg.buses.host import DeviceHost
from ffabric.guests.virtio_msg.driver.bus import BusError, OutOfPatience, Pauses
from ffabric.guests.virtio_msg.driver.message_bus import FLOOD, Link, MessageBus
from ffabric.guests.virtio_msg.fifo import BrokenFifo, Ring, attach, create
from ffabric.system.vcpu import OutOfMemory, Ram

RINGS: Final = 4 * PAGE
"""Bytes of both rings; the pool follows."""
SLOT: Final = 256
PATIENCE: Final = 5.0
"""Seconds that a driver waits for an answer."""
OWN: Final = 1 << 20
"""Bytes of a driver's own memory."""
WINDOW: Final = 1 << 32
"""Where a driver has the window."""
_AGAIN: Final = 0.001
"""Seconds after which a message that had no answer yet is served again, if nothing comes before."""
_U16 = struct.Struct("<H")
T = TypeVar("T")


class Window:
    """The memory in common, of ``fd``: what has 16 bits is accessed at once."""

    def __init__(self, fd: int) -> None:
        self.size: int = os.fstat(fd).st_size
        self._bytes = mmap.mmap(fd, self.size)

    def check(self, address: int, size: int, *, write: bool) -> None:
        """A device may access what is in the pool."""
        if not RINGS <= address <= address + size <= self.size:
            raise BadAddress(address, size, "not in the pool")

    def read16(self, address: int) -> int:
        """A word."""
        value: int = _U16.unpack_from(self._bytes, address)[0]
        return value

    def write16(self, address: int, value: int) -> None:
        """Store a word."""
        _U16.pack_into(self._bytes, address, value)

    def read(self, address: int, size: int) -> bytes:
        """A copy."""
        return self._bytes[address : address + size]

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        self._bytes[address : address + len(data)] = data


class PoolDma:
    """What a device reaches of a window: its pool."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Judge an access without making it."""
        self._window.check(address, size, write=write)

    def read16(self, address: int) -> int:
        """A word, by one access."""
        self.check(address, 2, write=False)
        return self._window.read16(address)

    def write16(self, address: int, value: int) -> None:
        """Store a word, by one access."""
        self.check(address, 2, write=True)
        self._window.write16(address, value)

    def read(self, address: int, size: int) -> bytes:
        """A copy."""
        self.check(address, size, write=False)
        return self._window.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        self.check(address, len(data), write=True)
        self._window.write(address, data)


class Mailbox:
    """One end: messages out, messages in, and the bell. `ended`: the other end is gone."""

    def __init__(self, window: Window, bell: socket.socket, rings: tuple[Ring, Ring]) -> None:
        self.window = window
        self.ended: bool = False
        self._bell = bell
        self._bell.settimeout(0)
        self._out, self._in = rings

    @classmethod
    def create(cls, fd: int, bell: socket.socket) -> Mailbox:
        """The driver's end, of a window that is all zero."""
        window = Window(fd)
        return cls(window, bell, create(window, 0, RINGS, SLOT))

    @classmethod
    def attach(cls, fd: int, bell: socket.socket) -> Mailbox:
        """The device's end. Raises BrokenFifo for a window without rings."""
        window = Window(fd)
        incoming, outgoing = attach(window, 0, RINGS)
        return cls(window, bell, (outgoing, incoming))

    def put(self, message: bytes) -> bool:
        """Send a message; False if there is no room."""
        if not self._out.put(message):
            return False
        self.ring()
        return True

    def get(self) -> bytes | None:
        """The first message that has come; what is none is b""."""
        full = self._in.waiting == self._in.depth - 1
        data = self._in.get()
        if full:
            self.ring()
        return data

    def ring(self) -> None:
        """Say that something has changed."""
        try:
            self._bell.send(b"\0")
        except BlockingIOError:
            pass  # it rings already
        except OSError:
            self.ended = True

    def wait(self, seconds: float | None) -> None:
        """Until the bell rings, or the other end is gone, or so many seconds have passed."""
        select.select([self._bell], [], [], seconds)
        try:
            self.ended |= not self._bell.recv(PAGE)
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True


def serve(mailbox: Mailbox, host: DeviceHost) -> None:
    """Serve the devices of a host until the driver is gone."""
    pending: deque[bytes] = deque()
    while not mailbox.ended:
        try:
            while (message := mailbox.get()) is not None:
                while (response := host.handle(message)) is None and not mailbox.ended:
                    host.look()
                    mailbox.wait(_AGAIN)
                if response:
                    pending.append(response)
            host.look()
            while (event := host.take_event()) is not None:
                pending.append(event)
            while pending and mailbox.put(pending[0]):
                pending.popleft()
        except BrokenFifo:
            return
        mailbox.wait(None)


class _Waits:
    def __init__(self, mailbox: Mailbox, what: str, patience: float | None) -> None:
        self._mailbox = mailbox
        self._what = what
        self._end = None if patience is None else monotonic() + patience

    async def pause(self) -> None:
        """Until the bell rings."""
        if self._mailbox.ended:
            raise BusError("the other end is gone")
        left = None if self._end is None else self._end - monotonic()
        if left is not None and left <= 0:
            raise OutOfPatience(self._what)
        self._mailbox.wait(left)


class _Link:
    def __init__(self, mailbox: Mailbox, pauses: Callable[[str], Pauses]) -> None:
        self._mailbox = mailbox
        self._pauses = pauses
        self.heard: deque[bytes] = deque()

    async def request(self, message: bytes) -> bytes:
        """Send it, and wait for its response."""
        await self.event(message)
        sent, wait = parse_header(message), self._pauses("no response comes")
        fruitless = 0
        while fruitless < FLOOD:
            data = self._get()
            if data is None:
                await wait.pause()
                continue
            fruitless += 1
            header = parse_header(data) if data else None
            if header is None:
                continue
            if not header.type & RESPONSE:
                self.heard.append(data)
            elif (header.device, header.token) == (sent.device, sent.token):
                return data
        raise BusError("the device side sends event after event")

    async def event(self, message: bytes) -> None:
        """Send it, when there is room."""
        wait = self._pauses("the device side does not read its messages")
        while not self._put(message):
            await wait.pause()

    async def listen(self) -> None:
        """Take what has come; a response is to nothing any more."""
        for _ in range(FLOOD):
            data = self._get()
            if data is None:
                break
            if data and not data[0] & RESPONSE:
                self.heard.append(data)

    async def fetch(self, poll: bytes) -> bytes | None:
        """One that has come."""
        if not self.heard:
            await self.listen()
        return self.heard.popleft() if self.heard else None

    async def rest(self, wait: Pauses) -> None:
        """Until the bell rings."""
        await wait.pause()

    def _put(self, message: bytes) -> bool:
        try:
            return self._mailbox.put(message)
        except BrokenFifo as error:
            raise BusError(str(error)) from error

    def _get(self) -> bytes | None:
        try:
            return self._mailbox.get()
        except BrokenFifo as error:
            raise BusError(str(error)) from error


class _Joined:
    """A driver's memory: its own, and the window."""

    def __init__(self, window: Window) -> None:
        self._own = bytearray(OWN)
        self._window = window

    def read16(self, ipa: int) -> int:
        """A word."""
        if ipa >= WINDOW:
            return self._window.read16(ipa - WINDOW)
        return int.from_bytes(self._own[ipa : ipa + 2], "little")

    def write16(self, ipa: int, value: int) -> None:
        """Store a word."""
        if ipa >= WINDOW:
            self._window.write16(ipa - WINDOW, value)
        else:
            self._own[ipa : ipa + 2] = value.to_bytes(2, "little")

    def read(self, ipa: int, n: int) -> bytes:
        """A copy."""
        if ipa >= WINDOW:
            return self._window.read(ipa - WINDOW, n)
        return bytes(self._own[ipa : ipa + n])

    def write(self, ipa: int, data: bytes) -> None:
        """Store bytes."""
        if ipa >= WINDOW:
            self._window.write(ipa - WINDOW, data)
        else:
            self._own[ipa : ipa + len(data)] = data


class Copies:
    """Virtqueues in the pool of a window, and buffers copied into it and out of it."""

    def __init__(self, memory: _Joined, size: int) -> None:
        self.shares: int = 0
        self.tally: Tally = Tally(reserved=size - RINGS)
        self._memory = memory
        self._pool = Ram(WINDOW + RINGS, size - RINGS)

    async def open(self) -> None:
        """It is there."""

    def close(self) -> None:
        """It stays there."""

    async def allocate(self, size: int) -> Coherent:
        """Pages of the pool, zeroed."""
        ipa = self._take(size)
        self._memory.write(ipa, bytes(pages_for(size) * PAGE))
        return Coherent(ipa, ipa - WINDOW, size)

    async def free(self, coherent: Coherent) -> None:
        """Back into the pool."""
        self._pool.free(coherent.ipa, pages_for(coherent.size))

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """Copy a buffer into the pool."""
        slot = self._take(size)
        if not from_device:
            self._memory.write(slot, self._memory.read(ipa, size))
        return Mapped(ipa, slot - WINDOW, size, from_device, slot)

    async def unmap(self, mapped: Mapped) -> None:
        """Copy it out of the pool."""
        if mapped.from_device:
            self._memory.write(mapped.ipa, self._memory.read(mapped.key, mapped.size))
        self._pool.free(mapped.key, pages_for(mapped.size))

    async def abandon(self, given: Coherent | Mapped) -> None:
        """It stays taken."""

    def _take(self, size: int) -> int:
        try:
            return self._pool.allocate(pages_for(size))
        except OutOfMemory as error:
            raise NoRoom(str(error)) from error


class MailboxBus(MessageBus):
    """The bus of a driver at a mailbox; nothing of it needs a partition."""

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        generation: Generation | GenerationName = DEFAULT,
        patience: float = PATIENCE,
    ) -> None:
        memory = _Joined(mailbox.window)
        spoken = as_wide_generation(generation)
        super().__init__("the mailbox", spoken, SLOT, memory, Ram(PAGE, OWN - PAGE))
        self._mailbox = mailbox
        self._patience = patience
        self.mapping: Mapping = Copies(memory, mailbox.window.size)
        self.link: Link = _Link(mailbox, self.pauses)

    def pauses(self, what: str, *, for_ever: bool = False, announced: bool = False) -> Pauses:
        """A wait for the bell; ``what`` is said if it does not ring."""
        return _Waits(self._mailbox, what, None if for_ever else self._patience)


def run(program: Coroutine[Any, Any, T]) -> T:
    """Run a driver's program where nothing else is to run: it waits by itself."""
    try:
        program.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    program.close()
    raise RuntimeError("a driver at a mailbox has nobody to give cycles to")
