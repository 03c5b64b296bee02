"""Choices: every place where more than one thing could happen next, decided and recorded.

A run is a function of the system, the seed and the choices: the `log` of one run, given as
`replay`, makes the same run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class ReplayError(Exception):
    """A run that departs from the recorded one: `position`, `label`, `n` and the `recorded` value.

    `recorded` is None where the record had already ended.
    """

    __module__ = "ffabric.testing"

    def __init__(self, position: int, label: str, n: int, recorded: int | None) -> None:
        found = "the record ends" if recorded is None else f"the record says {recorded}"
        super().__init__(f"choice {position} ({label or 'unnamed'}): one of {n}, but {found}")
        self.position = position
        self.label = label
        self.n = n
        self.recorded = recorded


def _generator(seed: int) -> Random:
    from random import Random  # noqa: PLC0415 - most runs take the first choice

    return Random(seed)  # noqa: S311


class Choices:
    """Decides by a record, by a seed, or (with neither) always for the first possibility.

    The same seed decides alike on every version of Python. `log` is what was decided so far and
    `position` its length; a choice with one possibility is none and is not counted. With a record
    the `seed` decides nothing: it is what the recorded run had.
    """

    __slots__ = ("_random", "_replay", "log", "seed")

    def __init__(self, seed: int | None = None, replay: Sequence[int] | None = None) -> None:
        self.seed = seed
        self._random = None if seed is None or replay is not None else _generator(seed)
        self._replay = replay
        self.log: list[int] = []

    @property
    def position(self) -> int:
        """How many choices were made."""
        return len(self.log)

    def pick(self, n: int, label: str = "") -> int:
        """One of `n` possibilities, as a number from 0; ReplayError if the record has no such."""
        if n == 1:
            return 0
        if n < 1:
            raise ValueError(f"choice {self.position} ({label or 'unnamed'}): one of {n}")
        value = 0
        if self._random is not None:
            value = int(self._random.random() * n)
        elif self._replay is not None:
            position = len(self.log)
            if position >= len(self._replay):
                raise ReplayError(position, label, n, None)
            value = self._replay[position]
            if not 0 <= value < n:
                raise ReplayError(position, label, n, value)
        self.log.append(value)
        return value
