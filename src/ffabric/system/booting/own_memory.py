"""Whether a partition has all the memory with which it was booted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.firmware.state.ownership import DONATING, LENT, OWNED, SHARED, state
from ffabric.system.layout.address_spaces import device_maps

if TYPE_CHECKING:
    from ffabric.machine.translation.stage2 import Stage2
    from ffabric.system.spec import PartitionSpec


def is_own(spec: PartitionSpec, stage2: Stage2, *, or_sent: bool = False) -> bool:
    """Whether each page of the partition's memory and devices is where it was, and its own.

    `or_sent`: or shared, lent, or offered to somebody who has not taken it.
    """
    fine = (OWNED, SHARED, LENT, DONATING) if or_sent else (OWNED,)
    for each in (*spec.memory, *device_maps(spec)):
        offset = each.pa - each.ipa
        for ipa, pa, _, attrs in stage2.runs(each.ipa, each.size // PAGE):
            if pa != ipa + offset or state(attrs) not in fine:
                return False
    return True
