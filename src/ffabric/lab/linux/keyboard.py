"""The terminal as a guest's console: what is typed goes there, what it prints is shown at once."""

from __future__ import annotations

import os
import sys
import termios
import tty
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ffabric.system.system import System


class Keyboard:
    """While the ``with`` block runs, if it is ``on``; Ctrl-C stays ours."""

    def __init__(self, system: System, name: str, *, on: bool) -> None:
        self._on = on
        self._machine = system.machine
        guest = system.endpoints[name].guest
        assert guest is not None
        self._guest = guest
        self._fd = sys.stdin.fileno() if on else -1
        self._former: Any = None

    def __enter__(self) -> Self:
        if self._on:
            if os.isatty(self._fd):
                self._former = termios.tcgetattr(self._fd)
                tty.setcbreak(self._fd)
            assert self._machine.outside is not None
            self._machine.outside.watch(self._fd, self._typed)
            self._guest.on_output = self._show
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._on:
            assert self._machine.outside is not None
            self._machine.outside.unwatch(self._fd)
            self._guest.on_output = None
        if self._former is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._former)

    def _typed(self) -> None:
        data = os.read(self._fd, 4096)
        if data:
            self._guest.type(data)
        else:
            assert self._machine.outside is not None
            self._machine.outside.unwatch(self._fd)

    def _show(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
