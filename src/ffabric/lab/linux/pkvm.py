"""Linux as a protected hypervisor (pKVM): its EL2 stands between its EL1 and our monitor.

That EL2 lets the host's FF-A calls through one by one. It has buffers of its own, and of memory
that the host has shared it asks for the description when the host reclaims it
(FFA_MEM_RETRIEVE_REQ of a hypervisor): so it knows which pages the host has back.
Notifications, FFA_MSG_SEND_DIRECT_REQ2 and FFA_PARTITION_INFO_GET_REGS it hides from the host.
(Linux arch/arm64/kvm/hyp/nvhe/ffa.c)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.machine.engines.qemu.runner import QemuRunner

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition
    from ffabric.lab.linux.report import Report

ARGUMENT = "kvm-arm.mode=protected"
"""What makes Linux protect itself."""
_SHARES = (fid.FFA_MEM_SHARE_32, fid.FFA_MEM_SHARE_64)
_RETRIEVES = (fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64)


class Calls:
    """How often its EL2 has shared, retrieved and reclaimed memory."""

    def __init__(self, linux: Partition) -> None:
        made: Counter[int] = Counter()
        for ctx in linux.contexts:
            assert isinstance(ctx.runner, QemuRunner)
            made.update(ctx.runner.functions)
        self.shared = sum(made[each] for each in _SHARES)
        self.retrieved = sum(made[each] for each in _RETRIEVES)
        self.reclaimed = made[fid.FFA_MEM_RECLAIM]


def rows(report: Report, calls: Calls) -> Iterator[tuple[str, str]]:
    """What a table has of it."""
    yield "KVM says", report.kvm or "nothing"
    yield "memory that its EL2 has shared", _times(calls.shared)
    yield "  retrieved, to know what it was", _times(calls.retrieved)
    yield "  and reclaimed", _times(calls.reclaimed)
    yield "FF-A of KVM's guests", "none: this kernel's EL2 serves its host alone"


def unprotected(report: Report) -> list[str]:
    """That it is no protected hypervisor, if it is none."""
    if "Protected" in report.kvm:
        return []
    return [f"Linux is not a protected hypervisor: {report.kvm or 'there is no /dev/kvm'}"]


def problems(report: Report, calls: Calls) -> list[str]:
    """What is not as it must be."""
    if found := unprotected(report):
        return found
    if not calls.reclaimed:
        return ["Linux has reclaimed no memory"]
    if calls.retrieved < calls.reclaimed:
        return [f"{calls.reclaimed} reclaims, but {calls.retrieved} retrieves before them"]
    return []


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
