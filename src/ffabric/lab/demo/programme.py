"""The whole demo: several systems, one after the other, in one trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

from ffabric.lab.demo.disk import Disk
from ffabric.lab.demo.doorbell import Doorbell
from ffabric.lab.demo.scenes import Demo
from ffabric.lab.demo.stage import Scene, Stage
from ffabric.lab.demo.trusted import Trusted

STAGES = (Demo, Doorbell, Trusted, Disk)
"""The systems, in the order in which they are played."""


class Programme:
    """Plays every system; ``choices`` are those of all of them, and ``replay`` is such a list."""

    def __init__(
        self,
        seed: int | None = None,
        replay: Sequence[int] | None = None,
        sink: IO[bytes] | None = None,
    ) -> None:
        self._seed = seed
        self._replay = replay
        self._sink = sink
        self.choices: list[int] = []
        self._stage: Stage | None = None

    def play(self) -> Iterator[Scene]:
        """All scenes. Raises DemoFailed if one is not as it must be."""
        for make in STAGES:
            replay = None if self._replay is None else self._replay[len(self.choices) :]
            with make(self._seed, replay, self._sink) as stage:
                self._stage = stage
                yield from stage.play()
                self.choices += stage.machine.choices.log

    @property
    def scene(self) -> str:
        """Name of the present scene, or the last one."""
        return "" if self._stage is None else self._stage.scene

    def unfinished(self, why: str) -> Scene:
        """The present scene, which ``why`` has ended."""
        assert self._stage is not None
        return self._stage.unfinished(why)
