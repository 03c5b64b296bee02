"""The PL011 UART (Arm DDI 0183, r1p5).

Characters take no time: what is written while the transmitter is on has left when the write ends,
so the transmit FIFO fills only while it is off. Interrupts are those of the FIFO levels: *transmit*
is an event, set each time the FIFO drains; *receive* is set while at least the trigger level is
waiting, *receive timeout* while anything is. The UART starts as boot firmware hands it over, with
UARTEN, TXE and RXE set: many drivers count on that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from ffabric.machine.bus import Device
from ffabric.machine.devices.description import DeviceDescription, Frame, RaiseIrq, Wiring
from ffabric.machine.lines import Lines
from ffabric.machine.registers import (
    Register,
    RegisterDevice,
    RegisterMap,
    identification,
    stored,
)

FR_RXFE = 1 << 4
FR_TXFF = 1 << 5
FR_RXFF = 1 << 6
FR_TXFE = 1 << 7

LCR_H_FEN = 1 << 4

CR_UARTEN = 1 << 0
CR_LBE = 1 << 7
CR_TXE = 1 << 8
CR_RXE = 1 << 9
CR_MASK = 0xFF87

INT_RX = 1 << 4
INT_TX = 1 << 5
INT_RT = 1 << 6
INT_OE = 1 << 10
INT_MASK = 0x7FF

RSR_OE = 1 << 3

FIFO_DEPTH = 32
RX_TRIGGER = (4, 8, 16, 24, 28, 4, 4, 4)
"""Characters at which the receive interrupt is due, by UARTIFLS.RXIFLSEL (3.3.9)."""


class Pl011(RegisterDevice):
    """A UART: ``on_byte`` gets each byte that is sent, ``on_line`` each line without its end."""

    __slots__ = (
        "_level",
        "_lines",
        "_on_byte",
        "_raise_irq",
        "_receive",
        "_transmit",
        "baud_fraction",
        "baud_integer",
        "control",
        "dma",
        "errors",
        "fifo_levels",
        "irda_counter",
        "line_control",
        "mask",
        "raw",
    )

    def __init__(
        self,
        raise_irq: RaiseIrq,
        on_byte: Callable[[int], None] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self._raise_irq = raise_irq
        self._on_byte = on_byte
        self._lines = None if on_line is None else Lines(on_line)
        self._receive: deque[int] = deque()
        self._transmit: deque[int] = deque()
        self._level = False
        self.errors = 0
        self.irda_counter = 0
        self.baud_integer = 0
        self.baud_fraction = 0
        self.line_control = 0
        self.control = CR_UARTEN | CR_TXE | CR_RXE
        self.fifo_levels = 0x12
        self.mask = 0
        self.raw = 0
        self.dma = 0

    def receive(self, data: bytes) -> int:
        """Let ``data`` arrive; the number of bytes that were taken (the rest found it full)."""
        if not self._on(CR_RXE):
            return 0
        taken = data[: self._depth - len(self._receive)]
        self._receive.extend(taken)
        if len(taken) < len(data):
            self.errors |= RSR_OE
            self.raw |= INT_OE
        self._update_receive()
        return len(taken)

    def flush(self) -> None:
        """Hand the line that has begun to ``on_line``, if there is one."""
        if self._lines is not None:
            self._lines.flush()

    @property
    def _depth(self) -> int:
        return FIFO_DEPTH if self.line_control & LCR_H_FEN else 1

    def _on(self, direction: int) -> bool:
        return self.control & (CR_UARTEN | direction) == CR_UARTEN | direction

    def _drain(self) -> None:
        if not self._transmit or not self._on(CR_TXE):
            return
        sent = bytes(self._transmit)
        self._transmit.clear()
        self.raw |= INT_TX
        if self.control & CR_LBE:
            self.receive(sent)
        else:
            self._send(sent)

    def _send(self, data: bytes) -> None:
        if self._on_byte is not None:
            for byte in data:
                self._on_byte(byte)
        if self._lines is not None:
            self._lines.write(data)

    def _update_receive(self) -> None:
        waiting = len(self._receive)
        trigger = RX_TRIGGER[self.fifo_levels >> 3 & 7] if self._depth > 1 else 1
        self.raw &= ~(INT_RX | INT_RT)
        self.raw |= INT_RX * (waiting >= trigger) | INT_RT * (waiting > 0)
        self._update()

    def _update(self) -> None:
        level = bool(self.raw & self.mask)
        if level != self._level:
            self._level = level
            self._raise_irq(level)

    def _read_data(self) -> int:
        if not self._receive:
            return 0
        byte = self._receive.popleft()
        self._update_receive()
        return byte

    def _write_data(self, value: int) -> None:
        if len(self._transmit) < self._depth:
            self._transmit.append(value & 0xFF)
        self._drain()
        self._update()

    def _read_errors(self) -> int:
        return self.errors

    def _write_errors(self, _value: int) -> None:
        self.errors = 0

    def _read_flags(self) -> int:
        depth = self._depth
        return (
            FR_RXFE * (not self._receive)
            | FR_TXFF * (len(self._transmit) >= depth)
            | FR_RXFF * (len(self._receive) >= depth)
            | FR_TXFE * (not self._transmit)
        )

    def _read_control(self) -> int:
        return self.control

    def _write_control(self, value: int) -> None:
        self.control = value & CR_MASK
        self._drain()
        self._update()

    def _read_mask(self) -> int:
        return self.mask

    def _write_mask(self, value: int) -> None:
        self.mask = value & INT_MASK
        self._update()

    def _read_raw(self) -> int:
        return self.raw

    def _read_masked(self) -> int:
        return self.raw & self.mask

    def _write_clear(self, value: int) -> None:
        self.raw &= ~value
        self._update()

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("UARTDR", 0x000, _read_data, _write_data),
        Register("UARTRSR", 0x004, _read_errors, _write_errors),
        Register("UARTFR", 0x018, _read_flags),
        stored("UARTILPR", 0x020, "irda_counter", 0xFF),
        stored("UARTIBRD", 0x024, "baud_integer", 0xFFFF),
        stored("UARTFBRD", 0x028, "baud_fraction", 0x3F),
        stored("UARTLCR_H", 0x02C, "line_control", 0xFF),
        Register("UARTCR", 0x030, _read_control, _write_control),
        stored("UARTIFLS", 0x034, "fifo_levels", 0x3F),
        Register("UARTIMSC", 0x038, _read_mask, _write_mask),
        Register("UARTRIS", 0x03C, _read_raw),
        Register("UARTMIS", 0x040, _read_masked),
        Register("UARTICR", 0x044, None, _write_clear),
        stored("UARTDMACR", 0x048, "dma", 0x7),
        *identification("UART", 0xFE0, (0x11, 0x10, 0x34, 0x00, 0x0D, 0xF0, 0x05, 0xB1)),
    )


def _create(wiring: Wiring) -> tuple[Device, ...]:
    return (Pl011(wiring.irq(0), wiring.on_byte, wiring.on_line),)


DESCRIPTION = DeviceDescription(
    type="pl011",
    title="PL011 UART",
    compatible=("arm,pl011",),
    frames=(Frame("registers", 0x1000),),
    interrupts=("uartintr",),
    create=_create,
)
