"""How many pages of translation tables ranges of addresses take."""

from collections.abc import Iterable, Iterator, Sequence

from ffabric.machine.limits import IPA_BITS
from ffabric.machine.translation.descriptors import CONCATENATED, LEVEL0, LEVEL1

_BLOCK = 1 << LEVEL1 - 9


def tables(ranges: Sequence[tuple[int, int, int]], ipa_bits: int = IPA_BITS) -> int:
    """How many pages of tables `Stage2` takes to map these ranges: (IPA, PA, bytes), whole pages.

    The initial tables are counted, and one page for their alignment.
    """
    middle: set[int] = set()
    last: set[int] = set()
    for ipa, pa, size in ranges:
        end = ipa + size
        for slot in _partial(ipa, end, ipa - pa, LEVEL1):
            middle.add(slot)
            low, high = max(ipa, slot << LEVEL1), min(end, slot + 1 << LEVEL1)
            last.update(_partial(low, high, ipa - pa, LEVEL1 - 9))
    if ipa_bits > CONCATENATED:
        return 1 + len({slot >> 9 for slot in _slots(ranges)}) + len(middle) + len(last)
    roots = 1 << max(0, ipa_bits - LEVEL0)
    return roots + (roots > 1) + len(middle) + len(last)


def most_tables(ranges: Iterable[tuple[int, int, int]]) -> int:
    """No fewer pages than `tables` tells, for any size of the address space, but found at once."""
    pages = 17
    for ipa, pa, size in ranges:
        blocks = 2 if not (ipa - pa) & _BLOCK - 1 else (size >> LEVEL1 - 9) + 2
        pages += blocks + 2 * ((size >> LEVEL1) + 2)
    return pages


def _slots(ranges: Iterable[tuple[int, int, int]]) -> Iterator[int]:
    """The stretches of 1 GiB that ranges touch."""
    for ipa, _, size in ranges:
        yield from range(ipa >> LEVEL1, -(-(ipa + size) >> LEVEL1))


def _partial(ipa: int, end: int, delta: int, shift: int) -> Iterable[int]:
    """The blocks of 2^`shift` bytes that a range touches and that no block descriptor can map."""
    inside = (1 << shift) - 1
    if delta & inside:
        return range(ipa >> shift, -(-end >> shift))
    first = (ipa >> shift,) if ipa & inside else ()
    return (*first, end >> shift) if end & inside else first
