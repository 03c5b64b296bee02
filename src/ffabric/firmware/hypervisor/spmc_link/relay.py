"""Sequences of the hypervisor: what it asks of the SPMC for its VMs, one SMC after the other.

Memory is in `memory.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa import uuids
from ffabric.abi.ffa.accessors import reader, writer
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.ffa.version import V1_1
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.manager.manager import REFUSALS
from ffabric.firmware.manager.messages import indirect
from ffabric.firmware.manager.setup import discovery, mailbox
from ffabric.firmware.state.partition import ExecutionContext, Partition
from ffabric.firmware.state.rules import refuse
from ffabric.machine.translation.stage2 import physical

if TYPE_CHECKING:
    from uuid import UUID

    from ffabric.abi.ffa.messages import Message
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Sequence, Steps
    from ffabric.firmware.manager.manager import Handler
    from ffabric.firmware.state.mailbox import Buffer, Mailbox
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

_send2 = writer(fid.FFA_MSG_SEND2, "sender", "flags")
unmap_call = writer(fid.FFA_RXTX_UNMAP, "endpoint")
_read_timeout = reader(fid.FFA_YIELD, "timeout")

REST = 10_000
"""Nanoseconds after which an SP that yields is run again, if it does not name more."""
Step = Generator[list[int], list[int], list[int]]
"""Part of a sequence that ends with the last answer."""
Described = Generator[list[int], list[int], list[int] | None]
"""Part of a sequence that ends with an answer that is an error, if there was one."""


def own(hypervisor: Hypervisor) -> Mailbox:
    """The hypervisor's own RX/TX pair."""
    assert hypervisor.mailbox is not None
    return hypervisor.mailbox


def map_mailbox(hypervisor: Hypervisor, caller: ExecutionContext) -> Sequence:
    """A VM has mapped its RX/TX pair: tell the SPMC; if that refuses, so is the VM's call."""
    answer = yield from describe_mailbox(hypervisor, caller.partition)
    if answer is not None:
        caller.x[0:8] = answer[0:8]
    return caller


def fills_rx(hypervisor: Hypervisor, vm: Partition) -> bool:
    """Whether the SPMC has to know the VM's RX/TX pair: it takes indirect messages."""
    return bool(vm.properties & info.INDIRECT_MESSAGES) and hypervisor.link_version >= V1_1


def describe_mailbox(hypervisor: Hypervisor, vm: Partition) -> Described:
    """Tell the SPMC where a VM's RX/TX pair is (DEN0077A 1.2, table 13.27).

    Returns its answer if it refuses: then the VM has no pair.
    """
    box = vm.mailbox
    assert box is not None
    buffers = EndpointBuffers(vm.id, _ranges(vm, box.rx), _ranges(vm, box.tx))
    own(hypervisor).tx.write(build_endpoint_buffers(buffers))
    answer = yield [fid.FFA_RXTX_MAP_64]
    if answer[0] & MASK32 == fid.FFA_SUCCESS_32:
        hypervisor.shared_mailboxes.add(vm.id)
        return None
    mailbox.drop(vm)
    return answer


def _ranges(vm: Partition, buffer: Buffer) -> list[tuple[int, int]]:
    assert vm.stage2 is not None
    return [*map(physical, vm.stage2.runs(buffer.ipa, buffer.size // PAGE))]


def unmap_mailbox(hypervisor: Hypervisor, caller: ExecutionContext) -> Sequence:
    """The SPMC forgets a VM's RX/TX pair."""
    hypervisor.shared_mailboxes.discard(caller.partition.id)
    yield unmap_call(caller.partition.id)
    return caller


def release_mailbox(hypervisor: Hypervisor, caller: ExecutionContext) -> Sequence:
    """A VM's RX goes back to the SPMC."""
    yield [fid.FFA_RX_RELEASE, caller.partition.id]
    return caller


def release_foreign(caller: ExecutionContext) -> Sequence:
    """A VM gives back an RX that the SPMC filled; the SPMC says whether it was full."""
    answer = yield [fid.FFA_RX_RELEASE, caller.partition.id]
    caller.x[0:8] = answer[0:8]
    return caller


def release_call(vm: Partition) -> list[int]:
    """The registers of FFA_RX_RELEASE for a VM."""
    return [fid.FFA_RX_RELEASE, vm.id]


def send_message(caller: ExecutionContext) -> Sequence:
    """FFA_MSG_SEND2 to an SP, in the name of the VM."""
    answer = yield _send2(caller.partition.id, caller.x[2])
    caller.x[0:8] = answer[0:8]
    return caller


def hand_over(
    hypervisor: Hypervisor,
    pe: PE,
    caller: ExecutionContext,
    message: Message,
    target: Partition,
) -> Sequence:
    """FFA_MSG_SEND2 from VM to VM: the receiver's RX is had from the SPMC first."""
    answer = yield [fid.FFA_RX_ACQUIRE, target.id]
    if answer[0] & MASK32 != fid.FFA_SUCCESS_32:
        refuse(mailbox.RX_BUSY, got=f"full: {target.name} has not released it", expected="free")
    try:
        return indirect.hand_over(hypervisor, pe, caller, message, target, delayed=False)
    except REFUSALS:
        yield [fid.FFA_RX_RELEASE, target.id]
        raise


def fill_rx(
    hypervisor: Hypervisor, pe: PE, caller: ExecutionContext, handler: Handler[Hypervisor]
) -> Sequence:
    """Answer a call whose result goes to the VM's RX, which the SPMC may be filling."""
    vm = caller.partition
    answer = yield [fid.FFA_RX_ACQUIRE, vm.id]
    if answer[0] & MASK32 != fid.FFA_SUCCESS_32:
        refuse(mailbox.RX_BUSY, got=f"full: {vm.name} has not released it", expected="free")
    try:
        nxt: Next = handler(hypervisor, pe, caller)
    except REFUSALS:
        yield [fid.FFA_RX_RELEASE, vm.id]
        raise
    if vm.mailbox is not None and not vm.mailbox.full:
        yield [fid.FFA_RX_RELEASE, vm.id]
    return nxt


def read_partitions(
    hypervisor: Hypervisor, answer: list[int]
) -> Generator[list[int], list[int], list[info.PartitionInfo]]:
    """Read the descriptors that FFA_PARTITION_INFO_GET has put into the hypervisor's RX."""
    count, size = answer[2], answer[3] or info.descriptor_size(hypervisor.link_version)
    data = own(hypervisor).rx.snapshot(count * size)
    yield [fid.FFA_RX_RELEASE]
    return info.parse_partition_info(data, count, size)


def learn_partitions(hypervisor: Hypervisor) -> Steps:
    """Ask the SPMC which partitions there are now.

    The IDs of those that are gone remain the secure world's: they may have memory of VMs.
    """
    answer = yield [fid.FFA_PARTITION_INFO_GET]
    found: list[info.PartitionInfo] = []
    if answer[0] & MASK32 == fid.FFA_SUCCESS_32:
        found = yield from read_partitions(hypervisor, answer)
    hypervisor.secure_partitions = found
    hypervisor.secure_ids |= {each.id for each in found}
    hypervisor.multiprocessors |= {
        each.id for each in found if each.contexts > 1 and not each.properties & info.ID_TYPE
    }


def _learn_service(hypervisor: Hypervisor, wanted: UUID) -> Steps:
    """Ask an SPMC that describes a partition once, for all UUIDs, which ones have ``wanted``."""
    answer = yield [fid.FFA_PARTITION_INFO_GET, *uuids.to_words(wanted)]
    found: list[info.PartitionInfo] = []
    if answer[0] & MASK32 == fid.FFA_SUCCESS_32:
        found = yield from read_partitions(hypervisor, answer)
    if found:
        hypervisor.secure_services[wanted] = found
    else:
        hypervisor.secure_services.pop(wanted, None)  # a VM may ask for any number of UUIDs


def discover(
    hypervisor: Hypervisor, pe: PE, caller: ExecutionContext, handler: Handler[Hypervisor]
) -> Sequence:
    """A VM looks for partitions: the SPMC is asked each time, for SPs come and go."""
    wanted = discovery.wanted_by(caller)
    yield from learn_partitions(hypervisor)
    if wanted != uuids.NIL and hypervisor.link_version < discovery.SEVERAL_UUIDS_SINCE:
        yield from _learn_service(hypervisor, wanted)
    if caller.partition.id in hypervisor.shared_mailboxes and discovery.fills_rx(caller):
        return (yield from fill_rx(hypervisor, pe, caller, handler))
    nxt: Next = handler(hypervisor, pe, caller)
    return nxt


def uninterrupted(hypervisor: Hypervisor, pe: PE, call: list[int]) -> Step:
    """Make a direct request, or FFA_RUN; the SP goes on after each interrupt that preempts it."""
    answer = yield call
    while answer[0] & MASK32 == fid.FFA_INTERRUPT:
        interrupts.take(hypervisor, pe)
        answer = yield [fid.FFA_RUN, answer[1]]
    return answer


def rest(hypervisor: Hypervisor, pe: PE, answer: list[int], steps: Callable[[PE], Steps]) -> None:
    """An SP has yielded: ``steps`` run it again when the time is over that it named (w2, w3: ns).

    Others have the PE until then (DEN0077A 1.2, section 14.3).
    """
    machine = hypervisor.machine
    timeout = _read_timeout(answer)
    again = partial(sequences.run_deferred, hypervisor, steps, pe)
    machine.clock.at(machine.clock.now + max(timeout, REST), partial(machine.post, again))
