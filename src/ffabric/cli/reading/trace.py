"""``ffabric trace``: read a trace that a run has written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.standard_input import standard_input
from ffabric.cli.terminal import STYLES, Terminal
from ffabric.machine.events import Record
from ffabric.observe.decoding.text import Reader
from ffabric.observe.export.sequence import LIMIT, Sequence
from ffabric.observe.lines import NoTrace, parse_lines, read_lines
from ffabric.observe.summary import Summary
from ffabric.system.options.visible import visible

STDIN = Path("-")
_INDENT = 30
_WIDTH = 36

Lines = Iterator[Record]


def trace(
    file: Annotated[Path, Option(hyphens=True)],
    *,
    form: Literal["text", "sequence", "summary"] = "text",
    hops: bool = False,
    schedule: bool = False,
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
    schedule
        In a text, show also who gets a PE or gives it up without a call: starts, resumptions, the
        ends of time slices, WFI.
    limit
        The most steps of a sequence diagram.
    """
    if str(file).startswith("--"):
        raise UsageError(f"trace: unknown option {file}")
    forms: dict[str, Callable[[Lines], None]] = {
        "text": lambda found: _text(found, Reader(hops=hops, schedule=schedule)),
        "sequence": lambda found: print(Sequence(limit=limit).draw(found), end=""),
        "summary": _summary,
    }
    try:
        if file == STDIN:
            with standard_input() as lines:
                forms[form](parse_lines(lines, "standard input"))
        else:
            forms[form](read_lines(file))
    except NoTrace as error:
        raise UsageError(str(error)) from None
    return 0


def _text(lines: Lines, reader: Reader) -> None:
    terminal = Terminal(sys.stdout)
    for style, text in reader.read(lines):
        terminal.line(text, STYLES[style], indent=_INDENT)


def _summary(lines: Lines) -> None:
    for what, how_much in Summary().add(lines).rows():
        print(f"{visible(what):<{_WIDTH}} {how_much}")
