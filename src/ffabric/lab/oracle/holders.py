"""Who has a physical page in a stage-2 table, kept up to date from what the tables' readers see.

What a table says when it is first read is kept as runs. A page gets a dictionary of its own when
something about it changes for the first time, so that asking who has it costs one look-up however
many tables there are.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ffabric.abi.words import PAGE
from ffabric.machine.translation.descriptors import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ffabric.firmware.state.partition import Partition
    from ffabric.lab.oracle.stage2_reader import Reach

Range = tuple[int, int]
"""Addresses from the first up to the second."""


class View:
    """Whose table it is."""

    def __init__(self, partition: Partition, reach: Reach) -> None:
        self.name = partition.name
        self.id = partition.id
        self.secure = partition.secure
        self.key = partition.name, partition.id, reach.reader.pool.base
        """Tells it from the other tables that there are at a time."""
        self.reach = reach
        self.pages: set[int] = set()
        """Physical pages of which `Holders` knows that it has or had them."""

    def ranges(self) -> Iterator[tuple[Range, int]]:
        """What it maps or remembers: physical addresses, and the descriptor of the first page."""
        for _, pages, descriptor in self.reach.runs():
            base = descriptor & ADDRESS
            yield (base, base + pages * PAGE), descriptor


class _Run(NamedTuple):
    start: int
    end: int
    """Physical addresses."""
    view: View
    ipa: int
    descriptor: int


Held = dict[tuple[View, int], int]
"""(who, IPA) -> the descriptor there."""


class Holders:
    """For each physical page: which tables map or remember it, at which IPA, and how."""

    def __init__(self) -> None:
        self.touched: set[int] = set()
        """Physical pages about which a table says something else since this was emptied."""
        self._views: list[View] = []
        self._runs: list[_Run] = []
        self._pages: dict[int, Held] = {}

    def add(self, view: View) -> None:
        """Follow one more table, which has been read."""
        self._views.append(view)
        self._read(view)
        view.reach.listeners.append(partial(self._heard, view))

    def begin_again(self) -> None:
        """Know what the tables say now, and nothing of how it came about."""
        self.touched = set()
        self._runs, self._pages = [], {}
        for view in self._views:
            view.pages = set()
            self._read(view)

    def _read(self, view: View) -> None:
        for ipa, pages, descriptor in view.reach.runs():
            start = descriptor & ADDRESS
            run = _Run(start, start + pages * PAGE, view, ipa, descriptor)
            self._runs.append(run)
            for pa, held in self._pages.items():
                if start <= pa < run.end:
                    held[view, ipa + pa - start] = descriptor + pa - start
                    view.pages.add(pa)

    def remove(self, view: View) -> None:
        """A table is gone: nobody walks it any more."""
        self._views.remove(view)
        self._runs = [run for run in self._runs if run.view is not view]
        for pa in view.pages:
            held = self._pages[pa]
            self._pages[pa] = {at: word for at, word in held.items() if at[0] is not view}

    def leave_out(self) -> None:
        """Drop what the tables say as well, until `begin_again`; nothing is `touched`."""
        self._runs, self._pages = [], {}
        for view in self._views:
            view.pages = set()

    def of(self, pa: int) -> Held:
        """Who has the physical page ``pa``."""
        held = self._pages.get(pa)
        if held is None:
            held = self._pages[pa] = {}
            for start, end, view, ipa, descriptor in self._runs:
                if start <= pa < end:
                    held[view, ipa + pa - start] = descriptor + pa - start
                    view.pages.add(pa)
        return held

    def samples(self, start: int, end: int, edges: Iterable[int]) -> list[int]:
        """Pages from ``start`` up to ``end`` that stand for all between them.

        Those about which something has changed, each; and of the others one between two ``edges``,
        and between two places where runs of a table begin or end.
        """
        known = sorted(pa for pa in self._pages if start <= pa < end)
        cuts = {start, *edges, *(at for run in self._runs for at in (run.start, run.end))}
        found = dict.fromkeys(known)
        for cut in sorted(each for each in cuts if start <= each < end):
            at = cut
            while at in self._pages and at < end:
                at += PAGE
            if at < end:
                found[at] = None
        return [*found]

    def _heard(self, view: View, ipa: int, pages: int, before: int, after: int) -> None:
        for at in range(ipa, ipa + pages * PAGE, PAGE):
            if before:
                pa = before & ADDRESS
                self.touched.add(pa)
                self.of(pa).pop((view, at), None)
                before += PAGE
            if after:
                pa = after & ADDRESS
                self.touched.add(pa)
                self.of(pa)[view, at] = after
                view.pages.add(pa)
                after += PAGE
