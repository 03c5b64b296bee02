"""A trace as a person reads it: one decoded line per call and answer, the hops between the worlds.

Works on the lines of a trace, live or from a file. Who runs on another's account is indented. Each
printed line has a style name; whoever prints decides what colour that is, if any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import calls
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.version import LATEST
from ffabric.abi.words import MASK32
from ffabric.observe.chain import Chains, is_answer
from ffabric.observe.descriptor import describe, pages
from ffabric.observe.dialogue import Dialogue

Styled = tuple[str, str]
"""(style, text)"""

STYLES = {
    "call": "",
    "return": "cyan",
    "hop": "dim",
    "refuse": "bold red",
    "world": "dim blue",
    "event": "green",
    "console": "yellow",
}
"""Style name -> what a terminal makes of it (a rich style)."""

_QUIET = frozenset({"choices", "rx", "start"})
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
    """Turns trace lines into text; remembers what each context asked, to decode its answers.

    It knows the names of endpoints from the header, if it is given that too.

    ``hops`` shows the calls between partition managers too, ``brief`` says of direct messages who
    sends them to whom by name, ``version`` is how calls are laid out.
    """

    def __init__(self, *, hops: bool = False, brief: bool = False, version: int = LATEST) -> None:
        self._hops = hops
        self._brief = brief
        self._version = version
        self._asked: dict[tuple[str, int], list[int]] = {}
        self._chains = Chains()
        self._dialogue = Dialogue()
        self._names: dict[int, str] = {}
        self._switches: list[dict[str, Any]] = []

    def read(self, lines: Iterable[dict[str, Any]]) -> Iterator[Styled]:
        """The text of ``lines``."""
        for line in lines:
            yield from self.line(line)

    def line(self, line: dict[str, Any]) -> Iterator[Styled]:
        """The text of one line; none for what a person does not need."""
        kind = line.get("kind", "")
        if kind in _QUIET:
            return
        if kind == "world":
            self._switches.append(line)
            return
        for styled in _HANDLERS.get(kind, Reader._event)(self, line):
            if self._switches:
                yield from self._world()
            yield styled

    def rest(self) -> Iterator[Styled]:
        """The text of world switches after the last line."""
        if self._switches:
            yield from self._world()

    def overlook(self, line: dict[str, Any]) -> None:
        """Take note of a line that is not to be told: what was asked decides what answers mean."""
        if line["kind"] == "call":
            self._asked[line["endpoint"], line["vcpu"]] = _numbers(line)

    def _header(self, line: dict[str, Any]) -> Iterator[Styled]:
        endpoints = line.get("endpoints", {})
        self._names = {int(number, 16): name for name, number in endpoints.items()}
        if line.get("hypervisor"):
            self._names[0] = "hypervisor"
        self._dialogue.header(line)
        return iter(())

    def _call(self, line: dict[str, Any]) -> Iterator[Styled]:
        registers = _numbers(line)
        function = registers[0] & MASK32
        self._asked[line["endpoint"], line["vcpu"]] = registers
        indent = " " * (3 + _STEP * self._chains.call(line, function))
        text = self._decoded(self._message(line, registers))
        yield "call", _stamp(line) + f"{_who(line)}{indent}{text}"
        for _, data in line.get("write", ()):
            carried = describe(function, bytes.fromhex(data), self._version, self._names)
            if carried:
                yield "call", f"{_GAP}{'':14}{indent}{carried}"

    def _hop(self, line: dict[str, Any]) -> Iterator[Styled]:
        if self._hops:
            text = self._decoded(calls.decode(_numbers(line), self._version))
            yield "hop", _stamp(line) + f"{_who(line)}   {text}"

    def _return(self, line: dict[str, Any]) -> Iterator[Styled]:
        depth = self._chains.resume(line)
        registers = _numbers(line)
        asked = self._asked.get((line["endpoint"], line["vcpu"]))
        if asked is None or not is_answer(registers):
            return
        function = asked[0] & MASK32
        no_id = function in _NO_ID or not fid.is_ffa(function)
        if registers[0] & MASK32 in _REPLY_IDS or no_id:
            text = self._decoded(calls.decode_reply(asked, registers, self._version))
        else:
            text = self._decoded(self._message(line, registers))
        if function == fid.FFA_PARTITION_INFO_GET_REGS:
            text = self._partitions(asked, registers) or text
        yield "return", _stamp(line) + f"{_who(line)} <{' ' * (1 + _STEP * depth)}{text}"

    def _message(self, line: dict[str, Any], registers: list[int]) -> calls.Call:
        """A call, a direct message in the words of its service."""
        call = calls.decode(registers, self._version)
        said = self._dialogue.text(line.get("pe", 0), registers)
        if said:
            call.fields = [field for field in call.fields if field[0] not in _PAYLOAD]
            call.notes.append(said)
        return call

    def _partitions(self, asked: list[int], registers: list[int]) -> str:
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

    def _refuse(self, line: dict[str, Any]) -> Iterator[Styled]:
        yield "refuse", f"{_stamp(line)}{_who(line)} ! refused by {line['rule']}: {line['status']}"
        yield "refuse", f"{_GAP}{'':14}   {line['text']}"
        compared = f"got {line['got']}, expected {line['expected']} ({line['section']})"
        yield "refuse", f"{_GAP}{'':14}   {compared}"

    def _world(self) -> Iterator[Styled]:
        """The world switches since the last line that was printed, a line for each PE."""
        found: dict[int, list[dict[str, Any]]] = {}
        for line in self._switches:
            found.setdefault(line["pe"], []).append(line)
        self._switches = []
        for lines in found.values():
            last = lines[-1]
            text = _ARROWS[last["to"]]
            if len(lines) > 1:
                text = f"{len(lines)} world switches, to the {last['to']} world"
            yield "world", f"{_stamp(last)}{f' {text} ':-^58}"

    def _memory(self, line: dict[str, Any]) -> Iterator[Styled]:
        whose = line.get("owner") or line["borrower"]
        ranges = [(int(each[0], 16), int(each[-1], 16)) for each in line["ranges"]]
        yield "event", f"{_stamp(line)}{'':14} * {line['kind']} {whose}: {pages(ranges)}"

    def _console(self, line: dict[str, Any]) -> Iterator[Styled]:
        yield "console", f"{_stamp(line)}{line['partition']}: {line['text']}"

    def _created(self, line: dict[str, Any]) -> Iterator[Styled]:
        self._names[int(line["endpoint"], 16)] = line["partition"]
        yield from self._event(line)

    def _event(self, line: dict[str, Any]) -> Iterator[Styled]:
        fields = {k: v for k, v in line.items() if k not in ("kind", "t", "pe")}
        text = " ".join(f"{name}={_short(value)}" for name, value in fields.items())
        yield "event", f"{_stamp(line)}{'':14} * {line['kind']} {text}"


def _numbers(line: dict[str, Any]) -> list[int]:
    values = [int(value, 16) for value in line["x"]]
    return values + [0] * (18 - len(values))


def _who(line: dict[str, Any]) -> str:
    return f"{line['endpoint']}.{line['vcpu']}".ljust(14)


def _stamp(line: dict[str, Any]) -> str:
    where = f"PE{line['pe']}" if "pe" in line else ""
    return f"{where:<4}{line['t'] / 1000:>8.1f} "


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    return str(value)


_HANDLERS: dict[str, Callable[[Reader, dict[str, Any]], Iterator[Styled]]] = {
    "header": Reader._header,
    "call": Reader._call,
    "hop": Reader._hop,
    "return": Reader._return,
    "refuse": Reader._refuse,
    "console": Reader._console,
    "vm_created": Reader._created,
    **dict.fromkeys(
        ("share", "lend", "donate", "retrieve", "relinquish", "restore"), Reader._memory
    ),
}
