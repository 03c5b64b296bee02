"""Forged messages: nearly right, and wrong in one thing or several."""

from __future__ import annotations

from random import Random
from typing import Final
from uuid import UUID

import msgspec

from ffabric.abi.optee import message as wire
from ffabric.abi.optee.message import Command, Fmem, Param, Type, Value
from ffabric.abi.optee.tee import Login

INVOKE_TESTS: Final = UUID("d96a5b40-c3e5-21e3-8794-1002a5d5c61b")
"""A pseudo TA of OP-TEE for its own tests; it looks at no parameter of these two functions."""
FUNCTIONS: Final = (0, 2)

MEMORY, MESSAGE, SESSION = -1, -2, -3
"""Stand for what is another number on each side: two cookies, and the open session."""

_WORDS = (0, 1, 5, 1 << 31, 1 << 32 | 7, (1 << 64) - 1)
_TYPES = (*(int(each) for each in Type), 5, 6, 7, 4, 8, 12, wire.META_VALUE, wire.NONCONTIG | 9)
_OFFSETS = (0, 0, 8, 0x2FFF, 0x3000, 0x3001, 0xFFFF_FFFF, 1 << 32)
_INTERNAL = (0, 0, 0, 1, 0xFFF, 0x1000, 0xFFFF)
_SIZES = (0, 1, 8, 0x1000, 0x3000, 0x3001, 1 << 63, (1 << 64) - 1)
_COOKIES = (MEMORY, MEMORY, MEMORY, MESSAGE, 0x7777, wire.NO_HANDLE)
_COUNTS = (0, 1, 2, 3, 4, 4, 5, 6, 7, 127, 128, 0xFFFF_FFFF)
_PLACES = (0, 0, 0, 1, 0x100, 0x1F00, 0x1FFF, 0x2000, 0xFFFF_FFFF)
_LOGINS = (*(int(each) for each in Login), 3, 7, 1 << 32)
_COMMANDS = (*(int(each) for each in Command), 1, 1, 1, 99)
_MOST = 7
_RIGHT = 0.6
"""The share of parameters with which nothing is wrong."""


class Forged(msgspec.Struct, frozen=True):
    """A message, and at which offset of its memory it is said to be."""

    offset: int
    command: int
    function: int
    session: int
    count: int
    params: tuple[Param, ...]


def forge(random: Random) -> Forged:
    """The next message."""
    command = random.choice(_COMMANDS)
    count = random.choice(_COUNTS)
    params = [_param(random) for _ in range(min(count, _MOST))]
    if command == Command.OPEN_SESSION and random.random() < 0.8:
        login = Value(wire.META_VALUE, _word(random), _word(random), random.choice(_LOGINS))
        params[:2] = [Value(wire.META_VALUE, *wire.uuid_words(INVOKE_TESTS)), login]
        count = len(params)
    session = random.choice((SESSION, SESSION, 0, 77, 0xFFFF_FFFF))
    if command == Command.CLOSE_SESSION and session == SESSION:
        session = 77  # the session is to last
    place = random.choice(_PLACES)
    return Forged(place, command, random.choice(FUNCTIONS), session, count, tuple(params))


def _word(random: Random) -> int:
    return random.choice((*_WORDS, random.getrandbits(64)))


def _param(random: Random) -> Param:
    if random.random() < _RIGHT:
        kind = random.choice((0, 1, 2, 3, 5, 6, 7))
        if kind >= Type.FMEM_INPUT:
            return Fmem(kind, random.choice((0, 8, 0x2000)), 0, random.choice((0, 8, 99)), MEMORY)
        return Value(kind, _word(random), _word(random), _word(random))
    attributes = random.choice((*_TYPES, random.getrandbits(64)))
    if 5 <= attributes & wire.TYPE_MASK <= 7:
        return Fmem(
            attributes,
            random.choice(_OFFSETS),
            random.choice(_INTERNAL),
            random.choice(_SIZES),
            random.choice(_COOKIES),
        )
    return Value(attributes, _word(random), _word(random), _word(random))
