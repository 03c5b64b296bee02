"""A GPIO controller with lines that interrupt (virtio 1.3, 5.18)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import gpio as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.gpio import Direction, Irq, Status, Type
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue

MAX_LINES: Final = 0xFFFF
_ERROR: Final = bytes((Status.ERR, 0))


class Line(Struct):
    """A line: its level is what the driver drives if it is an output, else what is outside."""

    name: str = ""
    direction: Direction = Direction.NONE
    value: int = 0
    irq: Irq = Irq.NONE
    buffer: int | None = None
    """The head of the driver's buffer that waits for the interrupt: it is unmasked."""
    pending: bool = False
    """An edge has come while the interrupt was masked."""


class GpioDevice(Device):
    """A controller whose lines have `names`; as many, and nameless ones have empty names.

    ``on_output`` gets the line and the value that the driver drives it to.
    """

    id = ids.GPIO
    features = abi.F_IRQ
    queue_sizes: Sequence[int] = (64, 64)

    def __init__(
        self, names: Sequence[str], on_output: Callable[[int, int], object] | None = None
    ) -> None:
        super().__init__()
        if not 0 < len(names) <= MAX_LINES:
            raise ValueError(f"a controller has 1 to {MAX_LINES} lines, not {len(names)}")
        self.lines: list[Line] = [Line(name) for name in names]
        self._names = b"".join(name.encode("ascii") + b"\0" for name in names)
        self._on_output = on_output
        self._chains: dict[int, Chain] = {}
        """The driver's buffers for interrupts, by their heads."""

    @property
    def config(self) -> bytes:
        """How many lines, and how long their names are together."""
        return abi.CONFIG.at().pack(len(self.lines), len(self._names) if any(self._named) else 0)

    @property
    def _named(self) -> list[str]:
        return [line.name for line in self.lines]

    def drive(self, number: int, value: int) -> None:
        """Drive a line from outside; an output stays as it is."""
        line = self.lines[number]
        before, level = line.value, int(bool(value))
        if line.direction is Direction.OUT:
            return
        line.value = level
        edge = {(0, 1): Irq.RISING, (1, 0): Irq.FALLING}.get((before, level), Irq.NONE)
        if edge & line.irq & Irq.BOTH:
            line.pending = True
        self._interrupt(line)
        self.signal(abi.EVENT)

    def stop(self) -> None:
        """All lines are as they were before there was a driver."""
        for line in self.lines:
            line.direction, line.irq = Direction.NONE, Irq.NONE
            line.buffer, line.pending = None, False
        self._chains.clear()

    def stop_queue(self, index: int) -> None:
        """Buffers of the event queue are not there any more."""
        if index == abi.EVENT:
            self._chains.clear()
            for line in self.lines:
                line.buffer = None

    def process(self, index: int) -> None:
        """Requests; or lines whose interrupts are unmasked."""
        queue = self.queues[index]
        if queue is None:
            return
        for chain in queue.chains():
            if index == abi.REQUEST:
                queue.push(chain.head, self.handle(queue, chain))
            else:
                self._unmask(queue, chain)
        self.signal(index)
        if index == abi.REQUEST:
            self.signal(abi.EVENT)

    def handle(self, queue: DeviceQueue, chain: Chain) -> int:
        """A request: status and value, or status and names."""
        room = chain.writable_size
        try:
            type_, number, value = abi.parse_request(
                queue.read(chain, most=abi.HEADER.size + 1),
            )
        except DecodeError:
            return queue.write(chain, _ERROR)
        if type_ == Type.GET_LINE_NAMES:
            fits = room >= 1 + len(self._names) and any(self._named)
            return queue.write(chain, bytes((Status.OK,)) + self._names if fits else _ERROR)
        serve = _SERVICES.get(type_)
        if serve is None or number >= len(self.lines):
            return queue.write(chain, _ERROR)
        got = serve(self, number, value)
        return queue.write(chain, _ERROR if got is None else bytes((Status.OK, got)))

    # Each service gets line and value: what it answers, None if it is refused.

    def _get_direction(self, number: int, _value: int) -> int | None:
        return self.lines[number].direction

    def _set_direction(self, number: int, value: int) -> int | None:
        line = self.lines[number]
        if value not in Direction.__members__.values() or line.irq:
            return None  # the interrupt has to be disabled first (5.18.6.1.3)
        line.direction = Direction(value)
        if line.direction is Direction.OUT:
            self._output(number)
        return 0

    def _get_value(self, number: int, _value: int) -> int | None:
        return self.lines[number].value

    def _set_value(self, number: int, value: int) -> int | None:
        """Before a line is an output, too: it takes the value then."""
        line = self.lines[number]
        if value not in (0, 1) or line.direction is Direction.IN:
            return None
        line.value = value
        if line.direction is Direction.OUT:
            self._output(number)
        return 0

    def _set_irq_type(self, number: int, value: int) -> int | None:
        line = self.lines[number]
        known = value in Irq.__members__.values() and not (value and self.lines[number].irq)
        if not self.driver_features & abi.F_IRQ or not known:
            return None
        if value and line.direction is not Direction.IN:
            return None
        line.irq, line.pending = Irq(value), False
        if not value:
            self._give_back(line, abi.INVALID)
        return 0

    def _output(self, number: int) -> None:
        if self._on_output is not None:
            self._on_output(number, self.lines[number].value)

    # Interrupts.

    def _unmask(self, queue: DeviceQueue, chain: Chain) -> None:
        """A buffer for the interrupt of a line; of no use if that is disabled, or there is one."""
        try:
            number = abi.parse_line(queue.read(chain, most=abi.LINE.size + 1))
        except DecodeError:
            number = len(self.lines)
        line = self.lines[number] if number < len(self.lines) else None
        if line is None or not line.irq or line.buffer is not None:
            queue.push(chain.head, queue.write(chain, bytes((abi.INVALID,))))
            return
        line.buffer = chain.head
        self._chains[chain.head] = chain
        self._interrupt(line)

    def _interrupt(self, line: Line) -> None:
        """Tell of an interrupt, if there is one and it is not masked."""
        level = {Irq.HIGH: 1, Irq.LOW: 0}.get(line.irq)
        if line.pending or (level is not None and line.value == level):
            if line.buffer is not None:
                line.pending = False
            self._give_back(line, abi.VALID)

    def _give_back(self, line: Line, status: int) -> None:
        queue, head, line.buffer = self.queues[abi.EVENT], line.buffer, None
        if queue is not None and head is not None:
            chain = self._chains.pop(head)
            queue.push(head, queue.write(chain, bytes((status,))))


_SERVICES: Final[dict[int, Callable[[GpioDevice, int, int], int | None]]] = {
    Type.GET_DIRECTION: GpioDevice._get_direction,
    Type.SET_DIRECTION: GpioDevice._set_direction,
    Type.GET_VALUE: GpioDevice._get_value,
    Type.SET_VALUE: GpioDevice._set_value,
    Type.SET_IRQ_TYPE: GpioDevice._set_irq_type,
}
