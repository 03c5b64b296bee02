"""A trace as a person reads it: one decoded line per call and answer, the hops between the worlds.

Works on the lines of a trace, live or from a file. Who runs on another's account is indented. Each
printed line has a style name; whoever prints decides what colour that is, if any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import calls
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.version import LATEST
from ffabric.abi.words import MASK32
from ffabric.firmware.state import events as firmware
from ffabric.machine import events as machine
from ffabric.machine.events import ContextEvent, Event, Record
from ffabric.observe.chain import Chains
from ffabric.observe.decoding.descriptor import describe, pages
from ffabric.observe.decoding.dialogue import Dialogue
from ffabric.observe.lines import Choices, Header, Unknown, as_json

Styled = tuple[str, str]
"""(style, text)"""

_SCHEDULE: frozenset[type[Record]] = frozenset(
    {machine.Start, machine.Resume, machine.Slice, machine.Idle}
)
"""What tells who has a PE and why, beyond calls and answers."""
_QUIET: frozenset[type[Record]] = frozenset({Choices, firmware.Rx})
_REPLY_IDS = frozenset({fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64})
_NO_ID = frozenset({fid.FFA_VERSION})
_GAP = " " * 13
_STEP = 2
_ARROWS = {
    "secure": "normal world -> secure world",
    "normal": "normal world <- secure world",
}
_IDLE_FIELDS = frozenset({"target", "target_vcpu", "address", "pages"})
_IDLE_IN = ("FFA_SUCCESS", "FFA_ERROR", "FFA_MEM_")
"""Fields that say something only if they are not zero, in these calls."""
_SIZES = frozenset({"total_length", "fragment_length", "descriptor_size"})
"""Fields that a person can do without, if it is to be brief."""
_PAYLOAD = frozenset(f"{width}{number}" for width in "wx" for number in range(3, 8))
"""Registers of a direct message that belong to its service."""
_NAMED = frozenset({"id", "sender", "receiver", "target", "endpoint", "vm", "borrower", "caller"})
"""Fields that hold an endpoint id, which is shown with the endpoint's name."""


class Reader:
    """Turns the lines of a trace into text; remembers what each context asked, for its answers.

    It knows the names of endpoints from the header, if it is given that too.

    ``hops`` shows the calls between partition managers too, ``schedule`` who gets a PE without an
    answer and who gives it up without a call. ``brief`` says of direct messages who sends them to
    whom by name, ``version`` is how calls are laid out.
    """

    def __init__(
        self,
        *,
        hops: bool = False,
        schedule: bool = False,
        brief: bool = False,
        version: int = LATEST,
    ) -> None:
        self._quiet = _QUIET if schedule else _QUIET | _SCHEDULE
        if not hops:
            self._quiet |= {firmware.Hop}
        self._brief = brief
        self._version = version
        self._asked: dict[tuple[str, int], tuple[int, ...]] = {}
        self._chains = Chains()
        self._dialogue = Dialogue()
        self._names: dict[int, str] = {}
        self._switches: list[firmware.World] = []

    def read(self, lines: Iterable[Record]) -> Iterator[Styled]:
        """The text of ``lines``."""
        for line in lines:
            yield from self.line(line)

    def line(self, line: Record) -> Iterator[Styled]:
        """The text of one line; none for what a person does not need."""
        if isinstance(line, firmware.World):
            self._switches.append(line)
            return
        if isinstance(line, machine.Resume):
            self._chains.resume(line)
        if type(line) in self._quiet:
            return
        for styled in _HANDLERS.get(type(line), Reader._event)(self, line):
            if self._switches:
                yield from self._world()
            yield styled

    def rest(self) -> Iterator[Styled]:
        """The text of world switches after the last line."""
        if self._switches:
            yield from self._world()

    def skip(self, line: Record) -> None:
        """Take note of a line that is not to be told: what later lines say depends on it."""
        if isinstance(line, machine.Call):
            self._asked[line.endpoint, line.vcpu] = line.x
            self._chains.call(line, line.x[0] & MASK32)
            self._dialogue.hear(line.pe, line.x)
        elif isinstance(line, machine.Return):
            self._chains.resume(line)
            self._dialogue.hear(line.pe, line.x)
        elif isinstance(line, machine.Resume):
            self._chains.resume(line)
        elif isinstance(line, Header):
            self._header(line)
        elif isinstance(line, firmware.VmCreated):
            self._names[line.endpoint] = line.partition

    def _header(self, line: Header) -> Iterator[Styled]:
        self._names = {number: name for name, number in line.endpoints.items()}
        if line.hypervisor:
            self._names[0] = "hypervisor"
        self._dialogue.header(line)
        return iter(())

    def _call(self, line: machine.Call) -> Iterator[Styled]:
        function = line.x[0] & MASK32
        self._asked[line.endpoint, line.vcpu] = line.x
        indent = " " * (3 + _STEP * self._chains.call(line, function))
        text = self._decoded(self._message(line.pe, line.x))
        yield "call", _stamp(line) + f"{_who(line)}{indent}{text}"
        for _, data in line.write:
            carried = describe(function, data, self._version, self._names)
            if carried:
                yield "call", f"{_GAP}{'':14}{indent}{carried}"

    def _hop(self, line: firmware.Hop) -> Iterator[Styled]:
        text = self._decoded(calls.decode(line.x, self._version))
        yield "hop", _stamp(line) + f"{_who(line)}   {text}"

    def _return(self, line: machine.Return) -> Iterator[Styled]:
        depth = self._chains.resume(line)
        asked = self._asked.get((line.endpoint, line.vcpu))
        if asked is None:
            return
        function = asked[0] & MASK32
        no_id = function in _NO_ID or not fid.is_ffa(function)
        if line.x[0] & MASK32 in _REPLY_IDS or no_id:
            text = self._decoded(calls.decode_reply(asked, line.x, self._version))
        else:
            text = self._decoded(self._message(line.pe, line.x))
        if function == fid.FFA_PARTITION_INFO_GET_REGS:
            text = self._partitions(asked, line.x) or text
        yield "return", _stamp(line) + f"{_who(line)} <{' ' * (1 + _STEP * depth)}{text}"

    def _message(self, pe: int, registers: Sequence[int]) -> calls.Call:
        """A call, a direct message in the words of its service."""
        call = calls.decode(registers, self._version)
        said = self._dialogue.text(pe, registers)
        if said:
            call.fields = [field for field in call.fields if field[0] not in _PAYLOAD]
            call.notes.append(said)
        return call

    def _partitions(self, asked: Sequence[int], registers: Sequence[int]) -> str:
        """The partitions that registers describe; nothing if they describe none."""
        try:
            found = info.parse_registers(registers, asked[3] & 0xFFFF).infos
        except DecodeError:
            return ""
        return "FFA_SUCCESS_64: " + ", ".join(self._named(each.id) for each in found)

    def _named(self, endpoint: int) -> str:
        name = self._names.get(endpoint)
        return f"{endpoint:#06x} ({name})" if name else f"{endpoint:#06x}"

    def _decoded(self, call: calls.Call) -> str:
        """A call in a line, endpoint ids with the names of the endpoints."""
        if self._brief:
            return self._in_brief(call)
        idle = _IDLE_FIELDS if call.name.startswith(_IDLE_IN) else frozenset()
        call.fields = [
            (name, value, self._with_name(name, value, text))
            for name, value, text in call.fields
            if value or name not in idle
        ]
        return str(call)

    def _in_brief(self, call: calls.Call) -> str:
        """A call without zeros and lengths; who sends a direct message to whom, and what kind."""
        fields = [
            (name, value, text) for name, value, text in call.fields if value and name not in _SIZES
        ]
        if not call.name.startswith("FFA_MSG_SEND_DIRECT"):
            words = [f"{name}={self._with_name(name, value, text)}" for name, value, text in fields]
            return f"{call.name}: {' '.join(words)}" if words else call.name
        ends = " -> ".join(self._names.get(value, text) for _, value, text in call.fields[:2])
        kind = [note.removeprefix("framework message ") for note in call.notes]
        words = [
            f"{name}={self._with_name(name, value, text)}"
            for name, value, text in fields
            if name not in ("sender", "receiver") and not (kind and name == "flags")
        ]
        return " ".join([f"{call.name}: {ends}", *kind, *words])

    def _with_name(self, field: str, value: int, text: str) -> str:
        known = field in _NAMED and value in self._names
        return f"{text} ({self._names[value]})" if known else text

    def _refuse(self, line: firmware.Refuse) -> Iterator[Styled]:
        yield "refuse", f"{_stamp(line)}{_who(line)} ! refused by {line.rule}: {line.status}"
        yield "refuse", f"{_GAP}{'':14}   {line.text}"
        compared = f"got {line.got}, expected {line.expected} ({line.section})"
        yield "refuse", f"{_GAP}{'':14}   {compared}"

    def _reserved(self, line: firmware.ReservedBits) -> Iterator[Styled]:
        said = f"{line.register} should be zero and is {line.value:#x}"
        yield "warn", f"{_stamp(line)}{_who(line)} ! {said} ({line.reserved}; {line.section})"

    def _world(self) -> Iterator[Styled]:
        """The world switches since the last line that was printed, a line for each PE."""
        found: dict[int, list[firmware.World]] = {}
        for line in self._switches:
            found.setdefault(line.pe, []).append(line)
        self._switches = []
        for lines in found.values():
            last = lines[-1]
            text = _ARROWS[last.to]
            if len(lines) > 1:
                text = f"{len(lines)} world switches, to the {last.to} world"
            yield "world", f"{_stamp(last)}{f' {text} ':-^58}"

    def _enter(self, line: firmware.Enter) -> Iterator[Styled]:
        text = self._decoded(calls.decode(line.x, self._version))
        what = f"* entered at its {line.vector} vector"
        yield "event", _stamp(line) + f"{_who(line)} {what}" + (f": {text}" if line.x[0] else "")

    def _owned(self, line: firmware.OwnerEvent) -> Iterator[Styled]:
        yield "event", _memory(line, line.owner, line.ranges)

    def _borrowed(self, line: firmware.BorrowerEvent) -> Iterator[Styled]:
        ranges = [(ipa, count) for ipa, _, count in line.ranges]
        yield "event", _memory(line, line.borrower, ranges)

    def _console(self, line: firmware.Console) -> Iterator[Styled]:
        yield "console", f"{_stamp(line)}{line.partition}: {line.text}"

    def _created(self, line: firmware.VmCreated) -> Iterator[Styled]:
        self._names[line.endpoint] = line.partition
        yield "event", f"{_stamp(line)}{'':14} * {said(line, 'memory')}"

    def _context(self, line: ContextEvent) -> Iterator[Styled]:
        yield "event", f"{_stamp(line)}{_who(line)} * {said(line, 'endpoint', 'vcpu')}"

    def _event(self, line: Event) -> Iterator[Styled]:
        yield "event", f"{_stamp(line)}{'':14} * {said(line)}"

    def _unknown(self, line: Unknown) -> Iterator[Styled]:
        """A line of a newer version, as it is."""
        pe, t = line.fields.get("pe"), line.fields.get("t")
        where = f"PE{pe}" if isinstance(pe, int) else ""
        when = f"{t / 1000:>8.1f}" if isinstance(t, int) else " " * 8
        yield "event", f"{where:<4}{when} {'':14} * {line.name} {_fields(line.fields)}".rstrip()


def _memory(line: Event, whose: str, ranges: Sequence[tuple[int, int]]) -> str:
    return f"{_stamp(line)}{'':14} * {line.kind} {whose}: {pages(ranges)}"


def _who(line: ContextEvent) -> str:
    return f"{line.endpoint}.{line.vcpu}".ljust(14)


def _stamp(line: Event) -> str:
    pe = getattr(line, "pe", None)
    where = "" if pe is None else f"PE{pe}"
    return f"{where:<4}{line.t / 1000:>8.1f} "


def said(line: Event, *without: str) -> str:
    """A kind and its fields, but for those that stand elsewhere."""
    return f"{line.kind} {_fields(as_json(line), *without)}".rstrip()


def _fields(found: dict[str, Any], *without: str) -> str:
    return " ".join(
        f"{name}={_short(value)}"
        for name, value in found.items()
        if name not in ("kind", "t", "pe", *without)
    )


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    return str(value)


_HANDLERS: dict[type[Record], Callable[[Reader, Any], Iterator[Styled]]] = {
    Header: Reader._header,
    Unknown: Reader._unknown,
    machine.Call: Reader._call,
    machine.Return: Reader._return,
    **dict.fromkeys((*_SCHEDULE, machine.Abort, machine.Crash, firmware.Preempt), Reader._context),
    firmware.Hop: Reader._hop,
    firmware.Refuse: Reader._refuse,
    firmware.ReservedBits: Reader._reserved,
    firmware.Enter: Reader._enter,
    firmware.Console: Reader._console,
    firmware.VmCreated: Reader._created,
    **dict.fromkeys(
        (firmware.Share, firmware.Lend, firmware.Donate, firmware.Restore), Reader._owned
    ),
    **dict.fromkeys((firmware.Retrieve, firmware.Relinquish), Reader._borrowed),
}
