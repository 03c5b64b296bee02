"""What nobody can be at EL3: calls that it answers itself, partitions that clash."""

from __future__ import annotations

from ffabric.abi import smccc
from ffabric.abi.ffa import functions as fid
from ffabric.abi.psci import FUNCTIONS as PSCI
from ffabric.abi.words import MASK32
from ffabric.firmware.monitor.logical import FIRST_ID, SPMD_PARTITION
from ffabric.machine.gic import EXTENDED_PPIS, SPI_RANGES, is_spi
from ffabric.system.options.problems import Problems
from ffabric.system.spec import SystemDraft

CALLS_TABLE = "[monitor.calls]"
_REGISTERS = 18
_OF_A_PE = range(32)
"""SGIs and PPIs that every GIC has."""
_LAST_ID = 0xFFFF
_OWN = frozenset({smccc.SMCCC_VERSION, smccc.SMCCC_ARCH_FEATURES})


def check_monitor(draft: SystemDraft, problems: Problems) -> None:
    """Note calls that EL3 answers itself or that are none, and logical partitions that clash."""
    for function, answer in draft.monitor.calls:
        name = f"{function:#010x}"
        if not 0 <= function <= MASK32:
            problems.add(CALLS_TABLE, name, "a function ID has 32 bits")
        elif fid.is_ffa(function) or function in PSCI or function in _OWN:
            problems.add(CALLS_TABLE, name, "EL3 answers it: it is of FF-A, PSCI or SMCCC itself")
        elif not function & smccc.FAST_CALL:
            problems.add(CALLS_TABLE, name, "a yielding call: EL3 has fast calls (bit 31)")
        elif isinstance(answer, tuple) and not 0 < len(answer) <= _REGISTERS:
            problems.add(CALLS_TABLE, name, f"{len(answer)} registers: 1 to {_REGISTERS}")
    _check_group0(draft, problems)
    taken: dict[int, str] = {}
    if draft.monitor.spmd_logical_partition:
        taken[SPMD_PARTITION.id] = SPMD_PARTITION.name
    for each in draft.monitor.logical_partitions:
        where = f"[[logical_partition]] {each.name}"
        if not FIRST_ID <= each.id <= _LAST_ID:
            problems.add(where, "id", f"{each.id:#x} is not from {FIRST_ID:#x} to {_LAST_ID:#x}")
        elif each.id in taken:
            problems.add(where, "id", f"{each.id:#x} is {taken[each.id]}'s already")
        taken[each.id] = each.name


def _check_group0(draft: SystemDraft, problems: Problems) -> None:
    """Note interrupts of EL3 that do not exist, that come twice, or that a partition has."""
    owners: dict[int, str] = {}
    for partition in draft.partitions:
        for region in partition.manifest.device_regions:
            for interrupt in region.interrupts:
                owners.setdefault(interrupt.id, partition.name)
    seen: set[int] = set()
    for intid in draft.monitor.group0:
        why = ""
        if not (is_spi(intid) or intid in _OF_A_PE or intid in EXTENDED_PPIS):
            why = (
                "is not an interrupt: SGIs and PPIs are 0 to 31, and 1056 to 1119, SPIs "
                + SPI_RANGES
            )
        elif intid in seen:
            why = "is given twice"
        elif intid in owners:
            why = f"is {owners[intid]}'s, by its manifest"
        elif intid == draft.sri:
            why = "is the Schedule Receiver Interrupt"
        if why:
            problems.add("[monitor]", "group0", f"{intid} {why}")
        seen.add(intid)
