"""The ``ffabric`` fixture: systems booted in a test, with the seed that makes a failure come back.

    def test_adder(ffabric):
        system = ffabric.boot(sps=[Adder()], vms=["client"])
        ...

``--ffabric-seed N`` sets the seed of every system that does not name its own; it is printed with a
failure. Each test derives its own seed from it, so that ``-k`` and ``-n`` change nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ffabric.session.system import System
    from ffabric.system.spec import SystemSpec

_SEEDS = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--ffabric-seed``."""
    group = parser.getgroup("ffabric")
    group.addoption(
        "--ffabric-seed", type=int, default=0, help="base seed of the systems that tests boot"
    )


class Fixture:
    """What a test gets: ``boot`` and ``refuses``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._systems: list[System] = []

    def boot(self, spec: SystemSpec | None = None, **described: Any) -> System:
        """Boot a system until nothing can run; it is closed when the test ends."""
        from ffabric.session.booting import boot  # noqa: PLC0415 - only tests that boot pay for it

        described.setdefault("seed", self.seed)
        system = boot(spec, **described)
        self._systems.append(system)
        return system

    @contextmanager
    def refuses(self, rule_id: str) -> Iterator[None]:
        """The block must make a call that the rule refuses, in any system of the test."""
        from ffabric.session.refusals import refused  # noqa: PLC0415 - as above

        with refused(self._refusals, rule_id):
            yield

    def _refusals(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for system in self._systems:
            for rule_id, count in system.refusals.items():
                counts[rule_id] = counts.get(rule_id, 0) + count
        return counts

    def close(self) -> None:
        """Close every system."""
        while self._systems:
            self._systems.pop().close()


@pytest.fixture
def ffabric(request: pytest.FixtureRequest) -> Iterator[Fixture]:
    """Boot FF-A systems in a test."""
    base: int = request.config.getoption("--ffabric-seed")
    seed = base ^ zlib.crc32(request.node.nodeid.encode())
    request.node.stash[_SEEDS] = base
    request.node.user_properties.append(("ffabric_seed", base))
    fixture = Fixture(seed)
    yield fixture
    fixture.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Say with a failure which seed brings it back."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and _SEEDS in item.stash:
        report.sections.append(("ffabric", f"--ffabric-seed {item.stash[_SEEDS]}"))
