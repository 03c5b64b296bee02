"""What an endpoint should reach, page by page, and the comparison with its stage-2 table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ffabric.abi.words import PAGE
from ffabric.lab.oracle.stage2_reader import leaf_of
from ffabric.machine.translation.descriptors import ADDRESS

if TYPE_CHECKING:
    from ffabric.lab.oracle.stage2_reader import Reach


MAILBOX = object()
"""The mark of a page that is an RX or TX buffer."""


class Discrepancy(AssertionError):  # noqa: N818 - what an assertion says
    """The ledger and the system disagree."""


class Space:
    """What an endpoint reaches: what it was given at boot, and what has become of that since.

    ``marks`` says of a page what it is besides its endpoint's own: a mailbox, or the transaction by
    which it was given or borrowed. Addresses are those the endpoint uses.
    """

    def __init__(self, name: str, number: int, version: int, reach: Reach) -> None:
        self.name = name
        self.id = number
        self.version = version
        self.reach = reach
        self.marks: dict[int, Any] = {}
        self.tx: list[int] = []
        """Physical pages of TX."""
        self.rx: list[int] = []
        self._buffers: tuple[list[int], list[int], list[int]] = ([], [], [])
        """The pages of TX and RX that it has from the start, and where it reaches them."""
        self.dead = False
        self.is_new = False
        """A new image of it begins, which may map buffers in place of those there are."""
        self.loose: set[int] = set()
        """Pages of which nothing is known: a dead VM gave them away, and may get them back."""
        self._changed: set[int] = set()
        self._now: dict[int, int] = {}
        self._first = [(ipa, pages, leaf_of(first)) for ipa, pages, first in reach.runs()]
        self._starts = [ipa for ipa, _, _ in self._first]
        reach.listeners.append(self._heard)

    def _heard(self, ipa: int, pages: int, before: int, after: int) -> None:
        if leaf_of(before) != leaf_of(after):
            self._changed.update(range(ipa, ipa + pages * PAGE, PAGE))

    def leaf(self, ipa: int) -> int:
        """What the page at ``ipa`` should be."""
        leaf = self._now.get(ipa)
        return leaf if leaf is not None else self._at_boot(ipa)

    def _at_boot(self, ipa: int) -> int:
        at = bisect_right(self._starts, ipa) - 1
        if at < 0:
            return 0
        start, pages, leaf = self._first[at]
        return leaf + (ipa - start) if ipa < start + pages * PAGE else 0

    def own(self, ipa: int, what: str) -> int:
        """The leaf of a page that is the endpoint's own and nobody else's; ``what`` needs that."""
        leaf = self.leaf(ipa)
        if not leaf or ipa in self.marks:
            raise self.wrong(f"{what} at {ipa:#x}, which is not its own")
        return leaf

    def set(self, ipa: int, leaf: int) -> None:
        """From now on the page at ``ipa`` should be ``leaf``."""
        self._now[ipa] = leaf
        self._changed.add(ipa)

    def renew(self, ipa: int) -> None:
        """Nothing of the page's past matters any more: it is as it was at first."""
        self.loose.discard(ipa)
        self.set(ipa, self._at_boot(ipa))

    def give_buffers(self, tx: list[int], rx: list[int]) -> None:
        """Its manifest says where it has TX and RX from the start: at these addresses."""
        of_tx, of_rx = ([self.leaf(at) & ADDRESS for at in each] for each in (tx, rx))
        self._buffers = of_tx, of_rx, [*tx, *rx]
        self._have_buffers()

    def _have_buffers(self) -> None:
        tx, rx, pages = self._buffers
        self.tx, self.rx = [*tx], [*rx]
        self.marks.update(dict.fromkeys(pages, MAILBOX))

    def begin_again(self) -> None:
        """It has what it had at first, and what was donated to it, and the buffers of its start."""
        self.marks.clear()
        self._have_buffers()
        for ipa in [*self._now]:
            if self._at_boot(ipa):
                self.renew(ipa)

    def tidy(self) -> None:
        """Let nothing tell how it came to be as it is: what is as at boot needs no note."""
        self._now = dict(sorted(self.moved().items()))
        self.marks = dict(sorted(self.marks.items()))

    def image_replaced(self) -> None:
        """Its own pages are as they were at first, apart from buffers and what it has sent."""
        for ipa, leaf in [*self._now.items()]:
            first = self._at_boot(ipa)
            if ipa not in self.marks and first and leaf & ADDRESS == first & ADDRESS:
                self.renew(ipa)

    def frames(self) -> Iterator[int]:
        """The physical pages that it had at first."""
        for _, pages, leaf in self._first:
            yield from range(leaf & ADDRESS, (leaf & ADDRESS) + pages * PAGE, PAGE)

    def moved(self) -> dict[int, int]:
        """Pages that are not what they were at boot."""
        return {ipa: leaf for ipa, leaf in self._now.items() if leaf != self._at_boot(ipa)}

    def address_of(self, pa: int) -> int | None:
        """Where it reaches the physical page ``pa``."""
        for start, pages, leaf in self._first:
            ipa = start + pa - (leaf & ADDRESS)
            if start <= ipa < start + pages * PAGE and self.leaf(ipa) & ADDRESS == pa:
                return ipa
        return next((ipa for ipa, leaf in self._now.items() if leaf & ADDRESS == pa and leaf), None)

    def changed(self) -> dict[int, int]:
        """The pages whose leaf in the tables may have changed since the last comparison."""
        return {ipa: self.reach.leaf(ipa) for ipa in self._changed}

    def check(self) -> None:
        """Compare with the table, which was looked at, where it or the ledger has changed."""
        if self.dead or not self._changed:
            return
        for ipa in self._changed:
            leaf, expected = self.reach.leaf(ipa), self.leaf(ipa)
            if leaf != expected and ipa not in self.loose:
                raise self.wrong(f"{ipa:#x}: the tables say {leaf:#x}, history says {expected:#x}")
        self._changed.clear()

    def wrong(self, what: str) -> Discrepancy:
        """The discrepancy to raise."""
        return Discrepancy(f"{self.name}: {what}")
