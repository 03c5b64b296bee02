"""One test, several systems: over versions, strictness, personalities, and seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

MARK = "ffabric_variants"


class Variant(NamedTuple):
    """A way to run a test: what the systems are that its fixture boots."""

    version: str | None = None
    """The version of the partition managers."""
    strict: bool | None = None
    """Whether calls with SBZ registers that are not zero are refused."""
    personality: str | None = None
    """The implementation whose habits the partition managers have."""
    seed: int | None = None
    """The base seed, in the place of that of ``--ffabric-seed``."""

    @property
    def id(self) -> str:
        """What the test is called, in brackets."""
        strict = {None: "", True: "strict", False: "lenient"}[self.strict]
        version = f"v{self.version}" if self.version else ""
        parts = (version, strict, self.personality or "", self._seed)
        return "-".join(filter(None, parts))

    @property
    def _seed(self) -> str:
        return "" if self.seed is None else f"seed{self.seed}"

    def without_seed(self, test: str) -> str:
        """The name of a test without the seed that it was given: `seed` is told otherwise."""
        name, bracket, rest = test.partition("[")
        parts = rest.removesuffix("]").split("-")
        if self._seed not in parts or not bracket:
            return test
        parts.remove(self._seed)
        return f"{name}[{'-'.join(parts)}]" if parts else name


def parametrize(
    *,
    versions: Iterable[str] = (),
    strict: Iterable[bool] = (),
    personalities: Iterable[str] = (),
    seeds: int | Iterable[int] = (),
) -> pytest.MarkDecorator:
    """Run a test of the fixture for each version, strictness, personality and seed, combined.

        @parametrize(versions=("1.1", "1.2"), seeds=8)
        def test_adder(ffabric): ...

    ``versions`` are FF-A versions of the partition managers. ``strict`` says whether SBZ registers
    that are not zero are refused. ``personalities`` are implementations that the partition managers
    behave like ("spec", "hafnium", ...). ``seeds`` are base seeds, or how many of them to take from
    ``--ffabric-seed`` on. What is left out is up to the test. The fixture has the present values as
    ``version``, ``strict`` and ``personality``.

    Raises TypeError for a single text where several are expected.
    """
    given = {"versions": versions, "strict": strict, "personalities": personalities}
    for name, values in given.items():
        if isinstance(values, str | bool):
            raise TypeError(f"{name}: expected a list, got {values!r}")
    several = {name: tuple(values) for name, values in given.items()}
    several["seeds"] = seeds if isinstance(seeds, int) else tuple(seeds)  # type: ignore[assignment]
    return getattr(pytest.mark, MARK)(**several)  # type: ignore[no-any-return]


parametrize.__module__ = "ffabric.testing"


def variants(mark: pytest.Mark | None, base: int, count: int) -> list[Variant]:
    """What ``mark`` says, over ``count`` seeds from ``base`` on if it says none; 0: none either."""
    said: Mapping[str, Any] = {} if mark is None else mark.kwargs
    seeds: int | Sequence[int] = said.get("seeds") or count
    if isinstance(seeds, int):
        seeds = range(base, base + seeds)
    sides = [*(said.get(key, ()) for key in ("versions", "strict", "personalities")), seeds]
    if not any(sides):
        return []
    return [Variant(*each) for each in itertools.product(*(side or (None,) for side in sides))]
