"""A case becomes another one: calls are added, taken away, doubled, mixed with others', damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from msgspec.structs import replace

from ffabric.lab.calls.lines import Call
from ffabric.lab.fuzz.calls.registers import BOUNDARIES
from ffabric.lab.guided.cases import MOST
from ffabric.lab.guided.making import Maker

_SEVERAL = (1, 2, 3, 4, 6, 8)


class Mutator:
    """Makes cases of cases; `fixed` calls at their beginning stay as they are."""

    def __init__(self, random: Random, maker: Maker, fixed: int) -> None:
        self._random = random
        self._maker = maker
        self._fixed = fixed
        self._ways: list[Callable[[list[Call]], None]] = [
            *[self._add] * 7,
            *[self._change] * 5,
            self._remove,
            self._double,
            self._swap,
            self._damage,
        ]

    def mutate(self, calls: Sequence[Call], other: Sequence[Call]) -> list[Call]:
        """Another case, of ``calls`` and now and then of ``other``."""
        random = self._random
        made = [*calls]
        if random.random() < 0.15 and len(other) > self._fixed:
            at = random.randint(self._fixed, len(made))
            start = random.randrange(self._fixed, len(other))
            made[at:] = other[start:]
        for _ in range(random.choice(_SEVERAL)):
            random.choice(self._ways)(made)
        return made[:MOST]

    def _at(self, calls: list[Call]) -> int | None:
        """One of the calls that may change."""
        if len(calls) <= self._fixed:
            return None
        return self._random.randrange(self._fixed, len(calls))

    def _add(self, calls: list[Call]) -> None:
        calls.insert(self._random.randint(self._fixed, len(calls)), self._maker.call())

    def _remove(self, calls: list[Call]) -> None:
        at = self._at(calls)
        if at is not None:
            del calls[at]

    def _double(self, calls: list[Call]) -> None:
        at = self._at(calls)
        if at is not None:
            calls.insert(self._random.randint(at, len(calls)), calls[at])

    def _swap(self, calls: list[Call]) -> None:
        one, two = self._at(calls), self._at(calls)
        if one is not None and two is not None:
            calls[one], calls[two] = calls[two], calls[one]

    def _change(self, calls: list[Call]) -> None:
        """One argument of a call has another value."""
        at = self._at(calls)
        if at is None:
            return
        x = [*(calls[at].x or [])]
        index = self._random.randint(1, len(x) if len(x) < 18 else 17)
        x[index : index + 1] = [self._near(x[index]) if index < len(x) else self._maker.value()]
        calls[at] = replace(calls[at], x=x)

    def _near(self, value: int) -> int:
        random = self._random
        way = random.random()
        if way < 0.6:
            return self._maker.value()
        if way < 0.8:
            return value ^ (1 << random.randrange(64 if value >> 32 else 32))
        return (value + random.choice((-1, 1, -8, 8, 0x1000))) % (1 << 64)

    def _damage(self, calls: list[Call]) -> None:
        """Bytes that are stored before a call change, or a length that it names."""
        at = self._at(calls)
        if at is None or not calls[at].write:
            return
        random = self._random
        writes = [*calls[at].write]
        which = random.randrange(len(writes))
        address, data = writes[which]
        spoilt = bytearray(data)
        for _ in range(random.choice(_SEVERAL)):
            spoilt[random.randrange(len(spoilt))] = random.choice(BOUNDARIES) & 0xFF
        writes[which] = (address, bytes(spoilt))
        calls[at] = replace(calls[at], write=writes)
