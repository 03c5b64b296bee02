"""Notifications of VMs: joined from the two managers that keep them, and turned into interrupts.

What VMs send to VMs is kept here, what SPs send to VMs by the SPMC. A VM's call that concerns SPs
is passed on; FFA_NOTIFICATION_GET and FFA_NOTIFICATION_INFO_GET join both. The SPMC announces
pending notifications with the Schedule Receiver Interrupt: the hypervisor, as the scheduler of the
normal world, asks whom it is for (FFA_NOTIFICATION_INFO_GET), gives SPs cycles with FFA_RUN and
raises the Notification Pending Interrupt of VMs (DEN0077A 1.2, sections 10.3 to 10.5).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.accessors import result_reader
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32, join, pack_ids, unpack_ids
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.hypervisor.spmc_link.relay import rest, uninterrupted
from ffabric.firmware.hypervisor.spmc_link.unfinished import is_occupied
from ffabric.firmware.manager.notifications import calls as notifications

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Finish, Hypervisor, Sequence, Steps
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

_INFO_GETS = (fid.FFA_NOTIFICATION_INFO_GET_32, fid.FFA_NOTIFICATION_INFO_GET_64)
_read_got = result_reader(fid.FFA_NOTIFICATION_GET, "from_sps", "from_spm", "from_hypervisor")
_INFO_ANSWERS = (fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64)
MAX_ROUNDS = 64
"""Answers of FFA_NOTIFICATION_INFO_GET that one SRI may take."""


def relay(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """Pass a notification call of a VM on, and join what is pending here to the answer."""
    x = list(caller.x)
    if x[0] in _INFO_GETS:
        return sequences.run(hypervisor, pe, caller, _join_info(hypervisor, caller))
    finish: Finish = _finish
    if x[0] == fid.FFA_NOTIFICATION_GET:
        x[2] &= notifications.FROM_SECURE_WORLD
        finish = _finish_get
    return sequences.make(hypervisor, pe, caller, x, finish)


def _join_info(hypervisor: Hypervisor, caller: ExecutionContext) -> Sequence:
    """FFA_NOTIFICATION_INFO_GET of a VM that schedules."""
    answer = yield [caller.x[0]]
    function = answer[0] & MASK32
    if function in _INFO_ANSWERS:
        pending = abi.parse_pending(answer[2:8], smc64=function == fid.FFA_SUCCESS_64)
    elif from_register(answer[2]) is Status.NO_DATA:
        pending = notifications.NOTHING
    else:
        caller.x[0:8] = answer[0:8]
        return caller
    for receiver in pending.lists:
        vm = hypervisor.partitions.get(receiver.endpoint)
        if vm is not None and vm.paravirtual:
            for vcpu in receiver.vcpus or (0,):
                interrupts.inject(hypervisor, vm, hafnium.NOTIFICATION_PENDING_INTID, vcpu)
    notifications.finish_info_get(hypervisor, caller, pending)
    return caller


def _finish(_hypervisor: Hypervisor, caller: ExecutionContext, answer: list[int]) -> None:
    """What the SPMC says of a call that concerns SPs is what its caller gets."""
    caller.x[0:8] = answer[0:8]


def _finish_get(hypervisor: Hypervisor, caller: ExecutionContext, answer: list[int]) -> None:
    """FFA_NOTIFICATION_GET: what the SPMC had, and what is pending here."""
    if answer[0] & MASK32 != fid.FFA_SUCCESS_32:
        _finish(hypervisor, caller, answer)
        return
    vcpu, _, flags = notifications.read_get(caller.x)
    from_sps, from_spm, from_hypervisor = _read_got(answer)
    notifications.finish_get(
        caller.partition.notifications,
        caller,
        vcpu,
        flags,
        from_sps=from_sps,
        framework=join(from_spm, from_hypervisor),
    )


def schedule_receivers(hypervisor: Hypervisor, pe: PE) -> Steps:
    """The Schedule Receiver Interrupt: find the receivers and let them know."""
    for _ in range(MAX_ROUNDS):
        answer = yield [fid.FFA_NOTIFICATION_INFO_GET_64]
        if answer[0] & MASK32 != fid.FFA_SUCCESS_64:
            break
        pending = abi.parse_pending(answer[2:8], smc64=True)
        for receiver in pending.lists:
            if receiver.endpoint in hypervisor.partitions:
                for vcpu in receiver.vcpus or (None,):
                    raise_npi(hypervisor, receiver.endpoint, vcpu)
            else:
                here = pe.index if receiver.endpoint in hypervisor.multiprocessors else 0
                for vcpu in receiver.vcpus or (here,):
                    target = pack_ids(receiver.endpoint, vcpu)
                    if not _is_left_to_another(hypervisor, target, pe):
                        yield from _run(hypervisor, target, pe)
        if not pending.more:
            break


def _is_left_to_another(hypervisor: Hypervisor, target: int, pe: PE) -> bool:
    """Whether a context of an SP gets its cycles on another PE: that of an MP SP is pinned."""
    sp, vcpu = unpack_ids(target)
    if sp not in hypervisor.multiprocessors or vcpu == pe.index:
        return False
    there = hypervisor.machine.pes[vcpu]
    sequences.run_deferred(hypervisor, partial(_run, hypervisor, target), there)
    return True


def _run(hypervisor: Hypervisor, target: int, pe: PE) -> Steps:
    """Give cycles to a context of an SP; one that serves a request gets them from who made it."""
    if is_occupied(hypervisor, target >> 16) or target in hypervisor.unfinished:
        hypervisor.retried.receivers.append(target)
        return
    answer = yield from uninterrupted(hypervisor, pe, [fid.FFA_RUN, target])
    if answer[0] & MASK32 == fid.FFA_YIELD:
        rest(hypervisor, pe, answer, partial(_run, hypervisor, target))
    if answer[0] & MASK32 == fid.FFA_ERROR and from_register(answer[2]) is Status.BUSY:
        hypervisor.retried.receivers.append(target)


def retry(hypervisor: Hypervisor, pe: PE) -> Steps:
    """Receivers that were busy when the SRI came: give them their cycles now, if they can run."""
    targets, hypervisor.retried.receivers = hypervisor.retried.receivers, []
    for target in dict.fromkeys(targets):
        if not _is_left_to_another(hypervisor, target, pe):
            yield from _run(hypervisor, target, pe)


def raise_npi(hypervisor: Hypervisor, vm_id: int, vcpu: int | None) -> None:
    """Raise the Notification Pending Interrupt of a VM; tell its VMM, if one listens."""
    vm = hypervisor.partitions[vm_id]
    signal = hypervisor.eventfds.get(vm_id)
    if signal is not None:
        signal(vcpu or 0)
        return
    interrupts.inject(hypervisor, vm, hypervisor.npi, vcpu or 0)


def pending(hypervisor: Hypervisor, state: NotificationState, vcpu: int | None) -> None:
    """A VM's notification from another VM became pending."""
    if state.endpoint in hypervisor.partitions:
        raise_npi(hypervisor, state.endpoint, vcpu)
