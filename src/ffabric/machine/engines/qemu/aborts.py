"""Aborts of stage 2 (ESR_EL2: Arm DDI 0487, D17.2.37): what a CPU says of one, what EL1 takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.machine.faults import DATA, FETCH, Fault

if TYPE_CHECKING:
    from ffabric.machine.engines.qemu.mailbox import Block

_EC_SHIFT, _EC_FETCH = 26, 0x20
_WRITE, _TABLE_WALK = 1 << 6, 1 << 7
_ONLY_STAGE2 = 0x7FF << 14 | _TABLE_WALK | 1 << _EC_SHIFT
"""What only the syndrome of a stage-2 abort says."""


def fault_of(block: Block) -> Fault:
    """The abort that its CPU has exited with."""
    syndrome, va, pc = block.crash
    page = block.fault_page
    fetch = syndrome >> _EC_SHIFT == _EC_FETCH
    walk = bool(syndrome & _TABLE_WALK)
    return Fault(
        kind=FETCH if fetch else DATA,
        ipa=page if walk else page | va & 0xFFF,
        va=va,
        write=bool(syndrome & _WRITE) and not fetch and not walk,
        syndrome=syndrome,
        pc=pc,
    )


def for_el1(syndrome: int) -> int:
    """The syndrome of an abort that EL1 is to take as one of its own."""
    return syndrome & ~_ONLY_STAGE2
