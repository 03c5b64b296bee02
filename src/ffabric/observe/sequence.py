"""A trace as a sequence diagram in Mermaid's language, for documents and reviews.

Participants are the endpoints and the partition manager of each world. A request is drawn with a
full line and an answer with a dashed one; refusals and changes of memory are notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ffabric.abi.ffa import calls
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import from_register
from ffabric.abi.words import MASK32, SECURE_BIT
from ffabric.observe.chain import is_answer

SPMC = "SPMC"
HYPERVISOR = "Hypervisor"
LIMIT = 300
"""Arrows and notes of a diagram, unless more are asked for; renderers refuse very long ones."""

_ESCAPES = str.maketrans({"#": "#35;", ";": "#59;", "\n": " ", "\r": " "})


class Sequence:
    """Draws the lines of a trace, header first. ``limit`` bounds the arrows and notes."""

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._secure: dict[str, bool] = {}
        self._seen: dict[str, None] = {}
        self._drawn: list[str] = []
        self._left_out = 0
        self._crossing: set[int] = set()
        self._normal = HYPERVISOR

    def draw(self, lines: Iterable[dict[str, Any]]) -> str:
        """The diagram of ``lines``."""
        for line in lines:
            handler = _HANDLERS.get(line.get("kind", ""))
            if handler is not None:
                handler(self, line)
        return self._text()

    def _text(self) -> str:
        head = ["sequenceDiagram"]
        for title, secure in (("Normal world", False), ("Secure world", True)):
            group = [name for name in self._seen if self._is_secure(name) is secure]
            if group:
                head.append(f"    box {title}")
                head += [f"    participant {_alias(n)} as {n.translate(_ESCAPES)}" for n in group]
                head.append("    end")
        drawn = list(self._drawn)
        if self._left_out:
            over = _alias(next(iter(self._seen)))
            drawn.append(f"Note over {over}: and {self._left_out} more steps")
        return "\n".join([*head, *(f"    {each}" for each in drawn)]) + "\n"

    def _is_secure(self, name: str) -> bool:
        return name == SPMC or self._secure.get(name, False)

    def _manager(self, name: str) -> str:
        return SPMC if self._is_secure(name) else self._normal

    def _add(self, step: str, *participants: str) -> None:
        if len(self._drawn) == self._limit:
            self._left_out += 1
            return
        for each in participants:
            self._seen.setdefault(each)
        self._drawn.append(step)

    def _arrow(self, start: str, arrow: str, end: str, label: str) -> None:
        if start != end:
            step = f"{_alias(start)}{arrow}{_alias(end)}: {label.translate(_ESCAPES)}"
            self._add(step, start, end)

    def _note(self, name: str, text: str) -> None:
        self._add(f"Note over {_alias(name)}: {text.translate(_ESCAPES)}", name)

    def _header(self, line: dict[str, Any]) -> None:
        endpoints = line.get("endpoints", {})
        self._secure = {name: bool(int(n, 16) & SECURE_BIT) for name, n in endpoints.items()}
        if not line.get("hypervisor", True):
            self._normal = SPMC

    def _call(self, line: dict[str, Any]) -> None:
        name = line["endpoint"]
        self._arrow(name, "->>", self._manager(name), _label(line))

    def _hop(self, line: dict[str, Any]) -> None:
        self._arrow(self._normal, "->>", SPMC, _label(line))

    def _world(self, line: dict[str, Any]) -> None:
        if line["to"] == "normal":
            self._crossing.add(line["pe"])
        else:
            self._crossing.discard(line["pe"])

    def _return(self, line: dict[str, Any]) -> None:
        name = line["endpoint"]
        if not is_answer([int(line["x"][0], 16)]):
            return
        label = _label(line)
        if line["pe"] in self._crossing:
            self._crossing.remove(line["pe"])
            self._arrow(SPMC, "-->>", self._normal, label)
        self._arrow(self._manager(name), "-->>", name, label)

    def _refuse(self, line: dict[str, Any]) -> None:
        name = line["endpoint"]
        judge = self._manager(name) if name in self._secure else SPMC
        self._note(judge, f"{line['rule']} refuses: {line['status']}")

    def _memory(self, line: dict[str, Any]) -> None:
        name = line.get("owner") or line["borrower"]
        if name in self._secure:
            pages = sum(int(each[-1], 16) for each in line["ranges"])
            self._note(name, f"{line['kind']}: {pages} page{'s' * (pages != 1)}")

    def _fate(self, line: dict[str, Any]) -> None:
        name = line.get("partition") or line["context"].rpartition(".")[0]
        if name in self._secure:
            what = line.get("reason") or line.get("intid", "")
            self._note(name, f"{line['kind']} {what}".rstrip())


def _label(line: dict[str, Any]) -> str:
    values = [int(value, 16) for value in line["x"]]
    name = calls.decode(values).name
    if values[0] & MASK32 == fid.FFA_ERROR and len(values) > 2:
        status = from_register(values[2])
        return f"{name} {values[2]:#x}" if status is None else f"{name} {status.name}"
    return name


def _alias(name: str) -> str:
    """A name as Mermaid's identifiers are: letters, digits and underscores, never a keyword."""
    return "p_" + "".join(each if each.isalnum() and each.isascii() else "_" for each in name)


_HANDLERS: dict[str, Callable[[Sequence, dict[str, Any]], None]] = {
    "header": Sequence._header,
    "call": Sequence._call,
    "hop": Sequence._hop,
    "world": Sequence._world,
    "return": Sequence._return,
    "refuse": Sequence._refuse,
    **dict.fromkeys(
        ("share", "lend", "donate", "retrieve", "relinquish", "restore"), Sequence._memory
    ),
    **dict.fromkeys(
        ("interrupt", "aborted", "crash", "vm_created", "vm_destroyed"), Sequence._fate
    ),
}
