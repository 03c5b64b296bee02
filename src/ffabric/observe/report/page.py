"""Puts the page together: template, style and script from this folder, data as compressed JSON.

The data is text within a script element that holds base64 alone, and the script writes it into the
page as text only. So nothing that a trace contains can become markup.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import msgspec

from ffabric.machine.events import Record
from ffabric.observe.lines import read_lines
from ffabric.observe.report.data import LIMIT, page_data

_SCRIPTS: Final = ("model.js", "lanes.js", "memory.js", "queues.js", "events.js", "main.js")


def page(lines: Iterable[Record], *, title: str, limit: int = LIMIT) -> str:
    """The HTML page of a trace; ``limit``: the events that it shows at most."""
    data = msgspec.json.encode(page_data(lines, limit=limit))
    return Template(_file("page.html")).substitute(
        title=escape(title),
        style=_file("page.css"),
        script="\n".join(map(_file, _SCRIPTS)),
        data=base64.b64encode(zlib.compress(data, 6)).decode(),
    )


def write_page(trace: Path, where: Path, *, limit: int = LIMIT) -> None:
    """Write the page of a trace file. Raises as `ffabric.observe.lines.read_lines`."""
    made = page(read_lines(trace), title=f"ffabric: {trace.name}", limit=limit)
    where.write_text(made, encoding="utf-8")


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
