"""Reserved bytes of the memory descriptors that a caller writes.

They must be zero in v1.0 and should be zero from v1.1 on: then a caller that sets them is answered
as one that does not, except where a system enforces more, as Hafnium does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffabric.abi.ffa import memory_reserved
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_0, V1_1
from ffabric.firmware.manager.memory.send_rules import family
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.abi.ffa.memory import Transaction
    from ffabric.abi.ffa.memory_reserved import Dirty
    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.state.region import Kind
    from ffabric.firmware.state.rules import Rule

_INVALID = Status.INVALID_PARAMETERS
_HEADERS = "DEN0077A 1.0, memory transaction and endpoint memory access descriptors"
_HEADERS_TEXT = "Reserved bytes of the transaction descriptor and its receivers are zero."
_SHOULD = "DEN0140 1.2, tables 1.16 and 1.20"
_SHOULD_TEXT = "Reserved bytes of the transaction descriptor and its receivers are zero, though "
_SHOULD_TEXT += "they only should be, if the manager looks at them."

HEADERS = family("reserved_bytes", _INVALID, _HEADERS, _HEADERS_TEXT, until=V1_0, waivable=True)
HEADERS[None] = rule(
    "mem.retrieve.reserved_bytes", _INVALID, _HEADERS, _HEADERS_TEXT, until=V1_0, waivable=True
)
SHOULD = family("reserved_sbz", _INVALID, _SHOULD, _SHOULD_TEXT, since=V1_1, optional=True)
SHOULD[None] = rule(
    "mem.retrieve.reserved_sbz", _INVALID, _SHOULD, _SHOULD_TEXT, since=V1_1, optional=True
)
RANGES = family(
    "reserved_ranges",
    _INVALID,
    "DEN0077A 1.0, composite and constituent memory region descriptors",
    "Reserved bytes of the composite descriptor and its address ranges are zero.",
    until=V1_0,
    waivable=True,
)
BUFFERS = rule(
    "rxtx.map.reserved_bytes",
    _INVALID,
    "DEN0077A 1.0, endpoint RX/TX descriptor",
    "Reserved bytes of the descriptor, its composite descriptors and their ranges are zero.",
    until=V1_0,
    waivable=True,
)


def judge(
    pm: Manager, version: int, data: bytes, kind: Kind | None, sent: Transaction | None = None
) -> None:
    """Judge a first fragment of a caller of ``version``; ``kind`` None: a retrieve request.

    With ``sent``, what has been parsed of it, the address ranges are judged, too.
    """
    if version > V1_0:
        if pm.conventions.wants(SHOULD[kind]):
            dirty = next(memory_reserved.in_headers(data, version), None)
            if dirty is not None:
                refuse(SHOULD[kind], got=_told(*dirty), expected="zeros")
        return
    _refuse_dirty(pm, HEADERS[kind], memory_reserved.in_headers(data, version))
    if sent is not None:
        _refuse_dirty(pm, RANGES[kind], memory_reserved.in_ranges(data, version, sent))


def judge_fragment(pm: Manager, data: bytes, kind: Kind) -> None:
    """Judge a later fragment of a caller of v1.0: address ranges alone."""
    _refuse_dirty(pm, RANGES[kind], memory_reserved.in_ranges(data, V1_0))


def judge_buffers(pm: Manager, data: bytes) -> None:
    """Judge the descriptor of a VM's RX/TX buffers that a hypervisor of v1.0 writes."""
    _refuse_dirty(pm, BUFFERS, memory_reserved.in_buffers(data))


def _refuse_dirty(pm: Manager, broken: Rule, found: Iterator[Dirty]) -> None:
    """Refuse by a waivable rule if there are reserved bytes that are not zero."""
    dirty = next(found, None)
    if dirty is not None:
        pm.conventions.refuse(broken, got=_told(*dirty), expected="zeros")


def _told(structure: str, at: int, content: bytes) -> str:
    return f"{content.hex()} at {at:#x}, in the {structure}"
