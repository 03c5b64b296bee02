"""Lines on a terminal: styles as colours where there are any, long lines folded at its width."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from ffabric.system.options.visible import visible

NARROWEST = 40
PIPE_WIDTH = 100
"""The width of what is no terminal."""

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
STYLES = {
    "call": "",
    "return": "cyan",
    "hop": "dim",
    "refuse": "bold red",
    "warn": "magenta",
    "world": "dim blue",
    "event": "green",
    "console": "yellow",
}
"""What becomes of the lines of a trace, by the names of their styles."""


def _columns() -> int:
    """As wide as the terminal is, or COLUMNS says."""
    import shutil  # noqa: PLC0415 - loads what unpacks archives

    return shutil.get_terminal_size().columns


@contextmanager
def progress(file: TextIO) -> Iterator[Callable[[str], None]]:
    """Tell who sits in front of ``file`` what is going on: one line, over the one before it.

    It is wiped out in the end. What is no terminal gets nothing.
    """

    def tell(text: str) -> None:
        shown = visible(text)[: _columns() - 1]
        print(f"\r{shown}\x1b[K", end="", file=file, flush=True)

    if not file.isatty():
        yield lambda _: None
        return
    try:
        yield tell
    finally:
        tell("")


class Terminal:
    """Prints styled lines. A style is words of "bold dim red green yellow blue magenta cyan".

    Colours go to terminals only, and not if NO_COLOR is set.
    """

    def __init__(self, file: TextIO, *, colour: bool | None = None, width: int = 0) -> None:
        self.file = file
        if colour is None:
            colour = file.isatty() and not os.environ.get("NO_COLOR")
        self.colour = colour
        told = file.isatty() or "COLUMNS" in os.environ
        self.width = max(width or (_columns() if told else PIPE_WIDTH), NARROWEST)

    def line(self, text: str = "", style: str = "", *, indent: int = 0) -> None:
        """Print ``text``, folded; what does not fit the first line is indented by ``indent``."""
        for part in self._folded(visible(text), indent):
            print(self.styled(part, style), file=self.file)

    def styled(self, text: str, style: str) -> str:
        """``text`` in ``style``, if there are colours."""
        if not self.colour or not style or not text:
            return text
        codes = ";".join(_CODES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def _folded(self, text: str, indent: int) -> list[str]:
        if len(text) <= self.width:
            return [text]
        return textwrap.wrap(
            text,
            self.width,
            subsequent_indent=" " * min(indent, self.width // 2),
            drop_whitespace=True,
            break_on_hyphens=False,
            replace_whitespace=False,
        )

    def verdict(self, problems: Iterable[str]) -> bool:
        """Print what is wrong, a line each, or that nothing is; whether nothing is."""
        fine = True
        for problem in problems:
            self.line(f"FAILED: {problem}", "bold red")
            fine = False
        if fine:
            self.line("everything is as it must be", "bold green")
        return fine

    def table(self, lines: Sequence[Sequence[str]], *, indent: int = 2) -> None:
        """Print the columns of ``lines`` below each other; the first line is the headings."""
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for number, line in enumerate(lines):
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            text = " " * indent + "  ".join(cells).rstrip()
            self.line(text, "" if number else "bold", indent=indent)

    def facts(self, rows: Iterable[tuple[str, str]], *, column: int) -> None:
        """Print what, and how much of it, in two columns; the first one has ``column`` at least."""
        rows = list(rows)
        longest = max((len(what) for what, _ in rows), default=0)
        column = max(column, min(longest, self.width // 2))
        for what, how_much in rows:
            self.line(f"  {what:<{column}} {how_much}", indent=column + 3)


class Progress:
    """Lines with the seconds since it began."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._began = self.said = time.perf_counter()
        """`said`: when the last line was printed (`time.perf_counter`)."""

    def say(self, text: str, style: str = "") -> None:
        """Print ``text`` at once."""
        self.said = time.perf_counter()
        self._terminal.line(f"[{self.said - self._began:6.2f}] {text}", style, indent=9)
        self._terminal.file.flush()
