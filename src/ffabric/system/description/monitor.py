"""What nobody can be at EL3: calls that it answers itself, partitions that clash."""

from __future__ import annotations

from ffabric.abi import smccc
from ffabric.abi.ffa import functions as fid
from ffabric.abi.psci import FUNCTIONS as PSCI
from ffabric.abi.words import MASK32
from ffabric.firmware.monitor.logical import FIRST_ID, SPMD_PARTITION
from ffabric.system.options.problems import Problems
from ffabric.system.spec import SystemDraft

CALLS_TABLE = "[monitor.calls]"
_REGISTERS = 18
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
