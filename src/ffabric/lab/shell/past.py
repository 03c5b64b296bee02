"""A trace that is walked through as if it were a run: what is recorded, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from ffabric.abi.words import PAGE
from ffabric.machine.events import Call, ContextEvent, Event, Record, Return
from ffabric.observe.decoding.text import Reader
from ffabric.observe.lines import Header
from ffabric.observe.ownership import Holding, Ownership
from ffabric.observe.timeline import Timeline
from ffabric.session.heard import Happening
from ffabric.session.moment import Moment
from ffabric.session.until import matcher


class Past:
    """The lines of a trace. A position is the number of a line; 0 is before the first event."""

    def __init__(self, lines: Iterable[Record]) -> None:
        self._lines = list(lines)
        self.position = 0
        self.end = ""

    @property
    def last_position(self) -> int:
        """The number of the last line."""
        return max(0, len(self._lines) - 1)

    @property
    def contexts(self) -> list[str]:
        """The contexts that the trace names."""
        found = {f"{e.endpoint}.{e.vcpu}" for e in self._lines if isinstance(e, ContextEvent)}
        return sorted(found)

    @property
    def names(self) -> list[str]:
        """The endpoints that the trace names."""
        header = self._lines[0] if self._lines else None
        return [*header.endpoints, *header.secure] if isinstance(header, Header) else []

    def goto(self, position: int) -> None:
        """Go to the line with the number ``position``, or the last one."""
        self.end = "the trace ends here" if position > self.last_position else ""
        self.position = max(0, min(position, self.last_position))

    def step(self, events: int = 1) -> None:
        """Go on so many lines."""
        self.goto(self.position + events)

    def back(self, events: int = 1) -> None:
        """Go back so many lines."""
        self.goto(self.position - events)

    def run(self) -> None:
        """Go to the last line."""
        self.goto(self.last_position)

    def until(self, what: str) -> Happening | None:
        """See `History.until`."""
        matches = matcher(what)
        for number in range(self.position + 1, len(self._lines)):
            line = self._lines[number]
            if isinstance(line, Event) and matches(line):
                self.goto(number)
                return Happening(number, line)
        self.goto(len(self._lines))
        return None

    def text(self, start: int = 0, end: int | None = None) -> str:
        """Lines ``start`` to ``end``, decoded."""
        reader = Reader()
        last = self.position if end is None else end
        lines: list[str] = []
        for number, line in enumerate(self._lines[: last + 1]):
            if number >= start:
                lines += [text for _, text in reader.line(line)]
            else:
                reader.skip(line)
        return "\n".join(lines)

    def last(self) -> str:
        """The line where it is, decoded."""
        return self.text(self.position)

    def state(self) -> Moment:
        """The registers with which each context has called, or gone on, last."""
        facts: dict[str, str] = {}
        time = 0
        for line in self._lines[: self.position + 1]:
            if isinstance(line, Event):
                time = line.t
            if isinstance(line, Call | Return):
                name = f"{line.endpoint}.{line.vcpu}"
                words = [f"x{n}={value:#x}" for n, value in enumerate(line.x) if value]
                facts[f"{name} state"] = "calls" if isinstance(line, Call) else "goes on"
                facts[f"{name} registers"] = " ".join(words) or "zero"
        return Moment(self.position, time, facts)

    def why(self, page: int) -> list[tuple[int, Holding]]:
        """See `History.why`."""
        lines = self._lines[: self.position + 1]
        for stretch in Ownership(Timeline().add(lines)).stretches():
            if stretch.base <= page < stretch.base + stretch.pages * PAGE:
                return [(each.since, each) for each in stretch.history]
        return []

    def close(self) -> None:
        """Nothing is to be given back."""
