"""Mischief on the wire: messages that are lost, late, repeated, exchanged or changed.

A seed says what happens to which message, or a script does: the same seed makes the same mischief
of the same run, and what a seed has done (`log`) is a script. Between any two messages the state of
devices may change, too.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final

from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.header import HEADER_SIZE
from ffabric.lab.virtio_msg.tap import Pair

REMEMBERED: Final = 8
"""Messages that may come again."""


class Act(Enum):
    """What may happen to a message."""

    DROP = "drop"
    """It does not arrive."""
    DUPLICATE = "duplicate"
    """It arrives twice."""
    DELAY = "delay"
    """It arrives with the next one of its direction, after that one."""
    STALE = "stale"
    """An older one of its direction arrives in its place."""
    REPLAY = "replay"
    """An older one of its direction arrives before it."""
    CORRUPT = "corrupt"
    """A bit of it is another."""
    CHANGE = "change"
    """The state of a device changes before it arrives."""


EVERYTHING: Final = tuple(Act)


class Mischief:
    """The `Interference` of a tap.

    Of a hundred messages `rate` are treated by one of ``acts``, as `seed` chooses; or exactly those
    of a ``script``, by number, where ``seed`` only says how. ``changes`` are what `Act.CHANGE`
    does, one after the other. After message ``last`` there is calm.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        rate: float = 5,
        acts: Sequence[Act] = EVERYTHING,
        changes: Sequence[Callable[[], object]] = (),
        script: Mapping[int, Act] | None = None,
        last: int | None = None,
    ) -> None:
        self.log: dict[int, Act] = {}
        """What was done: number of the message, from 0 on, both directions -> act."""
        self.count = 0
        self._seed = seed
        self._rate = rate / 100
        self.changes: deque[Callable[[], object]] = deque(changes)
        self._acts = list(acts)
        self._script = script
        self._last = last
        self._before: dict[tuple[Pair, bool], deque[bytes]] = {}
        self._delayed: dict[tuple[Pair, bool], list[bytes]] = {}

    def to_device(self, pair: Pair, data: bytes) -> Sequence[bytes]:
        """What arrives in place of a message of the driver side."""
        return self._treat((pair, True), data)

    def to_driver(self, pair: Pair, data: bytes) -> Sequence[bytes]:
        """What arrives in place of a message of the device side."""
        return self._treat((pair, False), data)

    def _treat(self, way: tuple[Pair, bool], data: bytes) -> Sequence[bytes]:
        number, self.count = self.count, self.count + 1
        whether, chance = (
            random.Random(f"{self._seed} {number} {what}")  # noqa: S311 - no secret
            for what in ("whether", "how")
        )
        before = self._before.setdefault(way, deque(maxlen=REMEMBERED))
        if self._last is not None and number > self._last:
            act = None
        elif self._script is not None:
            act = self._script.get(number)
        else:
            act = whether.choice(self._acts) if whether.random() < self._rate else None
        delayed = self._delayed.pop(way, [])
        arriving = [data]
        if act is not None:
            arriving = self._act(act, chance, way, data, before)
            self.log[number] = act
        before.append(data)
        return [*arriving, *delayed]

    def _act(
        self,
        act: Act,
        chance: random.Random,
        way: tuple[Pair, bool],
        data: bytes,
        before: Sequence[bytes],
    ) -> list[bytes]:
        if act is Act.DROP:
            return []
        if act is Act.DUPLICATE:
            return [data, data]
        if act is Act.DELAY:
            self._delayed[way] = [data]
            return []
        if act is Act.CORRUPT:
            return [_corrupted(data, chance)]
        if act is Act.CHANGE:
            if self.changes:
                self.changes[0]()
                self.changes.rotate(-1)
            return [data]
        older = chance.choice(list(before)) if before else data
        return [older] if act is Act.STALE else [older, data]


def _corrupted(data: bytes, chance: random.Random) -> bytes:
    """One bit of the message is another; of the header's size, whatever the carrier has."""
    size = int.from_bytes(data[6:HEADER_SIZE], "little")
    most = min(max(size, HEADER_SIZE), len(data), abi.MAX_DIRECT)
    changed = bytearray(data)
    changed[chance.randrange(most)] ^= 1 << chance.randrange(8)
    return bytes(changed)
