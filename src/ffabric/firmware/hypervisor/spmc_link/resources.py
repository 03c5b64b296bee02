"""FFA_NS_RES_INFO_GET of a VM: which of its memory SPs can reach (DEN0077A 1.3, section 13.13).

The SPMC tells the hypervisor of all non-secure memory, by physical addresses. A VM hears of what it
owns, by its own addresses, and of nothing else: neither where its memory is nor what others send.
It is still its memory when it has lent it.

The stream is made when its first part is asked for. What changes it, transactions of the VM and its
buffers, goes through the hypervisor, which need not ask again to notice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.resources import AddressMap, build_resources, parse_resources
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_3
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.hypervisor.spmc_link.relay import own
from ffabric.firmware.manager.manager import REFUSALS
from ffabric.firmware.manager.setup import resources
from ffabric.firmware.state.ownership import BORROWED, state
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Sequence
    from ffabric.firmware.manager.manager import Handler
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

SPMC = rule(
    "resources.spmc",
    Status.NOT_SUPPORTED,
    resources.SECTION,
    "The SPMC has FF-A 1.3, too.",
    since=V1_3,
)
Answer = tuple[list[int], bytes]
"""The last answer of the SPMC, and the whole stream if it is no error."""
_NOTHING: tuple[tuple[object, ...], bytes] = ((), b"")


def info_get(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NS_RES_INFO_GET at the non-secure virtual instance."""
    endpoint, flags = resources.read(caller)
    if hypervisor.link_version < V1_3:
        refuse(SPMC, got=hypervisor.link_version, expected=V1_3)
    steps = _info_get(hypervisor, caller, endpoint, flags)
    return sequences.run(hypervisor, pe, caller, steps)


def _info_get(
    hypervisor: Hypervisor, caller: ExecutionContext, endpoint: int, flags: int
) -> Sequence:
    vm = caller.partition
    changes, data = hypervisor.resources.pop(vm.id, _NOTHING)
    if not flags & resources.CONTINUE:
        answer, stream = yield from _ask(hypervisor, endpoint, flags)
        if answer[0] & MASK32 != fid.FFA_SUCCESS_64:
            caller.x[0:8] = answer[0:8]
            return caller
        changes = _changes(hypervisor, vm)
        data = build_resources([*_of(vm, parse_resources(stream))])
    elif not data or changes != _changes(hypervisor, vm):
        resources.refuse_to_go_on()
    shared = vm.id in hypervisor.shared_mailboxes
    if shared:
        answer = yield [fid.FFA_RX_ACQUIRE, vm.id]
        if answer[0] & MASK32 != fid.FFA_SUCCESS_32:
            refuse(resources.RX, got="owned by the SPMC", expected="RX owned by the producer")
    try:
        box = resources.free_box(caller)
    except REFUSALS:
        if shared:
            yield [fid.FFA_RX_RELEASE, vm.id]
        raise
    rest = resources.hand_over(hypervisor, caller, box, data)
    hypervisor.resources[vm.id] = changes, rest
    return caller


def _changes(hypervisor: Hypervisor, vm: Partition) -> tuple[object, ...]:
    """What differs when something has changed that the VM is told."""
    regions = hypervisor.regions.live.values()
    return vm.mailbox, *(each for each in regions if each.owner is vm)


def _ask(
    hypervisor: Hypervisor, endpoint: int, flags: int
) -> Generator[list[int], list[int], Answer]:
    """Everything that the SPMC has to tell."""
    stream = b""
    answer = yield [fid.FFA_NS_RES_INFO_GET, endpoint, flags]
    while answer[0] & MASK32 == fid.FFA_SUCCESS_64:
        stream += own(hypervisor).rx.snapshot(answer[2] >> 32)
        left = answer[2] & MASK32
        yield [fid.FFA_RX_RELEASE]
        if not left:
            break
        answer = yield [fid.FFA_NS_RES_INFO_GET, endpoint, flags | resources.CONTINUE]
    return answer, stream


def _of(vm: Partition, maps: list[AddressMap]) -> Iterator[AddressMap]:
    """What of the ranges is memory of the VM, by its own addresses."""
    stage2 = vm.stage2
    assert stage2 is not None
    mine = sorted(
        (pa, pa + pages * PAGE, ipa - pa)
        for ipa, pa, pages, attrs in stage2.runs(0, 1 << stage2.ipa_bits - 12)
        if pa >= 0 and state(attrs) not in (None, BORROWED)
    )
    for each in maps:
        start, end = each.address, each.address + each.pages * PAGE
        at = max(bisect_right(mine, (start, end)) - 1, 0)
        while at < len(mine) and mine[at][0] < end:
            first, last, offset = mine[at]
            base, top = max(start, first), min(end, last)
            if base < top:
                pages = (top - base) // PAGE
                yield AddressMap(base + offset, pages, each.permissions, each.endpoint, each.flags)
            at += 1


HANDLERS: dict[int, Handler[Hypervisor]] = {fid.FFA_NS_RES_INFO_GET: info_get}
