"""The state of a system at one moment, as names and texts: to be read, and to be compared."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ffabric.firmware.state.notifications import GLOBAL

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.system import System


class Moment(Mapping[str, str]):
    """What there was, by name: ``vm.0 state``, ``sp rx``, ``spmc 0x1`` ..."""

    __module__ = "ffabric"

    def __init__(self, position: int, time: int, facts: dict[str, str]) -> None:
        self.position: int = position
        """After so many exits of partitions."""
        self.time: int = time
        """Virtual nanoseconds since the machine was made."""
        self._facts: dict[str, str] = facts

    def __getitem__(self, name: str) -> str:
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def diff(self, other: Moment) -> Difference:
        """What is otherwise in ``other``, a later moment."""
        names = dict.fromkeys([*self, *other])
        rows = [(name, self.get(name, ""), other.get(name, "")) for name in names]
        return Difference(self, other, [row for row in rows if row[1] != row[2]])

    def __repr__(self) -> str:
        wide = max(map(len, self), default=0)
        lines = [f"exit {self.position}, {self.time} ns"]
        return "\n".join(lines + [f"  {name:{wide}}  {self[name]}" for name in self])

    def _repr_html_(self) -> str:
        rows = [(name, self[name]) for name in self]
        return _table(f"exit {self.position}, {self.time} ns", rows)


class Difference:
    """What two moments have differently: ``rows`` of name, text before and text after."""

    __module__ = "ffabric"

    def __init__(self, before: Moment, after: Moment, rows: list[tuple[str, str, str]]) -> None:
        self.before: Moment = before
        self.after: Moment = after
        self.rows: list[tuple[str, str, str]] = rows

    def __repr__(self) -> str:
        lines = [f"exit {self.before.position} -> {self.after.position}"]
        for name, was, becomes in self.rows:
            lines.append(f"  {name}: {was or '(nothing)'} -> {becomes or '(nothing)'}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        title = f"exit {self.before.position} to {self.after.position}"
        return _table(title, self.rows)


def look(system: System) -> Moment:
    """The state of a booted system as it is now."""
    facts: dict[str, str] = {}
    for endpoint in system.endpoints.values():
        for ctx in endpoint.partition.contexts:
            facts.update(_context(ctx))
        facts.update(_partition(endpoint, system.firmware.mailbox_of(endpoint.partition)))
    for pe in system.machine.pes:
        running = "off" if not pe.on else "nothing" if pe.current is None else pe.current.name
        facts[f"pe{pe.index}"] = f"{running} (idle)" if pe.idle else running
    for manager in system.firmware.managers:
        facts.update(_transactions(manager))
    return Moment(system.machine.exits, system.machine.clock.now, facts)


def _context(ctx: ExecutionContext) -> Iterator[tuple[str, str]]:
    name, state = ctx.name, ctx.state.value
    yield (
        f"{name} state",
        state if ctx.model.value == "none" else f"{state} under {ctx.model.value}",
    )
    for title, other in (("caller", ctx.caller), ("callee", ctx.callee), ("handler", ctx.handler)):
        if other is not None:
            yield f"{name} {title}", other.name
    registers = [f"x{n}={value:#x}" for n, value in enumerate(ctx.x) if value]
    yield f"{name} registers", " ".join(registers) or "zero"
    if ctx.virq.pending:
        yield f"{name} interrupts", ", ".join(map(str, ctx.virq.pending))


def _partition(endpoint: Endpoint, box: Mailbox | None) -> Iterator[tuple[str, str]]:
    partition: Partition = endpoint.partition
    name = partition.name
    if not partition.alive:
        yield f"{name} fate", partition.fate or "gone"
    if box is not None:
        yield f"{name} rx", "full" if box.full else "empty"
    state = partition.notifications
    if state is not None:
        pending = [
            f"{'all' if key == GLOBAL else key}: {bits:#x}"
            for kind in state.kinds
            for key, bits in kind.pending.items()
            if bits
        ]
        if pending:
            yield f"{name} notifications", ", ".join(pending)


def _transactions(manager: Manager) -> Iterator[tuple[str, str]]:
    for handle, region in manager.regions.live.items():
        to = ", ".join(
            f"{each.endpoint:#06x}{' (has it)' if each.held is not None else ''}"
            for each in region.borrowers
        )
        pages = f"{region.total_pages} page{'' if region.total_pages == 1 else 's'}"
        what = f"{region.kind.name} of {pages} by {region.sender:#06x} to {to}"
        yield f"{manager.name} {handle:#x}", what


def _table(title: str, rows: list[tuple[str, str]] | list[tuple[str, str, str]]) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"
