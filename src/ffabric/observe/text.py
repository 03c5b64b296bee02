"""A trace as a person reads it: one decoded line per call and answer, the hops between the worlds.

Works on the lines of a trace, live or from a file. Each printed line has a style name; whoever
prints decides what colour that is, if any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ffabric.abi.ffa import calls
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import LATEST
from ffabric.observe.descriptor import describe

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

_QUIET = frozenset({"header", "choices", "rx", "start"})
_REPLY_IDS = frozenset({fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64})
_NO_ID = frozenset({fid.FFA_VERSION})
_GAP = " " * 13


class Reader:
    """Turns trace lines into text; remembers what each context asked, to decode its answers.

    ``hops`` shows the calls between partition managers too, ``version`` is how calls are laid out.
    """

    def __init__(self, *, hops: bool = False, version: int = LATEST) -> None:
        self._hops = hops
        self._version = version
        self._asked: dict[tuple[str, int], list[int]] = {}

    def read(self, lines: Iterable[dict[str, Any]]) -> Iterator[Styled]:
        """The text of ``lines``."""
        for line in lines:
            yield from self.line(line)

    def line(self, line: dict[str, Any]) -> Iterator[Styled]:
        """The text of one line; none for what a person does not need."""
        kind = line.get("kind", "")
        if kind in _QUIET:
            return
        handler = _HANDLERS.get(kind, Reader._event)
        yield from handler(self, line)

    def _call(self, line: dict[str, Any]) -> Iterator[Styled]:
        registers = _numbers(line)
        self._asked[line["endpoint"], line["vcpu"]] = registers
        yield "call", _stamp(line) + f"{_who(line)}   {calls.decode(registers, self._version)}"
        for _, data in line.get("write", ()):
            carried = describe(registers[0] & 0xFFFFFFFF, bytes.fromhex(data), self._version)
            if carried:
                yield "call", f"{_GAP}{'':14}   {carried}"

    def _hop(self, line: dict[str, Any]) -> Iterator[Styled]:
        if self._hops:
            text = calls.decode(_numbers(line), self._version)
            yield "hop", _stamp(line) + f"{_who(line)}   {text}"

    def _return(self, line: dict[str, Any]) -> Iterator[Styled]:
        registers = _numbers(line)
        asked = self._asked.get((line["endpoint"], line["vcpu"]))
        if asked is None:
            return
        function = asked[0] & 0xFFFFFFFF
        if registers[0] & 0xFFFFFFFF in _REPLY_IDS or function in _NO_ID:
            text = calls.decode_reply(asked, registers, self._version)
        else:
            text = calls.decode(registers, self._version)
        yield "return", _stamp(line) + f"{_who(line)} < {text}"

    def _refuse(self, line: dict[str, Any]) -> Iterator[Styled]:
        yield "refuse", f"{_stamp(line)}{_who(line)} ! refused by {line['rule']}: {line['status']}"
        yield "refuse", f"{_GAP}{'':14}   {line['text']}"
        compared = f"got {line['got']}, expected {line['expected']} ({line['section']})"
        yield "refuse", f"{_GAP}{'':14}   {compared}"

    def _world(self, line: dict[str, Any]) -> Iterator[Styled]:
        arrow = (
            "normal world -> secure world"
            if line["to"] == "secure"
            else "normal world <- secure world"
        )
        yield "world", f"{_stamp(line)}{f' {arrow} ':-^58}"

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
    "call": Reader._call,
    "hop": Reader._hop,
    "return": Reader._return,
    "refuse": Reader._refuse,
    "world": Reader._world,
}
