"""The lines of a trace: JSON objects, written and read by the declarations of the events.

A line is told by its ``kind``. Its other keys are the fields of that kind's struct; those that may
be absent have a default there. What is declared as a `Word`, a register or an address, is a
hexadecimal string, so that no reader rounds it, and bytes are hexadecimal digits. The number of a
line in its file is its sequence number.

The first line is the `Header`. It says which version of the format the file has: a number that
grows with each change that an older reader would misunderstand. A reader keeps the lines whose kind
it does not know as they are, so a new kind does not change the version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from ffabric.firmware.state import events as firmware
from ffabric.firmware.state.events import Mapping
from ffabric.machine import events as machine
from ffabric.machine.events import Count, Event, Id, Index, Name, Record, kind_of
from ffabric.observe.encoding import readers, writer
from ffabric.system.files.reading import opened
from ffabric.system.files.reading import read_lines as lines_of

FORMAT: Final = 2
"""The version of the format that is written, and the only one that is read."""


class Header(Record):
    """The first line: whose run this is. A file with several runs has one for each."""

    format: int
    """The version of the format."""
    system: str
    """The name of the system."""
    seed: int | None
    """The seed of its choices; null: where several things can come next, the first does."""
    hypervisor: bool
    """Whether it has a hypervisor, which relays what VMs ask of the secure world."""
    endpoints: dict[Name, Id]
    """The endpoint id of each partition that has one."""
    services: dict[Name, tuple[str, ...]]
    """The UUIDs of the partitions that have any."""
    levels: dict[Name, Index] = msgspec.field(default_factory=dict)
    """The exception level at which each partition executes: 0, 1 or 2."""
    secure: tuple[Name, ...] = ()
    """Those of the secure world that have no endpoint id: the trusted OS below EL3."""
    memory: dict[Name, tuple[Mapping, ...]] = msgspec.field(default_factory=dict)
    """The memory that is each partition's own. That of a VM is told where it is created, too."""


class Choices(Record):
    """What was chosen since the last such line, where several things could have come next."""

    list: tuple[Count, ...]
    """An index for each choice, in order: what ``--replay`` chooses again."""


class Scene(Event):
    """A part of a demonstration begins."""

    title: str
    """What it is about."""


class Unknown(Record):
    """A line of a kind that is not declared here: a newer version has written it."""

    name: str
    """Its kind."""
    fields: dict[str, Any]
    """What else it says, as it says it."""


def _kinds(base: type[Record]) -> Iterator[type[Record]]:
    """The kinds below ``base``: structs of which no other is a special case."""
    special = base.__subclasses__()
    if not special:
        yield base
    for each in special:
        yield from _kinds(each)


ROOMS: Final = (machine.__name__, firmware.__name__, __name__)
"""The modules that declare kinds, from the ground up."""

KINDS: Final[dict[str, type[Record]]] = {
    kind_of(each.__name__): each for each in _kinds(Record) if each is not Unknown
}
"""Every kind of line by its name."""


class NoTrace(ValueError):  # noqa: N818 - a file, and what is wrong with it
    """A line that is none of a trace."""


def write(line: Record) -> str:
    """A line as JSON text, with its newline."""
    return WRITERS[type(line)](line)


def read(text: bytes | str) -> Record:
    """The line that a JSON text is. Raises NoTrace if it is none."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        return _record(found.pop("kind", None), found)
    except RecursionError:
        raise NoTrace("not a line of a trace: nested too deep") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise NoTrace(f"not a line of a trace: {error}") from None


def _record(kind: object, fields: dict[str, Any]) -> Record:
    if not isinstance(kind, str):
        raise TypeError("it has no kind")
    declared = KINDS.get(kind)
    if declared is None:
        return Unknown(kind, fields)
    if declared is Header and fields.get("format") != FORMAT:
        version = fields.get("format")
        raise ValueError(f"the trace has format {version!r}, and only {FORMAT} is read here")
    for name, form in _READERS[declared]:
        if name in fields:
            fields[name] = form(fields[name])
    return msgspec.convert(fields, declared)


def read_lines(path: Path) -> Iterator[Record]:
    """The lines of a trace file.

    Raises NoTrace with the place of the first line that is none, OSError for what is no regular
    file or has a line of more than `ffabric.system.files.reading.LINE` bytes.
    """
    with opened(path) as file:
        yield from parse_lines(file, str(path))


def parse_lines(file: IO[bytes], name: str) -> Iterator[Record]:
    """As `read_lines`, of a file that is open; errors call it ``name``."""
    number = 0
    for number, text in enumerate(lines_of(file, name), 1):
        try:
            yield read(text)
        except NoTrace as error:
            raise NoTrace(f"{name}:{number}: {error}") from None
    if not number:
        raise NoTrace(f"{name}: not a trace: there is nothing in it")


def as_json(line: Record) -> dict[str, Any]:
    """The JSON object that a line is written as."""
    found: dict[str, Any] = msgspec.json.decode(write(line))
    return found


def _write_unknown(line: Unknown) -> str:
    return msgspec.json.encode({"kind": line.name, **line.fields}).decode() + "\n"


class _Writers(dict[type[Record], Callable[[Any], str]]):
    def __missing__(self, kind: type[Record]) -> Callable[[Any], str]:
        made = self[kind] = writer(kind)
        return made


class _Readers(dict[type[Record], Any]):
    def __missing__(self, kind: type[Record]) -> Any:
        made = self[kind] = readers(kind)
        return made


WRITERS: Final = _Writers({Unknown: _write_unknown})
"""How a line of each kind is written; made when the first one is."""
_READERS: Final = _Readers()
