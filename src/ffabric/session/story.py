"""What happened, for whom it went wrong: refusals with their rules, deaths, the last calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ffabric.session.opened import LISTENERS, OPEN

if TYPE_CHECKING:
    from ffabric.observe.recorder import Recorder
    from ffabric.session.system import System
    from ffabric.session.trace import Trace

REFUSED, CRASHED, LAST_CALLS = "refused", "crashed", "the last calls"
"""Titles of what is told."""
MOST_SYSTEMS = 8
"""Systems that are remembered: a test may boot thousands, one after the other."""


class Watch:
    """The systems of a stretch of time: those that are open at its beginning, and all later ones.

    What they did before does not count. With ``traces``, each that is booted meanwhile writes a
    trace to a file whose name begins so.
    """

    def __init__(self, traces: Path | None = None) -> None:
        self._systems: deque[System] = deque(OPEN, maxlen=MOST_SYSTEMS)
        self._traces: list[Trace] = []
        self._place = traces
        for system in self._systems:
            system.recorder.begin()
        LISTENERS.append(self._opened)

    def _opened(self, system: System) -> None:
        self._systems.append(system)
        if self._place is not None:
            from ffabric.session.trace import Trace  # noqa: PLC0415 - only who traces pays for it

            number = len(self._traces)
            name = f"{self._place.name}{f'-{number}' if number else ''}.jsonl"
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._traces.append(Trace(system, self._place.with_name(name)))

    @property
    def recorders(self) -> list[Recorder]:
        """What is recorded of them."""
        return [system.recorder for system in self._systems]

    @property
    def traces(self) -> list[Path]:
        """The files of their traces."""
        return [trace.path for trace in self._traces if trace.path is not None]

    @property
    def pages(self) -> list[Path]:
        """The pages that are made of their traces, if these are kept."""
        return [path.with_suffix(".html") for path in self.traces]

    def end(self, *, keep_traces: bool = True) -> None:
        """Forget them, and unless they are wanted, their traces, too."""
        LISTENERS.remove(self._opened)
        self._systems.clear()
        for trace in self._traces:
            trace.close()
            assert trace.path is not None
            if keep_traces:
                from ffabric.observe.report.page import write_page  # noqa: PLC0415 - as above

                write_page(trace.path, trace.path.with_suffix(".html"))
            else:
                trace.path.unlink(missing_ok=True)


def tell(
    recorders: Iterable[Recorder], raised: BaseException | None = None
) -> list[tuple[str, str]]:
    """(title, text) of what there is to be told; a crash that was ``raised`` is told by that."""
    found = list(recorders)
    several = len(found) > 1
    sections = []
    for recorder in found:
        of = f" ({recorder.name})" if several else ""
        deaths = [each for each in recorder.deaths if not _is_in(each, raised)]
        for title, text in (
            (REFUSED, recorder.refusals()),
            (CRASHED, "\n\n".join(each.report() for each in deaths)),
            (LAST_CALLS, recorder.last_calls()),
        ):
            if text:
                sections.append((f"{title}{of}", text))
    return sections


def _is_in(error: BaseException, raised: BaseException | None) -> bool:
    """Whether ``error`` is what was raised, or led to it."""
    while raised is not None and raised is not error:
        raised = raised.__cause__ or raised.__context__
    return raised is not None
