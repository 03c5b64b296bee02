"""What a person is told of each moment, without its time and lane: for pictures and captures."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ffabric.firmware.state import events as firmware
from ffabric.machine.events import Event, Record
from ffabric.observe.decoding.text import Reader, said
from ffabric.observe.lines import Header, Scene, Unknown
from ffabric.observe.timeline import Timeline

_STAMP = re.compile(r"^(PE\d+)? *[\d.]+ ")


def captions(timeline: Timeline, only: Collection[int] | None = None) -> Iterator[tuple[int, str]]:
    """What `ffabric trace` says of each moment; its kind and fields, where it says nothing.

    With each comes the number of its moment. ``only``: the numbers of the moments that are wanted,
    by default all.
    """
    reader = Reader(hops=True, schedule=True)
    for number, moment in enumerate(timeline.moments):
        if only is None or number in only:
            yield number, _caption(reader, moment.line)
        else:
            reader.skip(moment.line)


def _caption(reader: Reader, line: Record) -> str:
    if isinstance(line, firmware.World):
        return f"to the {line.to} world"
    if isinstance(line, Header):
        [*reader.line(line)]
        seed = "" if line.seed is None else f", seed {line.seed}"
        return f"the system {line.system}{seed}"
    if isinstance(line, Scene):
        return line.title
    texts = [_plain(text) for _, text in reader.line(line)]
    return "\n".join(texts) or _bare(line)


def _plain(text: str) -> str:
    """A line without time and context, which have places of their own."""
    bare = _STAMP.sub("", text)
    return bare[14:].rstrip() if bare != text else text.strip()


def _bare(line: Record) -> str:
    return f"* {said(line)}" if isinstance(line, Event) else name_of_kind(line)


def name_of_kind(line: Record) -> str:
    """The name of the kind of a line, also of one that is not declared here."""
    return line.name if isinstance(line, Unknown) else line.kind
