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
from ffabric.firmware.state.events import (
    Aborted,
    BorrowerEvent,
    Donate,
    Enter,
    Hop,
    Interrupt,
    Lend,
    OwnerEvent,
    Preempt,
    Refuse,
    Relinquish,
    Restore,
    Retrieve,
    Share,
    VmCreated,
    VmDestroyed,
    World,
)
from ffabric.machine.events import Abort, Call, Record, Resume, Return
from ffabric.observe.lines import Header
from ffabric.system.options.visible import visible

SPMC = "SPMC"
HYPERVISOR = "Hypervisor"
LIMIT = 300
"""Arrows and notes of a diagram, unless more are asked for; renderers refuse very long ones."""

_ESCAPES = str.maketrans({"#": "#35;", ";": "#59;"})


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

    def draw(self, lines: Iterable[Record]) -> str:
        """The diagram of ``lines``."""
        for line in lines:
            handler = _HANDLERS.get(type(line))
            if handler is not None:
                handler(self, line)
        return self._text()

    def _text(self) -> str:
        head = ["sequenceDiagram"]
        for title, secure in (("Normal world", False), ("Secure world", True)):
            group = [name for name in self._seen if self._is_secure(name) is secure]
            if group:
                head.append(f"    box {title}")
                head += [f"    participant {_alias(n)} as {_shown(n)}" for n in group]
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
            step = f"{_alias(start)}{arrow}{_alias(end)}: {_shown(label)}"
            self._add(step, start, end)

    def _note(self, name: str, text: str) -> None:
        self._add(f"Note over {_alias(name)}: {_shown(text)}", name)

    def _header(self, line: Header) -> None:
        self._secure = {name: bool(n & SECURE_BIT) for name, n in line.endpoints.items()}
        self._secure.update(dict.fromkeys(line.secure, True))
        self._normal = HYPERVISOR if line.hypervisor else SPMC

    def _call(self, line: Call) -> None:
        self._arrow(line.endpoint, "->>", self._manager(line.endpoint), _label(line.x))

    def _hop(self, line: Hop) -> None:
        self._arrow(self._normal, "->>", SPMC, _label(line.x))

    def _world(self, line: World) -> None:
        if line.to == "normal":
            self._crossing.add(line.pe)
        else:
            self._crossing.discard(line.pe)

    def _return(self, line: Return) -> None:
        label = _label(line.x)
        if line.pe in self._crossing:
            self._crossing.remove(line.pe)
            self._arrow(SPMC, "-->>", self._normal, label)
        self._arrow(self._manager(line.endpoint), "-->>", line.endpoint, label)

    def _resume(self, line: Resume) -> None:
        """The PE has changed worlds, but with no answer."""
        self._crossing.discard(line.pe)

    def _enter(self, line: Enter) -> None:
        self._arrow(self._manager(line.endpoint), "->>", line.endpoint, _label(line.x))

    def _refuse(self, line: Refuse) -> None:
        name = line.endpoint
        judge = self._manager(name) if name in self._secure else SPMC
        self._note(judge, f"{line.rule} refuses: {line.status}")

    def _owned(self, line: OwnerEvent) -> None:
        self._memory(line, line.owner, sum(pages for _, pages in line.ranges))

    def _borrowed(self, line: BorrowerEvent) -> None:
        self._memory(line, line.borrower, sum(pages for *_, pages in line.ranges))

    def _memory(self, line: Record, name: str, pages: int) -> None:
        if name in self._secure:
            self._note(name, f"{line.kind}: {pages} page{'s' * (pages != 1)}")

    def _context(self, line: Preempt | Abort) -> None:
        if line.endpoint in self._secure:
            self._note(line.endpoint, _FATES[type(line)](line))

    def _created(self, line: VmCreated) -> None:
        self._secure[line.partition] = False
        self._note(line.partition, "created")

    def _fate(self, line: Interrupt | Aborted | VmDestroyed) -> None:
        if line.partition in self._secure:
            self._note(line.partition, _FATES[type(line)](line))


def _label(x: tuple[int, ...]) -> str:
    name = calls.decode(x).name
    if x[0] & MASK32 == fid.FFA_ERROR:
        status = from_register(x[2])
        return f"{name} {x[2]:#x}" if status is None else f"{name} {status.name}"
    return name


def _shown(text: str) -> str:
    """Any text as a part of a line of the diagram."""
    return visible(text.replace("\r", " ").replace("\n", " ")).translate(_ESCAPES)


def _alias(name: str) -> str:
    """A name as Mermaid's identifiers are: letters, digits and underscores, never a keyword."""
    return "p_" + "".join(each if each.isalnum() and each.isascii() else "_" for each in name)


_FATES: dict[type[Record], Callable[[Any], str]] = {
    Abort: lambda line: f"{line.fault} abort at {line.ipa:#x}",
    Preempt: lambda line: "preempted",
    Interrupt: lambda line: f"interrupt {line.intid}",
    Aborted: lambda line: f"aborted {line.reason}",
    VmDestroyed: lambda line: f"destroyed: {line.reason}",
}
"""What is noted of what happens to a partition."""

_HANDLERS: dict[type[Record], Callable[[Sequence, Any], None]] = {
    Header: Sequence._header,
    Call: Sequence._call,
    Hop: Sequence._hop,
    World: Sequence._world,
    Return: Sequence._return,
    Resume: Sequence._resume,
    Enter: Sequence._enter,
    Refuse: Sequence._refuse,
    **dict.fromkeys((Share, Lend, Donate, Restore), Sequence._owned),
    **dict.fromkeys((Retrieve, Relinquish), Sequence._borrowed),
    **dict.fromkeys((Abort, Preempt), Sequence._context),
    **dict.fromkeys((Interrupt, Aborted, VmDestroyed), Sequence._fate),
    VmCreated: Sequence._created,
}
