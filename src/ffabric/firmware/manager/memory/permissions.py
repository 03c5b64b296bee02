"""FFA_MEM_PERM_GET and FFA_MEM_PERM_SET: an S-EL0 partition's stage-1, kept by the SPMC.

An S-EL0 partition has no translation of its own: the SPMC's tables are all it has, so it asks the
SPMC to set permissions on the pages it owns, while it initialises (DEN0140 1.2, sections 2.13 and
2.14).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import PAGE
from ffabric.firmware.state import events, ownership, reply
from ffabric.firmware.state.context import Model
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.translation.descriptors import (
    MEMATTR_MASK,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    VALID,
    XN,
    XN_MASK,
)

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE
    from ffabric.machine.translation.stage2 import Stage2

SECTION = "DEN0140 1.2, sections 2.13 and 2.14"

EL0_ONLY = rule("mem.perm.el0", Status.DENIED, SECTION, "The caller is an S-EL0 partition.")
INITIALISING = rule(
    "mem.perm.initialised",
    Status.DENIED,
    SECTION,
    "The caller initialises: it has not made its first FFA_MSG_WAIT.",
)
ALIGNMENT = rule(
    "mem.perm.address", Status.INVALID_PARAMETERS, SECTION, "The base address is on a page."
)
COUNT = rule(
    "mem.perm.page_count", Status.INVALID_PARAMETERS, SECTION, "The page count is not zero."
)
RESERVED = rule(
    "mem.perm.reserved", Status.INVALID_PARAMETERS, SECTION, "No reserved bit or value is used."
)
WRITE_EXECUTE = rule(
    "mem.perm.write_execute",
    Status.INVALID_PARAMETERS,
    SECTION,
    "Memory is not writable and executable at once.",
)
EXECUTE_DEVICE = rule(
    "mem.perm.execute_device",
    Status.INVALID_PARAMETERS,
    SECTION,
    "Device memory is not executable.",
)
OWNED = rule(
    "mem.perm.not_owned",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The pages are mapped in the caller's address space and its own.",
)

_EL0_FIELDS = {
    mem.MEM_PERM_NO_ACCESS: 0,
    mem.MEM_PERM_RW: S2AP_R | S2AP_W,
    mem.MEM_PERM_RO: S2AP_R,
}
"""Data access field of w3 -> S2AP bits."""
_read_get = reader(fid.FFA_MEM_PERM_GET_64, "address", "more_pages", clean=True)
_read_set = reader(fid.FFA_MEM_PERM_SET_64, "address", "pages", "permissions", clean=True)
_DATA_ACCESS = {bits: field for field, bits in _EL0_FIELDS.items()}


def get(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_MEM_PERM_GET (32- and 64-bit): of one page, since v1.3 of w2 more that are alike."""
    x = caller.x
    stage2 = _stage2(caller)
    address, more = _read_get(x)
    if address & 0xFFF or address >> stage2.ipa_bits:
        refuse(ALIGNMENT, got=address, expected="a multiple of 0x1000")
    descriptor = stage2.translate(address)
    if not descriptor & VALID:
        refuse(OWNED, got=ownership.name(descriptor), expected="mapped")
    permission = _encode(descriptor)
    same = 0
    for _, _, pages, attrs in stage2.runs(address, more + 1):
        if not attrs & VALID or _encode(attrs) != permission:
            break
        same += pages
    reply.success(x, permission, same - 1)
    return caller


def set_(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_MEM_PERM_SET (32- and 64-bit)."""
    x = caller.x
    stage2 = _stage2(caller)
    address, count, wanted = _read_set(x)
    if address & 0xFFF or address >> stage2.ipa_bits:
        refuse(ALIGNMENT, got=address, expected="a multiple of 0x1000")
    if not count or (address + count * PAGE - 1) >> stage2.ipa_bits:
        refuse(COUNT, got=count, expected="1 or more")
    data = wanted & mem.MEM_PERM_DATA_MASK
    if data not in _EL0_FIELDS:
        refuse(RESERVED, got=wanted, expected="RO, RW or none, X or NX")
    if data == mem.MEM_PERM_RW and not wanted & mem.MEM_PERM_XN:
        refuse(WRITE_EXECUTE, got=wanted, expected=wanted | mem.MEM_PERM_XN)
    for ipa, pa, _, attrs in stage2.runs(address, count):
        if pa < 0 or attrs & ownership.MASK:
            refuse(OWNED, got=(ipa, ownership.name(attrs)), expected="OWNED")
        if not wanted & mem.MEM_PERM_XN and attrs & MEMATTR_MASK != MEMATTR_NORMAL_WB:
            refuse(EXECUTE_DEVICE, got=wanted, expected=wanted | mem.MEM_PERM_XN)
    bits = _EL0_FIELDS[data] | (XN if wanted & mem.MEM_PERM_XN else 0)
    stage2.update(address, count, S2AP_R | S2AP_W | XN_MASK, bits)
    if pm.tracer is not None:
        pm.tracer.record(events.Permissions(pe.index, caller.partition.name, address, count))
    reply.success(x)
    return caller


def _stage2(caller: ExecutionContext) -> Stage2:
    if caller.partition.el:
        refuse(EL0_ONLY, got=f"EL{caller.partition.el}", expected="S-EL0")
    if caller.model is not Model.SP_INIT:
        refuse(INITIALISING, got=caller.model.value, expected=Model.SP_INIT.value)
    assert caller.stage2 is not None
    return caller.stage2


def _encode(descriptor: int) -> int:
    data = _DATA_ACCESS[descriptor & (S2AP_R | S2AP_W)]
    return data | (mem.MEM_PERM_XN if descriptor & XN else 0)


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_MEM_PERM_GET_32: get,
    fid.FFA_MEM_PERM_GET_64: get,
    fid.FFA_MEM_PERM_SET_32: set_,
    fid.FFA_MEM_PERM_SET_64: set_,
}
