"""The calls of notifications: a bitmap per receiver, set by whom the receiver has bound.

Each manager keeps the state of its own endpoints (`state/notifications.py`). What SPs send to a VM
is kept by the SPMC, from FFA_NOTIFICATION_BITMAP_CREATE on; a hypervisor passes on the calls of its
VMs that concern SPs, and joins what both managers have when a VM asks (DEN0077A 1.2, chapter 16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.notifications import PendingInfo
from ffabric.abi.words import MASK32, SECURE_BIT
from ffabric.firmware.manager.notifications import reporting, rules
from ffabric.firmware.state import events, reply
from ffabric.firmware.state.notifications import (
    GLOBAL,
    NotificationState,
    Source,
)
from ffabric.firmware.state.rules import refuse

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

FROM_FRAMEWORK = abi.GET_FROM_SPM | abi.GET_FROM_HYPERVISOR
FROM_SECURE_WORLD = abi.GET_FROM_SP | abi.GET_FROM_SPM
FROM_NORMAL_WORLD = abi.GET_FROM_VM | abi.GET_FROM_HYPERVISOR
SET_FLAGS = abi.SetFlags.defined()
GET_FLAGS = FROM_SECURE_WORLD | FROM_NORMAL_WORLD

_VCPU_SHIFT = abi.SetFlags.VCPU.lo
NOTHING = PendingInfo(())

_read_binding = reader(fid.FFA_NOTIFICATION_BIND, "sender", "receiver", "notifications", clean=True)
_read_set = reader(
    fid.FFA_NOTIFICATION_SET, "sender", "receiver", "flags", "notifications", clean=True
)
read_get = reader(fid.FFA_NOTIFICATION_GET, "vcpu", "receiver", "flags", clean=True)


def enable(partition: Partition) -> None:
    """``partition`` receives notifications from now on."""
    partition.notifications = NotificationState(partition.id, len(partition.contexts))


def bitmap_create(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_BITMAP_CREATE: the SPMC keeps notifications for a VM."""
    vm, vcpus = caller.x[1:3]
    if not pm.peer.speaks_for(caller.partition, vm):
        refuse(rules.BITMAP_VM, got=vm, expected="the id of a VM")
    if not 0 < vcpus <= 0xFFFF:
        refuse(rules.BITMAP_VCPUS, got=vcpus, expected="at least one")
    if vm in pm.remote_notifications:
        refuse(rules.BITMAP_EXISTS, got=vm, expected="a VM without bitmaps")
    pm.remote_notifications[vm] = NotificationState(vm, vcpus)
    reply.success(caller.x)
    return caller


def bitmap_destroy(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_BITMAP_DESTROY: the VM goes, and nobody lets it notify them any more.

    Its endpoint ID may be another's one day. A kernel that is the whole normal world stays.
    """
    vm = caller.x[1]
    if not pm.peer.speaks_for(caller.partition, vm):
        refuse(rules.BITMAP_VM, got=vm, expected="the id of a VM")
    state = pm.remote_notifications.get(vm)
    if state is None:
        refuse(rules.BITMAP_UNKNOWN, got=vm, expected=sorted(pm.remote_notifications))
    if any(kind.any_of(-1) for kind in state.kinds):
        refuse(rules.BITMAP_PENDING, got="pending", expected="nothing pending")
    del pm.remote_notifications[vm]
    if vm != caller.partition.id:
        forget_notifier(pm, vm)
    reply.success(caller.x)
    return caller


def forget_notifier(pm: Manager, endpoint: int) -> None:
    """Nobody here lets ``endpoint`` notify them any more: it is gone."""
    for other in pm.partitions.values():
        if other.notifications is not None:
            source = other.notifications.source(endpoint)
            if endpoint in source.bound:
                source.unbind(endpoint, source.bound.pop(endpoint))


def bind(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_BIND."""
    x = caller.x
    sender, receiver, bits = _binding(pm, caller)
    if pm.peer.keeps_notifications(sender):
        return pm.peer.notification(pe, caller)
    if sender not in pm.partitions and not pm.peer.has(sender):
        refuse(rules.BIND_SENDER, got=sender, expected="a known endpoint")
    source = _receivers_source(pm, receiver, sender)
    taken = bits & source.of_others(sender)
    if taken:
        refuse(rules.BIND_TAKEN, got=taken, expected=0)
    if source.any_of(bits):
        refuse(rules.BIND_PENDING, got=bits, expected="nothing pending")
    source.bind(sender, bits, per_vcpu=bool(x[2] & abi.PER_VCPU))
    reply.success(x)
    return caller


def unbind(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_UNBIND."""
    x = caller.x
    sender, receiver, bits = _binding(pm, caller)
    if pm.peer.keeps_notifications(sender):
        return pm.peer.notification(pe, caller)
    source = _receivers_source(pm, receiver, sender)
    bound = source.bound.get(sender, 0)
    if bits & ~bound:
        refuse(rules.UNBIND_BOUND, got=bits, expected=bound)
    if source.any_of(bits):
        refuse(rules.BIND_PENDING, got=bits, expected="nothing pending")
    source.unbind(sender, bits)
    reply.success(x)
    return caller


def _binding(pm: Manager, caller: ExecutionContext) -> tuple[int, int, int]:
    """Sender, receiver and bits of a call that the receiver makes, or its manager for it."""
    sender, receiver, bits = _read_binding(caller.x)
    mine = caller.partition
    if receiver != mine.id and not pm.peer.speaks_for(mine, receiver):
        refuse(rules.BIND_RECEIVER, got=receiver, expected=mine.id)
    if sender == receiver or (mine.gateway and not sender & SECURE_BIT):
        refuse(rules.BIND_SENDER, got=sender, expected="an SP" if mine.gateway else "another one")
    if not bits:
        refuse(rules.NO_BITS, got=0, expected="at least one bit")
    return sender, receiver, bits


def _receivers_source(pm: Manager, receiver: int, sender: int) -> Source:
    state = pm.notifications_of(receiver)
    if state is None:
        refuse(rules.DISABLED, got=receiver, expected="a receiver of notifications")
    return state.source(sender)


def set_(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_SET."""
    x = caller.x
    sender, receiver, flags, bits = _read_set(x)
    _check_setter(pm, caller.partition, sender, receiver)
    vcpu = _check_set_flags(caller.partition, flags) if flags else GLOBAL
    if not bits:
        refuse(rules.NO_BITS, got=0, expected="at least one bit")
    if pm.peer.keeps_notifications(receiver):
        return pm.peer.notification(pe, caller)
    if receiver not in pm.partitions and receiver not in pm.remote_notifications:
        refuse(rules.SET_RECEIVER, got=receiver, expected="a known endpoint")
    state = pm.notifications_of(receiver)
    if state is None:
        refuse(rules.SET_DISABLED, got=receiver, expected="a receiver of notifications")
    source = state.source(sender)
    bound = source.bound.get(sender, 0)
    if bits & ~bound:
        refuse(rules.SET_BOUND, got=bits, expected=bound)
    if bits & (source.per_vcpu if vcpu == GLOBAL else ~source.per_vcpu):
        refuse(rules.SET_KIND, got=(bits, flags), expected=source.per_vcpu)
    if vcpu >= state.vcpus:
        refuse(rules.SET_VCPU, got=vcpu, expected=f"below {state.vcpus}")
    source.add(vcpu, bits)
    _signal(pm, pe, state, vcpu, bits, delayed=bool(flags & abi.DELAY_SCHEDULE_RECEIVER))
    reply.success(x)
    return caller


def _check_setter(pm: Manager, mine: Partition, sender: int, receiver: int) -> None:
    if sender != mine.id and not pm.peer.speaks_for(mine, sender):
        refuse(rules.SET_SENDER, got=sender, expected=mine.id)
    if sender == receiver or (mine.gateway and not receiver & SECURE_BIT):
        refuse(rules.SET_RECEIVER, got=receiver, expected="an SP" if mine.gateway else "another")


def _check_set_flags(mine: Partition, flags: int) -> int:
    """The key that the flags of FFA_NOTIFICATION_SET name: a vCPU or GLOBAL."""
    per_vcpu, vcpu = flags & abi.PER_VCPU, flags >> _VCPU_SHIFT
    allowed = SET_FLAGS if mine.secure else SET_FLAGS & ~abi.DELAY_SCHEDULE_RECEIVER
    if flags & ~allowed:
        refuse(rules.SET_FLAGS, got=flags, expected=allowed)
    if vcpu and not per_vcpu:
        refuse(rules.SET_GLOBAL_VCPU, got=vcpu, expected=0)
    return vcpu if per_vcpu else GLOBAL


def signal_framework(
    pm: Manager, pe: PE, state: NotificationState, bits: int, *, delayed: bool
) -> None:
    """The manager itself notifies an endpoint."""
    state.framework.add(GLOBAL, bits)
    _signal(pm, pe, state, GLOBAL, bits, delayed=delayed)


def _signal(
    pm: Manager, pe: PE, state: NotificationState, key: int, bits: int, *, delayed: bool
) -> None:
    state.unsignalled.add(key)
    receiver = pm.partitions.get(state.endpoint)
    if receiver is not None:
        receiver.signals = True
    vcpu = None if key == GLOBAL else key
    if pm.tracer is not None:
        pm.tracer.record(events.Notification(pe.index, state.endpoint, vcpu, bits))
    pm.scheduler.notify(pe, state, vcpu, delayed=delayed)


def get(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_GET: the pending bits of a vCPU, which are not pending afterwards."""
    vcpu, receiver, flags = read_get(caller.x)
    mine = caller.partition
    if receiver != mine.id and not pm.peer.speaks_for(mine, receiver):
        refuse(rules.GET_RECEIVER, got=receiver, expected=mine.id)
    allowed = FROM_SECURE_WORLD if mine.gateway else GET_FLAGS
    if flags & ~allowed:
        refuse(rules.GET_FLAGS, got=flags, expected=allowed)
    state = pm.notifications_of(receiver)
    if state is not None and vcpu >= state.vcpus:
        refuse(rules.GET_VCPU, got=vcpu, expected=f"below {state.vcpus}")
    if flags & FROM_SECURE_WORLD and pm.peer.keeps_notifications(pm.spm_id):
        return pm.peer.notification(pe, caller)
    finish_get(state, caller, vcpu, flags)
    return caller


def finish_get(
    state: NotificationState | None,
    caller: ExecutionContext,
    vcpu: int,
    flags: int,
    *,
    from_sps: int = 0,
    framework: int = 0,
) -> None:
    """Answer FFA_NOTIFICATION_GET with what ``state`` has and what another manager had.

    A receiver that asks for framework notifications gets those of both managers; one without
    bitmaps has nothing pending.
    """
    from_vms = 0
    if state is not None:
        if flags & abi.GET_FROM_SP and state.from_sps.pending:
            from_sps |= state.from_sps.take(vcpu)
        if flags & abi.GET_FROM_VM and state.from_vms.pending:
            from_vms = state.from_vms.take(vcpu)
        if flags & FROM_FRAMEWORK and state.framework.pending:
            framework |= state.framework.take(vcpu)
    caller.x[0:8] = (
        fid.FFA_SUCCESS_32, 0,
        from_sps & MASK32, from_sps >> 32,
        from_vms & MASK32, from_vms >> 32,
        framework & MASK32, framework >> 32,
    )  # fmt: skip


def info_get(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_INFO_GET (32- and 64-bit): whom the scheduler should run."""
    mine = caller.partition
    if not mine.gateway and not mine.may_schedule:
        refuse(rules.INFO_SCHEDULER, got=mine.name, expected="the scheduler of receivers")
    if pm.peer.keeps_notifications(pm.spm_id):
        return pm.peer.notification(pe, caller)
    finish_info_get(pm, caller)
    return caller


def finish_info_get(
    pm: Manager, caller: ExecutionContext, elsewhere: PendingInfo = NOTHING
) -> None:
    """Answer FFA_NOTIFICATION_INFO_GET with what another manager had to tell and what we have."""
    smc64 = (caller.x[0] & MASK32) == fid.FFA_NOTIFICATION_INFO_GET_64
    room = abi.INFO_MAX_IDS_64 if smc64 else abi.INFO_MAX_IDS_32
    lists = [*elsewhere.lists]
    for each in lists:
        room -= 1 + len(each.vcpus)
    more = elsewhere.more
    for state, listed in reporting.to_report(pm):
        size = 1 + len(listed.vcpus)
        if size > room:
            more = True
            continue
        room -= size
        lists.append(listed)
        state.report(listed)
    if not lists:
        refuse(rules.INFO_NOTHING, got="nothing", expected="pending notifications")
    answer = fid.FFA_SUCCESS_64 if smc64 else fid.FFA_SUCCESS_32
    info = PendingInfo(tuple(lists), more)
    caller.x[0:8] = (answer, 0, *abi.build_pending(info, smc64=smc64))


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_NOTIFICATION_BITMAP_CREATE: bitmap_create,
    fid.FFA_NOTIFICATION_BITMAP_DESTROY: bitmap_destroy,
    fid.FFA_NOTIFICATION_BIND: bind,
    fid.FFA_NOTIFICATION_UNBIND: unbind,
    fid.FFA_NOTIFICATION_SET: set_,
    fid.FFA_NOTIFICATION_GET: get,
    fid.FFA_NOTIFICATION_INFO_GET_32: info_get,
    fid.FFA_NOTIFICATION_INFO_GET_64: info_get,
}
