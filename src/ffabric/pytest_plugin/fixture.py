"""What a test gets as ``ffabric``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ffabric._face import load
from ffabric.pytest_plugin.variants import Variant

if TYPE_CHECKING:
    from types import EllipsisType

    from ffabric.session.system import System
    from ffabric.system.description.fields import SystemFields
    from ffabric.system.spec import SystemSpec


class Fixture:
    """Boots systems, and closes them with the test, class or module that the fixture belongs to.

    ``seed`` is used by every system that does not name its own; ``version``, ``strict`` and
    ``personality`` are the present values of `ffabric.testing.parametrize`. They hold for every
    system that does not say otherwise.
    """

    def __init__(
        self,
        seed: int,
        variant: Variant = Variant(),  # noqa: B008 - immutable
        folder: Path = Path(),
    ) -> None:
        self.seed = seed
        self.version: str | None = variant.version
        self.strict: bool | None = variant.strict
        self.personality: str | None = variant.personality
        self.folder: Path = folder
        self._systems: list[System] = []

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
        """Boot a system as `ffabric.boot` does; it is closed with the fixture.

        Its seed is the fixture's, unless ``seed`` is another one, or None for no seed.
        """
        load("ffabric.session.booting")  # only tests that boot pay for it
        from ffabric.session.booting import boot  # noqa: PLC0415

        said: dict[str, Any] = {
            "ffa_version": self.version,
            "strict": self.strict,
            "personality": self.personality,
        }
        own = {key: value for key, value in said.items() if value is not None and spec is None}
        system = boot(
            spec,
            seed=self.seed if seed is ... else seed,
            replay=replay,
            initialising=initialising,
            start=False,
            **{**own, **fields},
        )
        self._systems.append(system)
        if start:
            system.run()
        return system

    def refuses(self, rule_id: str) -> AbstractContextManager[None]:
        """Expect that a call in the block is refused by a rule, in any system of the fixture."""
        from ffabric.session.refusals import Expected  # noqa: PLC0415 - as above

        return Expected(self._refusals, rule_id)

    def fault(self, name: str) -> AbstractContextManager[None]:
        """Switch on a historical bug in our firmware for the block; `ffabric faults` lists them.

        It affects all systems, also those that were booted before. Raises LookupError if there is
        no such fault.
        """
        from ffabric.lab.faults.catalogue import find  # noqa: PLC0415 - as above

        return find(name).on()

    def play(self, scenario: str | Path, choices: Sequence[int] = ()) -> None:
        """Play one schedule of a scenario of `ffabric explore`: the one with these ``choices``.

        A relative path is relative to the folder of the test. Raises AssertionError if the schedule
        breaks the scenario.
        """
        from ffabric.lab.explore.scenario import read_scenario  # noqa: PLC0415 - as above
        from ffabric.lab.explore.schedule import Broken, play  # noqa: PLC0415 - as above

        failure = play(read_scenario(self.folder / scenario), choices).failure
        if failure:
            raise Broken(failure)

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

    def __repr__(self) -> str:
        return f"<Fixture: seed {self.seed:#x}, {len(self._systems)} systems>"
