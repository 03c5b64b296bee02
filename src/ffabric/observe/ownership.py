"""Who owns each page of physical memory over time, and who may touch it, from a trace.

The header and ``vm_created`` say whose memory is whose at first. A transaction changes that::

    own --share--> shared --retrieve--> ... --relinquish--> shared --restore--> own
        --lend---> lent   --retrieve--> ...
        --donate-> donated --retrieve--> own (of the receiver)

Each manager tells its side of a transaction; that of the endpoint counts, not that of the manager
which stands for its world. Pages with one history are one *stretch*.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from ffabric.abi.words import PAGE
from ffabric.firmware.state.events import (
    BorrowerEvent,
    Donate,
    Lend,
    Mapping,
    OwnerEvent,
    Relinquish,
    Restore,
    Retrieve,
    Share,
    VmCreated,
    VmGone,
)
from ffabric.machine.events import Record
from ffabric.observe.lines import Header
from ffabric.observe.timeline import Timeline

OWN: Final = "own"
"""The owner's alone."""
STATES: Final[dict[type[Record], str]] = {Share: "shared", Lend: "lent", Donate: "donated"}


class Holding(msgspec.Struct, frozen=True):
    """Whose pages are, from one moment on."""

    since: int
    """The number of the moment in the timeline."""
    owner: str
    """Whose they are; empty: nobody's that the trace names."""
    state: str = OWN
    """``own``, ``shared``, ``lent`` or ``donated``."""
    borrowers: tuple[str, ...] = ()
    """Who has retrieved them."""


class Stretch(msgspec.Struct):
    """Adjoining pages with one history."""

    base: int
    """The physical address of the first."""
    pages: int
    """How many of 4 KiB."""
    history: list[Holding] = []
    """What they were, oldest first."""


class Ownership:
    """The map of the memory that a timeline speaks of."""

    def __init__(self, timeline: Timeline) -> None:
        self._changes: list[tuple[int, int, int, Callable[[Holding, int], Holding]]] = []
        """Base, end, number of the moment, and what it makes of a holding; end 0: of all memory."""
        self._endpoints: set[str] = set()
        for number, moment in enumerate(timeline.moments):
            relate = _CHANGES.get(type(moment.line))
            if relate is not None:
                relate(self, number, moment.line)

    def stretches(self) -> list[Stretch]:
        """All memory that was anybody's, by address."""
        edges = sorted({edge for base, end, *_ in self._changes if end for edge in (base, end)})
        histories: list[list[Holding]] = [[] for _ in edges]
        for base, end, number, change in self._changes:
            stop = bisect_left(edges, end) if end else len(edges)
            for history in histories[bisect_left(edges, base) : stop]:
                if not end and not history:
                    continue
                before = history[-1] if history else Holding(number, "")
                after = change(before, number)
                if history and _same(before, after):
                    continue
                if history and before.since == number:
                    history.pop()
                history.append(after)
        found: list[Stretch] = []
        for base, end, history in zip(edges, edges[1:], histories, strict=False):
            last = found[-1] if found else None
            if not history:
                continue
            if last and last.base + last.pages * PAGE == base and last.history == history:
                last.pages += (end - base) // PAGE
            else:
                found.append(Stretch(base, (end - base) // PAGE, history))
        return found

    def _change(
        self,
        number: int,
        ranges: Iterable[tuple[int, int]],
        change: Callable[[Holding, int], Holding],
    ) -> None:
        self._changes += [(pa, pa + pages * PAGE, number, change) for pa, pages in ranges]

    def _own(self, number: int, name: str, memory: Iterable[Mapping]) -> None:
        self._change(
            number,
            [(pa, pages) for _, pa, pages in memory],
            lambda _before, since: Holding(since, name),
        )

    def _header(self, number: int, line: Header) -> None:
        self._changes.append((0, 0, number, _nobody))
        self._endpoints = {*line.endpoints, *line.secure}
        for name, memory in line.memory.items():
            self._own(number, name, memory)

    def _created(self, number: int, line: VmCreated) -> None:
        self._endpoints.add(line.partition)
        self._own(number, line.partition, line.memory)

    def _gone(self, number: int, line: VmGone) -> None:
        """What is the VM's is nobody's, wherever it lies."""
        name = line.partition

        def end(before: Holding, since: int) -> Holding:
            return before if before.owner != name else Holding(since, "", OWN, before.borrowers)

        self._changes.append((0, 0, number, end))
        self._endpoints.discard(name)

    def _owned(self, number: int, line: OwnerEvent) -> None:
        state = STATES.get(type(line), OWN)
        if line.owner in self._endpoints:
            self._change(
                number,
                line.physical,
                lambda before, since: Holding(since, line.owner, state, before.borrowers),
            )

    def _retrieved(self, number: int, line: Retrieve) -> None:
        def retrieve(before: Holding, since: int) -> Holding:
            if before.state == "donated":
                return Holding(since, line.borrower)
            borrowers = (*before.borrowers, line.borrower)
            return Holding(since, before.owner, before.state, borrowers)

        self._change(number, _physical(line), retrieve)

    def _relinquished(self, number: int, line: Relinquish) -> None:
        def relinquish(before: Holding, since: int) -> Holding:
            borrowers = tuple(each for each in before.borrowers if each != line.borrower)
            return Holding(since, before.owner, before.state, borrowers)

        self._change(number, _physical(line), relinquish)


def _same(one: Holding, other: Holding) -> bool:
    return one == msgspec.structs.replace(other, since=one.since)


def _physical(line: BorrowerEvent) -> list[tuple[int, int]]:
    return [(pa, pages) for _, pa, pages in line.ranges]


def _nobody(_before: Holding, since: int) -> Holding:
    return Holding(since, "")


_CHANGES: dict[type[Record], Callable[[Ownership, int, Any], None]] = {
    Header: Ownership._header,
    VmCreated: Ownership._created,
    VmGone: Ownership._gone,
    **dict.fromkeys((Share, Lend, Donate, Restore), Ownership._owned),
    Retrieve: Ownership._retrieved,
    Relinquish: Ownership._relinquished,
}
