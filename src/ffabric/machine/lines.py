"""What a console prints, cut into lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

MAX_LINE = 4096
"""Bytes after which a line is one, though its end has not come."""


class Printer(Protocol):
    """Whoever prints lines and may have begun one."""

    def flush(self) -> None:
        """Hand the line out as it is, if there is one."""


class Lines:
    """Collects bytes; ``on_line`` gets each line, decoded, without its end."""

    __slots__ = ("_begun", "_on_line")

    def __init__(self, on_line: Callable[[str], object]) -> None:
        self._on_line = on_line
        self._begun = bytearray()

    def write(self, data: bytes) -> None:
        """The console has printed ``data``."""
        begun = self._begun
        begun += data
        if b"\n" in data:
            *lines, rest = begun.split(b"\n")
            begun[:] = rest
            for line in lines:
                self._hand_out(line.rstrip(b"\r"))
        if len(begun) >= MAX_LINE:
            self.flush()

    def flush(self) -> None:
        """Hand the line that has begun out as it is, if there is one."""
        if self._begun:
            line = bytes(self._begun)
            self._begun.clear()
            self._hand_out(line)

    def _hand_out(self, line: bytes | bytearray) -> None:
        self._on_line(line.decode("utf-8", "backslashreplace"))
