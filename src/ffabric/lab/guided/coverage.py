"""What a case has reached: rules, transitions between calls, the user's own Python and images.

Of Python lines are noted, of images that Unicorn executes basic blocks.

A *feature* is a text. Whatever has one that no case before it had is kept, and grows further.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Coroutine, Generator
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from ffabric.abi.ffa.functions import FFA_ERROR
from ffabric.abi.words import MASK32
from ffabric.firmware.state.events import Refuse
from ffabric.machine.events import Call, Event, Return
from ffabric.machine.host.interruption import RESUMING
from ffabric.system.description.python_target import resolve_program
from ffabric.system.spec import QEMU, ImageSource, PythonSource

if TYPE_CHECKING:
    from ffabric.lab.coverage import Module
    from ffabric.system.system import System
    from ffabric.system.vcpu import Vcpu

DEEP = ("line ", "block ", "call ")
"""How features begin that are deeds of those who are attacked."""
_PACKAGES = f"{os.sep}site-packages{os.sep}"


class Transitions:
    """A tracer of rules that refused, answers, and what the attacked call one after the other.

    What attackers call is theirs to choose, and reaches nothing by itself.
    """

    def __init__(self, attackers: Collection[str]) -> None:
        self.features: set[str] = set()
        self._attackers = frozenset(attackers)
        self._last: dict[tuple[str, int], int] = {}

    def record(self, event: Event) -> None:
        """Note ``event``."""
        if isinstance(event, Call):
            who, function = (event.endpoint, event.vcpu), event.x[0] & MASK32
            before = self._last.get(who, 0)
            self._last[who] = function
            if event.endpoint not in self._attackers:
                self.features.add(f"call {event.endpoint} {before:x} {function:x}")
        elif isinstance(event, Return):
            called = self._last.get((event.endpoint, event.vcpu), 0)
            status = event.x[2] & MASK32 if event.x[0] & MASK32 == FFA_ERROR else 0
            answer = event.x[0] & MASK32
            self.features.add(f"answer {event.endpoint} {called:x} {answer:x} {status:x}")
        elif isinstance(event, Refuse):
            self.features.add(f"rule {event.rule} {event.endpoint}")


class Lines:
    """Which lines of Python files below a folder partitions execute.

    Python is asked to call back only while a partition has the PE, so that nobody else pays.
    """

    def __init__(self, folder: Path) -> None:
        self.features: set[str] = set()
        self._below = str(folder.resolve()) + os.sep
        self._known: dict[CodeType, str] = {}

    def watched(self, source: PythonSource) -> PythonSource:
        """A copy of ``source`` whose lines are noted when they are executed."""
        lines = self

        class Watched:
            """Software that is watched."""

            def __init__(self) -> None:
                self._software = resolve_program(source)

            def program(self, vcpu: Vcpu, entry: int, x0: int) -> _Watched:
                return _Watched(lines, self._software.program(vcpu, entry, x0))

            def vector(self, vcpu: Vcpu, kind: int) -> _Watched:
                return _Watched(lines, self._software.vector(vcpu, kind))

        return PythonSource(target=Watched)

    def entered(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        """A function is entered: what notes its lines, None for one that is not meant."""
        code = frame.f_code
        file = self._known.get(code)
        if file is None:
            file = self._known[code] = self._file_of(code)
        return self._line if file else None

    def _line(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            self.features.add(f"line {self._known[frame.f_code]}:{frame.f_lineno}")
        return self._line

    def _file_of(self, code: CodeType) -> str:
        """Its file as people call it, "" if that is none of the user's."""
        name = code.co_filename
        mine = name.startswith(self._below) and _PACKAGES not in name
        return name.removeprefix(self._below) if mine else ""


class Blocks:
    """Which basic blocks of images a system executes from now on."""

    def __init__(self, system: System) -> None:
        self._modules: list[Module] = []
        images = [each for each in system.spec.partitions if isinstance(each.source, ImageSource)]
        if any(each.engine != QEMU for each in images):
            from ffabric.lab.coverage import Coverage  # noqa: PLC0415 - only where images are

            self._modules = Coverage(system).modules

    @property
    def features(self) -> set[str]:
        """A feature for each block that was executed so far."""
        return {
            f"block {module.name}+{offset:#x}"
            for module in self._modules
            for offset, _ in module.blocks
        }


class _Watched(Coroutine[int, None, None]):
    """A coroutine whose lines are noted while it runs."""

    def __init__(self, lines: Lines, coroutine: Coroutine[int, None, None]) -> None:
        self._lines = lines
        self._coroutine = coroutine

    def send(self, value: None) -> int:
        former = sys.gettrace()
        sys.settrace(self._lines.entered)
        try:
            return self._coroutine.send(value)
        finally:
            sys.settrace(former)

    def throw(self, *error: Any) -> int:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, None, None]:
        return self._coroutine.__await__()


RESUMING.add(_Watched.send.__code__)
