"""Watching a system in hand: its trace, in memory or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ffabric.observe import trace as observed
from ffabric.observe.decoding.text import Reader
from ffabric.observe.lines import as_json, read_lines

if TYPE_CHECKING:
    from ffabric.machine.events import Record
    from ffabric.session.system import System


class Trace:
    """What a system does from now on: every call, answer, refusal and event.

    Without a ``path`` it is kept in memory, else written to a file as JSON lines, which
    ``ffabric trace``, ``ffabric calls`` and ``ffabric run --replay`` read. A ``with`` block closes
    it at its end; to have all of a run, boot with ``start=False``::

        with boot(sps=[Adder()], vms=["client"], start=False) as system, Trace(system) as trace:
            system.run()
        print(trace.text())
    """

    def __init__(self, system: System, path: Path | str | None = None) -> None:
        self.path: Path | None = None if path is None else Path(path)
        self._sink = None if self.path is None else self.path.open("wb")
        self._trace = observed.Trace(system.system, self._sink)
        self._system = system
        system.system.attach(self._trace)

    def _records(self) -> list[Record]:
        if self.path is None:
            return [self._trace.header, *self._trace.events]
        if self._sink is not None:
            self._trace.flush()
        return list(read_lines(self.path))

    def lines(self) -> list[dict[str, Any]]:
        """The lines so far, the header first, each as a parsed line of a JSON lines file."""
        return [as_json(each) for each in self._records()]

    def text(self) -> str:
        """The lines so far for people: decoded, one line for each call and each answer."""
        return "\n".join(text for _, text in Reader().read(self._records()))

    def close(self) -> None:
        """Stop recording, and write what is left."""
        inside = self._system.system
        if inside.machine.tracer is self._trace:
            inside.attach(None)
        self._trace.close()
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else f"in {self.path}"
        return f"<Trace of {self._system.system.spec.name} {where}>"
