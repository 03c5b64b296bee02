"""A system on which scenes are played: booted, traced, judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, ClassVar, Self

import msgspec

from ffabric.lab.demo.vms import DemoFailed
from ffabric.machine.events import Record
from ffabric.machine.machine import OutOfExits
from ffabric.observe import lines
from ffabric.observe.live import LiveTrace
from ffabric.system.booting.boot import boot
from ffabric.system.crash import PartitionCrashed
from ffabric.system.spec import SystemSpec

EVENTS = 20_000
"""Exits that are more than enough: the demo fails rather than going on for ever."""


class Scene(msgspec.Struct, frozen=True):
    """What happened in a scene: the lines of its trace, and what can be said of it."""

    name: str
    title: str
    lines: Sequence[Record]
    facts: Sequence[str]


class Stage:
    """A booted system and its scenes. Every scene begins and ends when all partitions wait.

    ``seed`` or ``replay`` decides who comes first; ``sink`` gets the trace.
    """

    scenes: ClassVar[dict[str, tuple[str, Callable[[Any], Iterator[str]]]]]
    """Name of a scene -> its title, and what plays it and tells what came out."""

    @staticmethod
    def describe() -> SystemSpec:
        """The system."""
        raise NotImplementedError

    def __init__(
        self,
        seed: int | None = None,
        replay: Sequence[int] | None = None,
        sink: IO[bytes] | None = None,
    ) -> None:
        self.system = boot(self.describe(), seed=seed, replay=replay)
        self.machine = self.system.machine
        self.machine.exit_limit = EVENTS
        self.scene = next(iter(self.scenes))
        self.lines: list[Record] = []
        """The trace of the present scene, so far."""
        self.trace = LiveTrace(self.system, self.lines.append, sink)
        self.system.attach(self.trace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.trace.close()
        self.system.close()

    def play(self) -> Iterator[Scene]:
        """Play all scenes, one after the other. Raises DemoFailed if one is not as it must be."""
        for name, (title, act) in self.scenes.items():
            self.scene = name
            self.trace.record(lines.Scene(title))
            yield self._finish([*act(self)])

    def unfinished(self, why: str) -> Scene:
        """The present scene, which ``why`` has ended."""
        return self._finish([f"FAILED: {why}"])

    def _finish(self, facts: list[str]) -> Scene:
        lines, self.lines[:] = list(self.lines), []
        return Scene(self.scene, self.scenes[self.scene][0], lines, facts)

    def run(self) -> None:
        """Let the system run until all wait. Raises DemoFailed if it does not come to that."""
        try:
            self.system.run()
        except (PartitionCrashed, OutOfExits) as error:
            raise DemoFailed(str(error)) from error

    def software(self, name: str) -> Any:
        """The Python object that is a partition's software."""
        return self.system.endpoint(name).software
