"""The ``ffabric`` fixture: systems booted in a test, with the seed that makes a failure come back.

    def test_adder(ffabric):
        system = ffabric.boot(sps=[Adder()], vms=["client"])
        ...

``--ffabric-seed N`` sets the seed of every system that does not name its own; it is printed with a
failure. Each test derives its own seed from it, so that ``-k`` and ``-n`` change nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Unpack

import pytest

if TYPE_CHECKING:
    from types import EllipsisType

    from ffabric.observe.recent import Recent
    from ffabric.session.system import System
    from ffabric.system.description.fields import SystemFields
    from ffabric.system.spec import SystemSpec

_SEEDS = pytest.StashKey[int]()
_FIXTURES = pytest.StashKey["Fixture"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--ffabric-seed``."""
    group = parser.getgroup("ffabric")
    group.addoption(
        "--ffabric-seed", type=int, default=0, help="base seed of the systems that tests boot"
    )


class Fixture:
    """What a test gets as ``ffabric``: ``boot`` and ``refuses``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._systems: list[System] = []
        self._recent: list[Recent] = []

    def boot(
        self,
        spec: SystemSpec | None = None,
        *,
        seed: int | EllipsisType | None = ...,
        replay: Sequence[int] | None = None,
        initialising: Collection[str] = (),
        start: bool = True,
        **fields: Unpack[SystemFields],
    ) -> System:
        """Boot a system until nothing can run, as `ffabric.boot`; it is closed with the test.

        Its seed is the test's own, unless ``seed`` names another or, as None, none.
        """
        # Only tests that boot pay for what they import.
        from ffabric.observe.recent import Recent  # noqa: PLC0415
        from ffabric.session.booting import boot  # noqa: PLC0415

        system = boot(
            spec,
            seed=self.seed if seed is ... else seed,
            replay=replay,
            initialising=initialising,
            start=False,
            **fields,
        )
        self._systems.append(system)
        recent = Recent(system.system)
        self._recent.append(recent)
        system.system.attach(recent)
        if start:
            system.run()
        return system

    def refuses(self, rule_id: str) -> AbstractContextManager[None]:
        """The block must make a call that the rule refuses, in any system of the test."""
        from ffabric.session.refusals import refused  # noqa: PLC0415 - as above

        return refused(self._refusals, rule_id)

    def _refusals(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for system in self._systems:
            for rule_id, count in system.refusals.items():
                counts[rule_id] = counts.get(rule_id, 0) + count
        return counts

    def last_calls(self) -> str:
        """What the systems have done last, decoded."""
        return "\n\n".join(filter(None, (each.text() for each in self._recent)))

    def close(self) -> None:
        """Close every system, and forget what it has done."""
        self._recent.clear()
        while self._systems:
            self._systems.pop().close()

    def __repr__(self) -> str:
        return f"<Fixture: seed {self.seed:#x}, {len(self._systems)} systems>"


@pytest.fixture
def ffabric(request: pytest.FixtureRequest) -> Iterator[Fixture]:
    """Boot FF-A systems in a test."""
    base: int = request.config.getoption("--ffabric-seed")
    seed = base ^ zlib.crc32(request.node.nodeid.encode())
    request.node.stash[_SEEDS] = base
    request.node.user_properties.append(("ffabric_seed", base))
    fixture = request.node.stash[_FIXTURES] = Fixture(seed)
    yield fixture
    del request.node.stash[_FIXTURES]
    fixture.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Say with a failure which seed brings it back, and what the systems had done last."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if not report.failed or _SEEDS not in item.stash:
        return
    report.sections.append(("ffabric", f"--ffabric-seed {item.stash[_SEEDS]}"))
    calls = item.stash[_FIXTURES].last_calls() if _FIXTURES in item.stash else ""
    if calls:
        report.sections.append(("ffabric: the last calls", calls))
