"""The socket bus: its messages (docs/reference/socket-bus.md, versions 1 and 2).

A stream of virtio-msg messages, each as long as its header says. Who connects begins with HELLO.
The memory that driver and device use together is ffabric's: a peer reads and writes it by message,
or maps it, which version 2 has.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ffabric.abi.layout import sbz, u16, u32, u64
from ffabric.abi.virtio_msg.body import BYTES, NOTHING, Body, MessageType, Tail
from ffabric.abi.virtio_msg.header import HEADER_SIZE

MAGIC: Final = 0x3142_5346
"""The bytes "FSB1"."""
VERSION: Final = 2
"""The newest, which has MAP and UNMAP; whoever says 1 is answered 1."""
OLDEST: Final = 1
MAX_DATA: Final = 32768
"""Bytes of memory that one message reads or writes, as ffabric has it."""


class Role(IntEnum):
    """What a peer is."""

    DEVICE = 1
    DRIVER = 2


class Access(IntEnum):
    """How an access to memory ended."""

    DONE = 0
    REFUSED = 1


_HELLO = Body(
    u32("magic", 'The bytes "FSB1"'),
    u32("version", "Version of this bus: 1 or 2"),
    u16("role", "What the sender is. 1: device side, 2: driver side"),
    u16("generation", "Messages are those of 1: pr28, which became v1; 2: v2"),
    u32("max_size", "Bytes of the largest message of the transport that the sender takes"),
    u32("max_data", "Bytes of memory that one message may read or write"),
)
_PLACE = (u16("number", "The device whose driver's memory it is"), sbz(2))
_DATA = Tail("data", "length", BYTES)

HELLO: Final = MessageType(0x90, "HELLO", _HELLO, _HELLO, bus=True)
RESET: Final = MessageType(
    0x91, "RESET", NOTHING, Body(u16("result", "0: OK, 1: error, 2: busy, try again")), bus=True
)
MEMORY: Final = MessageType(
    0x92,
    "MEMORY",
    NOTHING,
    Body(u64("address", "First address"), u64("length", "Bytes; 0: there is none yet")),
    bus=True,
)
READ: Final = MessageType(
    0x93,
    "READ",
    Body(*_PLACE, u32("length", "Bytes"), u64("address", "First address")),
    Body(
        u16("number", "As asked"), u16("result", "0: done, 1: refused"), u32("length", "Bytes"),
        tail=_DATA,
    ),
    bus=True,
)  # fmt: skip
WRITE: Final = MessageType(
    0x94,
    "WRITE",
    Body(*_PLACE, u32("length", "Bytes"), u64("address", "First address"), tail=_DATA),
    Body(u16("number", "As asked"), u16("result", "0: done, 1: refused")),
    bus=True,
)
MAP: Final = MessageType(
    0x95,
    "MAP",
    Body(*_PLACE, sbz(4), u64("address", "An address in it")),
    Body(
        u16("number", "As asked"),
        u16("result", "0: done, a file comes with the message, 1: refused"),
        sbz(4),
        u64("address", "First address of the memory"),
        u64("length", "Bytes"),
        u64("offset", "Where it begins in the file"),
    ),
    bus=True,
)
UNMAP: Final = MessageType(
    0x96,
    "UNMAP",
    Body(*_PLACE, sbz(4), u64("address", "First address of the memory")),
    Body(u16("number", "As asked"), u16("result", "0: done")),
    bus=True,
)

SOCKET_MESSAGES: Final = (HELLO, RESET, MEMORY, READ, WRITE, MAP, UNMAP)
OVERHEAD: Final = HEADER_SIZE + WRITE.request.record(1).size
"""Bytes of a WRITE beside its data."""
