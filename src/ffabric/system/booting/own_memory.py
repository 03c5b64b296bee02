"""Whether a partition has all the memory with which it was booted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.firmware.state.ownership import DONATING, LENT, OWNED, SHARED, state

if TYPE_CHECKING:
    from ffabric.machine.translation.stage2 import Stage2
    from ffabric.system.spec import MemoryMap


def is_own(maps: Iterable[MemoryMap], stage2: Stage2, *, or_sent: bool = False) -> bool:
    """Whether each page of a partition's memory, or devices, is where it was, and its own.

    `or_sent`: or shared, lent, or offered to somebody who has not taken it.
    """
    fine = (OWNED, SHARED, LENT, DONATING) if or_sent else (OWNED,)
    for each in maps:
        offset = each.pa - each.ipa
        for ipa, pa, _, attrs in stage2.runs(each.ipa, each.size // PAGE):
            if pa != ipa + offset or state(attrs) not in fine:
                return False
    return True
