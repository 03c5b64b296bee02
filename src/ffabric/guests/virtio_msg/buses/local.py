"""Buses of one partition on which each message is answered at once.

*Loopback*: the devices are the partition's own. *MMIO*: messages go through a window of registers,
each access of which is trapped. *Hypercall*: messages are the registers of a call. Devices see the
partition's memory at its own addresses, so nothing is shared and nothing is copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ffabric.abi.virtio_msg.ffa import MAX_DIRECT, from_registers, to_registers
from ffabric.abi.virtio_msg.generations import (
    DEFAULT,
    Generation,
    GenerationName,
    as_wide_generation,
    check_size,
)
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.dma import Coherent, Mapped, Mapping, NoRoom, Tally
from ffabric.guests.virtio_msg.buses.host import DeviceHost, SameMemory
from ffabric.guests.virtio_msg.buses.register_window import (
    BUSY as TRY_AGAIN,
)
from ffabric.guests.virtio_msg.buses.register_window import (
    LENGTH,
    MAGIC,
    MAGIC_VALUE,
    MESSAGE,
    SEND,
    SIZE,
)
from ffabric.guests.virtio_msg.driver.attention import Attention, Wait
from ffabric.guests.virtio_msg.driver.bus import BusError, Pauses
from ffabric.guests.virtio_msg.driver.message_bus import Link, MessageBus
from ffabric.system.vcpu import OutOfMemory

LARGEST: Final = 1024
HYPERCALL: Final = 0xC300_0080
"""A call of an OEM's (SMCCC), with a message in x4 to x17; x0 says how it ended."""
DONE, BUSY = 0, 1
_BUSY: Final = "the device side is busy"
Exchange = Callable[[bytes], Awaitable[bytes | None]]
"""Send a message: its response, b"" if it has none. None: busy."""


class SameAddresses:
    """Memory as the driver has it is memory as the device has it."""

    def __init__(self, ffa: Ffa) -> None:
        self.shares: int = 0
        self.tally: Tally = Tally()
        self._ffa = ffa

    async def open(self) -> None:
        """Nothing is to be shared."""

    def close(self) -> None:
        """Nothing was shared."""

    async def allocate(self, size: int) -> Coherent:
        """Pages, zeroed."""
        pages = pages_for(size)
        try:
            ipa = self._ffa.ram.allocate(pages)
        except OutOfMemory as error:
            raise NoRoom(str(error)) from error
        self._ffa.memory.write(ipa, bytes(pages * PAGE))
        return Coherent(ipa, ipa, size)

    async def free(self, coherent: Coherent) -> None:
        """Give them back."""
        self._ffa.ram.free(coherent.ipa, pages_for(coherent.size))

    async def map(self, ipa: int, size: int, *, from_device: bool) -> Mapped:
        """It is where it is."""
        return Mapped(ipa, ipa, size, from_device, 0)

    async def unmap(self, mapped: Mapped) -> None:
        """It was where it was."""

    async def abandon(self, given: Coherent | Mapped) -> None:
        """The device may write there: it stays taken."""


class _Answered:
    """A way of messages on which each is answered at once, or the other side is busy."""

    def __init__(self, exchange: Exchange, pauses: Callable[[str], Pauses]) -> None:
        self.heard: deque[bytes] = deque()
        self._exchange = exchange
        self._pauses = pauses

    async def listen(self) -> None:
        """Nothing comes unasked."""

    async def request(self, message: bytes) -> bytes:
        """Send it again while the device side is busy."""
        wait = None
        while (response := await self._exchange(message)) is None:
            wait = wait or self._pauses(_BUSY)
            await wait.pause()
        if not response:
            raise BusError("the device side has no answer")
        return response

    async def event(self, message: bytes) -> None:
        """An event has no answer."""
        await self._exchange(message)

    async def fetch(self, poll: bytes) -> bytes | None:
        """Ask for it."""
        return await self.request(poll)

    async def rest(self, wait: Pauses) -> None:
        """Nobody says that there is something."""
        await wait.pause()


class LocalBus(MessageBus):
    """The bus of a partition whose messages ``exchange`` takes.

    A VM waits by its timer: its `on_device_interrupt` passes interrupts on (`attention`'s
    `interrupted`), as that of a `DriverSide` does.
    """

    def __init__(
        self,
        ffa: Ffa,
        name: str,
        exchange: Exchange,
        *,
        generation: Generation | GenerationName = DEFAULT,
        max_size: int = MAX_DIRECT,
    ) -> None:
        spoken = as_wide_generation(generation)
        size = check_size(max_size, spoken, LARGEST)
        super().__init__(name, spoken, size, ffa.memory, ffa.ram)
        self.attention: Attention = Attention(ffa, by_interrupt=False, timer=not ffa.vcpu.secure)
        self.mapping: Mapping = SameAddresses(ffa)
        self.link: Link = _Answered(exchange, self.pauses)

    def pauses(self, what: str, *, for_ever: bool = False, announced: bool = False) -> Pauses:
        """A wait; ``what`` is said if it does not come."""
        return Wait(self.attention, what, for_ever=for_ever, announced=announced)

    async def open(self) -> None:
        """Find the devices."""
        await self.find_devices()

    async def close(self) -> None:
        """Stop all devices."""
        for end in list(self.devices.values()):
            await end.reset()
        self.devices.clear()


def loopback(
    ffa: Ffa,
    devices: Iterable[Device],
    *,
    generation: Generation | GenerationName = DEFAULT,
    max_size: int = MAX_DIRECT,
) -> LocalBus:
    """A bus to devices of the partition itself."""
    host = DeviceHost(devices, SameMemory(ffa.memory), generation=generation, max_size=max_size)

    async def exchange(message: bytes) -> bytes | None:
        return host.handle(message)

    return LocalBus(ffa, "itself", exchange, generation=generation, max_size=max_size)


def hypercalls(ffa: Ffa, *, generation: Generation | GenerationName = DEFAULT) -> LocalBus:
    """A bus whose messages are calls, which `serve_calls` answers."""

    async def exchange(message: bytes) -> bytes | None:
        x = await ffa.call(HYPERCALL, 0, 0, 0, *to_registers(message))
        if x[0] not in (DONE, BUSY):
            raise BusError("nobody answers hypercalls")
        return _unpadded(from_registers(x[4:18])) if x[0] == DONE else None

    return LocalBus(ffa, "the hypervisor", exchange, generation=generation)


def serve_calls(host: DeviceHost) -> Callable[[list[int]], list[int]]:
    """What answers the calls of such a bus: gets x0 to x17, and says what they become."""

    def serve(x: list[int]) -> list[int]:
        response = host.handle(from_registers(x[4:18]))
        if response is None:
            return [BUSY]
        return [DONE, 0, 0, 0, *to_registers(response)]

    return serve


def _unpadded(data: bytes) -> bytes:
    """A response that came in registers: zeros are none."""
    return data if any(data) else b""


def registers(ffa: Ffa, ipa: int, *, generation: Generation | GenerationName = DEFAULT) -> LocalBus:
    """A bus through a `Window` that is mapped at ``ipa``."""
    memory = ffa.memory
    if memory.read32(ipa + MAGIC) != MAGIC_VALUE:
        raise BusError(f"there is no window for messages at {ipa:#x}")
    size = memory.read32(ipa + SIZE)

    async def exchange(message: bytes) -> bytes | None:
        padded = message.ljust(-(-len(message) // 4) * 4, b"\0")
        for at in range(0, len(padded), 4):
            word = int.from_bytes(padded[at : at + 4], "little")
            memory.write32(ipa + MESSAGE + at, word)
        memory.write32(ipa + SEND, len(message))
        length = memory.read32(ipa + LENGTH)
        if length == TRY_AGAIN:
            return None
        if length > size:
            raise BusError(f"a response of {length} bytes in a window of {size}")
        words = [memory.read32(ipa + MESSAGE + at) for at in range(0, length, 4)]
        return b"".join(word.to_bytes(4, "little") for word in words)[:length]

    return LocalBus(ffa, "a window", exchange, generation=generation, max_size=size)
