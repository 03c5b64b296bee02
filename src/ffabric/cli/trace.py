"""``ffabric trace``: read a trace that a run has written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ffabric.cli.errors import UsageError
from ffabric.cli.terminal import Terminal
from ffabric.observe.sequence import LIMIT, Sequence
from ffabric.observe.summary import Summary
from ffabric.observe.text import STYLES, Reader
from ffabric.observe.trace import parse_lines, read_lines

STDIN = Path("-")
_INDENT = 30
_WIDTH = 36

Lines = Iterator[dict[str, Any]]


def trace(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    *,
    form: Literal["text", "sequence", "summary"] = "text",
    hops: bool = False,
    limit: int = LIMIT,
) -> int:
    """Read a trace: every call, answer and refusal decoded, a sequence diagram, or a summary.

    Parameters
    ----------
    file
        What `ffabric run --trace` has written; "-" is standard input.
    form
        text; sequence, a diagram in Mermaid's language; summary, what the run amounted to.
    hops
        In a text, show also what the hypervisor passes on to the SPMC.
    limit
        The most steps of a sequence diagram.
    """
    if str(file).startswith("--"):
        raise UsageError(f"trace: unknown option {file}")
    lines = _Numbered(file)
    forms: dict[str, Callable[[Lines], None]] = {
        "text": lambda found: _text(found, hops=hops),
        "sequence": lambda found: print(Sequence(limit=limit).draw(found), end=""),
        "summary": _summary,
    }
    try:
        forms[form](lines)
    except ValueError as error:
        raise UsageError(lines.said(error)) from None
    except (LookupError, TypeError, AttributeError) as error:
        raise UsageError(lines.said(f"not a line of a trace: {error!r}")) from None
    return 0


def _text(lines: Lines, *, hops: bool) -> None:
    terminal = Terminal(sys.stdout)
    for style, text in Reader(hops=hops).read(lines):
        terminal.line(text, STYLES[style], indent=_INDENT)


def _summary(lines: Lines) -> None:
    for what, how_much in Summary().add(lines).rows():
        print(f"{what:<{_WIDTH}} {how_much}")


class _Numbered:
    """The lines of a trace file, and where in it one is."""

    def __init__(self, path: Path) -> None:
        stdin = path == STDIN
        self._name = "standard input" if stdin else str(path)
        self._lines = parse_lines(sys.stdin.buffer, self._name) if stdin else read_lines(path)
        self._number = 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> dict[str, Any]:
        line = next(self._lines)
        self._number += 1
        return line

    def said(self, what: object) -> str:
        """``what`` is wrong, with the place; unless it says the place itself."""
        text = str(what)
        return text if text.startswith(f"{self._name}:") else f"{self._name}:{self._number}: {text}"
