"""Messages of OP-TEE as they are in memory, whatever is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.message import Message
from ffabric.abi.words import MASK32, PAGE
from ffabric.machine.memory import MemoryFault

if TYPE_CHECKING:
    from ffabric.system.system import System

_NOTHING: Final = MASK32
"""The command, and the result, of what is no message."""


def rest_of_page(system: System, at: int) -> bytes:
    """What is in a page from a physical address on; nothing where there is no such memory."""
    try:
        return system.machine.memory.read(at, PAGE - at % PAGE, secure=False)
    except MemoryFault:
        return b""


def read(data: bytes, *, registered: bool) -> Message:
    """A message as far as it is one: at worst an empty one, which OP-TEE serves for nobody."""
    try:
        return wire.parse_message(data, registered=registered)
    except DecodeError:
        pass
    try:
        head = wire.parse_header(data)
    except DecodeError:
        return Message(_NOTHING, ret=_NOTHING)
    return Message(head.command, head.function, head.session, head.cancel_id, head.ret)
