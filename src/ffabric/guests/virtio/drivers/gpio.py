"""A driver for GPIO controllers (virtio 1.3, 5.18)."""

from __future__ import annotations

from typing import Final

from ffabric.abi.virtio import gpio as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.gpio import Direction, Irq, Status, Type
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.driver import Driver

RESPONSE: Final = 64
"""Where the response to a request is, behind it."""


class GpioError(Exception):
    """A controller refused a request."""


class GpioDriver(Driver):
    """A controller of `count` lines, which have `names`."""

    id = ids.GPIO
    features = abi.F_IRQ
    queue_count = 2
    count: int = 0
    names: tuple[str, ...] = ()

    async def start(self) -> None:
        """Read how many lines there are, and what they are called."""
        config = await self.device.read_config(0, abi.CONFIG_SIZE)
        self.count, size = abi.CONFIG.at().unpack(config)
        self._page = await self.allocate(max(PAGE, RESPONSE + 1 + size))
        self._irqs: dict[int, int] = {}
        """By line whose interrupt is unmasked: the number of its request."""
        self._slots = await self.allocate(4 * self.count)
        self.names = ("",) * self.count
        if size:
            names = await self._request(Type.GET_LINE_NAMES, 0, 0, size)
            self.names = tuple(name.decode("ascii") for name in names.split(b"\0")[: self.count])

    @property
    def needed_queues(self) -> int:
        """There is no event queue without F_IRQ."""
        return 2 if self.negotiated & abi.F_IRQ else 1

    async def _request(self, type_: Type, line: int, value: int, size: int = 1) -> bytes:
        """A request: what follows the status. Raises GpioError."""
        memory, page = self.device.memory, self._page
        memory.write(page.ipa, abi.HEADER.pack(type_, line, value))
        at = page.address
        buffers = [(at, abi.HEADER.size, False), (at + RESPONSE, 1 + size, True)]
        await self.request(abi.REQUEST, buffers)
        answer = memory.read(page.ipa + RESPONSE, 1 + size)
        if answer[0] != Status.OK:
            raise GpioError(f"{type_.name} of line {line}: refused")
        return answer[1:]

    async def direction(self, line: int) -> Direction:
        """Which way a line goes."""
        return Direction((await self._request(Type.GET_DIRECTION, line, 0))[0])

    async def set_input(self, line: int) -> None:
        """Have a line be an input."""
        await self._request(Type.SET_DIRECTION, line, Direction.IN)

    async def set_output(self, line: int, value: int) -> None:
        """Have a line be an output; it has the value from the first moment."""
        await self._request(Type.SET_VALUE, line, value)
        await self._request(Type.SET_DIRECTION, line, Direction.OUT)

    async def release(self, line: int) -> None:
        """Have a line be neither input nor output."""
        await self._request(Type.SET_DIRECTION, line, Direction.NONE)

    async def get(self, line: int) -> int:
        """The value of a line."""
        return (await self._request(Type.GET_VALUE, line, 0))[0]

    async def set(self, line: int, value: int) -> None:
        """Set the value of an output."""
        await self._request(Type.SET_VALUE, line, value)

    async def enable(self, line: int, irq: Irq) -> None:
        """Enable the interrupt of an input, which `wait_for` waits for."""
        await self._request(Type.SET_IRQ_TYPE, line, irq)

    async def disable(self, line: int) -> None:
        """Disable it; what was latched is forgotten."""
        await self._request(Type.SET_IRQ_TYPE, line, Irq.NONE)
        number = self._irqs.pop(line, None)
        if number is not None:
            await self.finish(abi.EVENT, number)

    async def unmask(self, line: int) -> None:
        """Let the interrupt of a line come, once."""
        memory, slots = self.device.memory, self._slots
        at = 4 * line
        memory.write(slots.ipa + at, abi.LINE.pack(line) + b"\xff")
        address = slots.address + at
        buffers = [(address, abi.LINE.size, False), (address + abi.LINE.size, 1, True)]
        self._irqs[line] = await self.submit(abi.EVENT, buffers)

    async def wait_for(self, line: int) -> None:
        """Until the interrupt of a line has come; it is unmasked if it is not yet.

        Raises GpioError if it is not enabled.
        """
        if line not in self._irqs:
            await self.unmask(line)
        await self.finish(abi.EVENT, self._irqs.pop(line), for_ever=True)
        at = self._slots.ipa + 4 * line + abi.LINE.size
        if self.device.memory.read(at, 1)[0] != abi.VALID:
            raise GpioError(f"the interrupt of line {line} is not enabled")
