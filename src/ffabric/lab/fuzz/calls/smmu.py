"""Hostile software that programs an SMMU: registers, stream tables and stage 2, good and bad."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.lab.fuzz.calls.registers import BOUNDARIES
from ffabric.lab.oracle.stream_tables import BYPASS, CR0, GBPA, STAGE2, TABLE, TABLE_CONFIG
from ffabric.machine.access import DataAbort

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor

GERRORN, CMDQ, CMDQ_PROD, EVENTQ, EVENTQ_CONS = 0x64, 0x90, 0x98, 0xA0, 0x100AC
_WIDE = frozenset({TABLE, CMDQ, EVENTQ})
_REGISTERS = (CR0, GBPA, GERRORN, TABLE, TABLE_CONFIG, CMDQ, CMDQ_PROD, EVENTQ, EVENTQ_CONS)
_ENABLES = (0, 1, 5, 13, 13)
"""Values of CR0: with the SMMU and its queues on most of the time."""
_ABORT = 0b000
SHAPE = 30 << 32 | 1 << 38 | 1 << 51
"""Word 2 of an STE: input addresses of 34 bits, a walk from level 1, AArch64."""
LEAF = 1 << 10 | 1 << 7 | 1 << 6 | 3
_PAGES = 6
"""Pages of the programmer's own memory: stream table, two queues, and three levels of tables."""
_FIRST = 24
"""Of them, counted from the end of its memory."""
_STREAMS = 4


class Programmer:
    """An actor whose SMMU has its registers at ``base``; ``address`` makes up an address."""

    def __init__(self, random: Random, actor: Actor, base: int, address: Callable[[], int]) -> None:
        self._random, self._actor, self._base, self._address = random, actor, base, address
        end = actor.ram.base + actor.ram.size
        self.pages = [end - (_FIRST - n) * PAGE for n in range(_PAGES)]

    def step(self) -> int:
        """Write something: an address that it may concern.

        A page that the programmer does not have any more stays as it is.
        """
        pick, at = self._random.random(), self._address()
        try:
            if pick < 0.3:
                self._set_up()
            elif pick < 0.8:
                self._translate(at)
            else:
                self._write(self._random.choice(_REGISTERS), self._value())
        except DataAbort:
            pass
        return at

    def _set_up(self) -> None:
        table, commands, events, *_ = self.pages
        self._write(CR0, 0)
        self._write(TABLE, table)
        self._write(TABLE_CONFIG, self._random.choice((2, 3, 16, 6 << 6 | 1 << 16 | 12)))
        self._write(CMDQ, commands | 2)
        self._write(EVENTQ, events | 2)
        self._write(CR0, self._random.choice(_ENABLES))

    def _translate(self, at: int) -> None:
        """An entry of the stream table, and tables of its stage 2 for the page ``at``."""
        random, memory = self._random, self._actor.memory
        table, *_, first, second, third = self.pages
        config = random.choice((STAGE2, STAGE2, BYPASS, _ABORT, random.getrandbits(3)))
        shape = SHAPE if random.random() < 0.9 else random.getrandbits(64)
        root = first if random.random() < 0.9 else self._value()
        entry = (config << 1 | 1, 0, shape, root, 0, 0, 0, 0)
        memory.write(table + 64 * random.randrange(_STREAMS), struct.pack("<8Q", *entry))
        for place, shift, to in (
            (first, 30, second | 3),
            (second, 21, third | 3),
            (third, 12, self._address() & -PAGE | LEAF),
        ):
            word = to if random.random() < 0.95 else self._value()
            memory.write64(place + 8 * (at >> shift & 511), word)

    def _write(self, register: int, value: int) -> None:
        if register in _WIDE:
            self._actor.memory.write64(self._base + register, value & (1 << 64) - 1)
        else:
            self._actor.memory.write32(self._base + register, value & 0xFFFF_FFFF)

    def _value(self) -> int:
        random = self._random
        kind = random.random()
        if kind < 0.4:
            return random.choice(self.pages) | random.getrandbits(3)
        return random.choice(BOUNDARIES) if kind < 0.8 else self._address()
