"""GPIO controllers: configuration, requests and interrupts of lines (virtio 1.3, 5.18)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, sbz, u16, u32

F_IRQ: Final = 1 << 0

REQUEST, EVENT = 0, 1
"""The virtqueues; the second one is there with F_IRQ."""

CONFIG: Final = Layout(
    "virtio_gpio_config",
    "virtio 1.3, 5.18.4",
    u16("ngpio", "How many lines"),
    sbz(2),
    u32("gpio_names_size", "Bytes of the names of all lines; 0: they have none"),
)
CONFIG_SIZE: Final = CONFIG.at().size

HEADER: Final = struct.Struct("<HHI")
"""Type, line, value."""
LINE: Final = struct.Struct("<H")
"""What is made available in the event queue: a line."""


class Type(IntEnum):
    """What is asked for."""

    GET_LINE_NAMES = 1
    GET_DIRECTION = 2
    SET_DIRECTION = 3
    GET_VALUE = 4
    SET_VALUE = 5
    SET_IRQ_TYPE = 6


class Direction(IntEnum):
    """Of a line."""

    NONE = 0
    OUT = 1
    IN = 2


class Irq(IntEnum):
    """What raises the interrupt of a line."""

    NONE = 0
    RISING = 1
    FALLING = 2
    BOTH = 3
    HIGH = 4
    LOW = 8


class Status(IntEnum):
    """Of a request."""

    OK = 0
    ERR = 1


INVALID, VALID = 0, 1
"""Of a buffer of the event queue: given back as it is of no use, or because of an interrupt."""


def parse_request(data: bytes) -> tuple[int, int, int]:
    """(type, line, value). Raises DecodeError."""
    if len(data) != HEADER.size:
        raise DecodeError("virtio_gpio_request", 0, len(data), f"not {HEADER.size} bytes")
    type_, line, value = HEADER.unpack(data)
    return type_, line, value


def parse_line(data: bytes) -> int:
    """The line of a buffer of the event queue. Raises DecodeError."""
    if len(data) != LINE.size:
        raise DecodeError("virtio_gpio_irq_request", 0, len(data), f"not {LINE.size} bytes")
    line: int = LINE.unpack(data)[0]
    return line
