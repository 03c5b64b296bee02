"""VMs come and go while the others run (DEN0077A 1.2, section 18.3).

A VM is created when its memory is laid out: the SPMC makes room for its notifications, the SPs that
want to know are told, its first vCPU starts. A VM is destroyed in whatever state its vCPUs are:

1. no vCPU runs again, those that wait for one of them are told (`stop`);
2. what they have under way in the secure world is finished there, and the answers are dropped;
3. the SPs that want to know are told;
4. buffers, notifications and memory come back, except for what SPs still have of it.

An SP that is busy is told later, and memory that an SP has not relinquished is reclaimed later
(`spmc_link/retried.py`). A chain of calls does not move, so a request that is under way on another
PE is finished by a deferred sequence on that PE.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi import lfa
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.accessors import writer
from ffabric.abi.ffa.framework import VM_CREATED, VM_DESTROYED
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.spmc_link import memory, relay, retried, sequences, unfinished
from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.memory import reclaim
from ffabric.firmware.manager.notifications import calls as of_vms
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state import events, ownership, reply
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine.context import NO_REGISTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Steps
    from ffabric.firmware.state.endpoints import Vm
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE

_SUBSCRIBED = {VM_CREATED: info.VM_CREATED, VM_DESTROYED: info.VM_DESTROYED}

_get = writer(fid.FFA_NOTIFICATION_GET, "vcpu", "receiver", "flags")


def begin(hypervisor: Hypervisor, vm: Vm, pe: PE | None = None) -> None:
    """Let a VM that was added while the system runs begin; ``pe`` tells the SPs."""
    sequences.run_deferred(hypervisor, partial(create, hypervisor, vm), pe)


def end(hypervisor: Hypervisor, vm: Vm, reason: str, pe: PE | None = None) -> None:
    """End ``vm`` from outside, whatever its vCPUs are doing; ``pe`` does what is to be done.

    Nothing may be executing. Its vCPUs never run again; the rest is done when the PE can.
    """
    if vm.alive:
        cycles.stop(vm, reason)
        stop(hypervisor, vm)
        if _activating(hypervisor, vm):  # the PE may be one that waits
            sequences.run_deferred(hypervisor, lambda _pe: _leave_activation(hypervisor, vm))
        sequences.run_deferred(hypervisor, partial(destroy, hypervisor, vm), pe)


def create(hypervisor: Hypervisor, vm: Vm, pe: PE) -> Steps:
    """Let ``vm`` come into being: its notifications, the SPs that want to know, its first vCPU.

    One that was described while the hypervisor boots is met twice: as it boots, and as it is asked.
    """
    if vm.begun or not vm.alive:
        return
    vm.begun = True
    if hypervisor.tracer is not None:
        hypervisor.tracer.record(events.VmCreated(pe.index, vm.name, vm.id, _memory_of(vm)))
    if vm.mailbox is not None and relay.fills_rx(hypervisor, vm):
        yield from relay.describe_mailbox(hypervisor, vm)
    if vm.notifications is not None:
        yield [fid.FFA_NOTIFICATION_BITMAP_CREATE, vm.id, len(vm.contexts)]
    if hypervisor.mediator is not None:
        yield from hypervisor.mediator.created(vm)
    yield from announce(hypervisor, pe, vm, VM_CREATED)
    if vm.alive:
        others = dict(vm.registers)
        argument = others.pop(0, vm.boot_information or _size(vm))
        start(hypervisor, vm, 0, vm.entry, argument, others=others)


def _size(vm: Vm) -> int:
    """What a secondary VM that has no boot information finds in x0: the size of its memory."""
    return vm.memory[0][1] * PAGE if vm.paravirtual else 0


def _memory_of(vm: Vm) -> tuple[events.Mapping, ...]:
    assert vm.stage2 is not None
    return tuple((ipa, pa, count) for ipa, pa, count, _ in vm.stage2.runs_of(vm.memory))


def start(
    hypervisor: Hypervisor,
    vm: Vm,
    index: int,
    entry: int,
    argument: int,
    *,
    others: Mapping[int, int] = NO_REGISTERS,
) -> None:
    """Let vCPU ``index`` begin at ``entry``: that of a secondary VM, when it is given cycles."""
    ctx = vm.contexts[index]
    home = interrupts.home(hypervisor, ctx)
    if vm.paravirtual:
        ctx.prepare(home)
        hypervisor.beginnings[ctx] = (entry, argument, others)
        return
    ctx.power_on(home)
    hypervisor.machine.start(ctx, entry, argument, others)
    hypervisor.wake(ctx)


def stop(hypervisor: Hypervisor, vm: Vm, here: ExecutionContext | None = None) -> None:
    """Take every vCPU of ``vm`` off its PE, and tell the vCPUs that wait for it.

    ``here`` is the vCPU whose exit is being handled: its PE is taken care of by the caller.
    """
    del hypervisor.partitions[vm.id]
    hypervisor.remove_aliases(vm)
    if vm.paravirtual:
        hypervisor.aborted.add(vm.id)
    hypervisor.eventfds.pop(vm.id, None)
    hypervisor.resources.pop(vm.id, None)
    interrupts.release(hypervisor, vm)
    for ctx in vm.contexts:
        hypervisor.beginnings.pop(ctx, None)
        for cpu in hypervisor.cpus:
            if ctx in cpu.ready:
                cpu.ready.remove(ctx)
        if ctx.runner is not None:
            hypervisor.machine.post(ctx.runner.close)
        if ctx is not here and ctx.callee is None and not hypervisor.waits_for_secure_world(ctx):
            _release(hypervisor, ctx)
    if vm is hypervisor.primary:
        return  # nobody gives the others cycles any more
    for other in hypervisor.partitions.values():
        for ctx in other.contexts:
            if ctx.yielded and ctx.caller is not None and ctx.caller.partition is vm:
                reply.success(ctx.x)
                ctx.go_on(ctx.pe)
                hypervisor.wake(ctx)


def _release(hypervisor: Hypervisor, dead: ExecutionContext) -> None:
    """Whoever waits for a dead vCPU goes on; its PE runs another one.

    One that waits and is dead itself does not: whoever waits for that one does.
    """
    link = dead
    while (requester := link.leave_chain()) is not None and requester.callee is link:
        if requester.state is not State.ABORTED:
            reply.error(requester.x, Status.ABORTED)
            requester.regain(requester.pe)
            hypervisor.wake(requester)
            break
        link = requester
    pe = dead.pe
    if pe is None:
        return
    cpu = hypervisor.cpus[pe.index]
    if cpu.preempted is dead:
        cpu.preempted = None
    if pe.current is dead:
        hypervisor.machine.schedule(pe, hypervisor.schedule(pe))


def destroy(hypervisor: Hypervisor, vm: Vm, pe: PE) -> Steps:
    """End ``vm``, which is stopped: everything that it has or gave away comes back."""
    yield from _leave_activation(hypervisor, vm)
    mediator = hypervisor.mediator
    if mediator is not None and mediator.delays(vm, partial(destroy, hypervisor, vm)):
        return
    if hypervisor.tracer is not None:
        hypervisor.tracer.record(events.VmDestroyed(pe.index, vm.name, vm.fate))
    if vm.id in hypervisor.shared_mailboxes:
        hypervisor.shared_mailboxes.discard(vm.id)
        yield relay.unmap_call(vm.id)
    yield from _finish_requests(hypervisor, vm, pe)
    yield from announce(hypervisor, pe, vm, VM_DESTROYED)
    if mediator is not None:
        yield from mediator.destroyed(vm)
    if vm.notifications is None and not vm.may_schedule:
        yield [fid.FFA_NOTIFICATION_BITMAP_CREATE, vm.id, len(vm.contexts)]
    yield from _destroy_bitmaps(vm)
    if vm.mailbox is not None:
        mailbox.drop(vm)
    of_vms.forget_notifier(hypervisor, vm.id)
    yield from _abandon_fragments(hypervisor, vm)
    yield from _free_memory(hypervisor, vm)
    hypervisor.declined = {each for each in hypervisor.declined if each[1] != vm.id}
    hypervisor.vm_ids.release(vm.id)
    if hypervisor.tracer is not None:
        hypervisor.tracer.record(events.VmGone(pe.index, vm.name))
    if hypervisor.on_destroyed is not None:
        hypervisor.on_destroyed(vm)


def _activating(hypervisor: Hypervisor, vm: Vm) -> list[int]:
    """Components of which a vCPU of ``vm`` waits at EL3, for other PEs to let it activate them."""
    return [
        cpu.forwarded[1]
        for cpu in hypervisor.cpus
        if cpu.caller is not None and cpu.caller.partition is vm and cpu.sequence is None
        and cpu.forwarded[0] & MASK32 == lfa.LFA_ACTIVATE
    ]  # fmt: skip


def _leave_activation(hypervisor: Hypervisor, vm: Vm) -> Steps:
    """The other PEs need not come any more: who waits at EL3, where nothing interrupts, goes on."""
    for component in _activating(hypervisor, vm):
        yield [lfa.LFA_CANCEL, component]


def _finish_requests(hypervisor: Hypervisor, vm: Vm, pe: PE) -> Steps:
    """Let SPs finish what vCPUs of ``vm`` had asked for, each on the PE where it was.

    While an SP finishes one request, another may be finished on another PE.
    """
    while (found := unfinished.of(hypervisor, vm)) is not None:
        word, ctx = found
        del hypervisor.unfinished[word]
        if ctx.pe is pe or ctx.pe is None:
            yield from unfinished.finish(hypervisor, word, pe)
        else:
            finish = partial(unfinished.finish, hypervisor, word)
            sequences.run_deferred(hypervisor, finish, ctx.pe)


def _destroy_bitmaps(vm: Vm) -> Steps:
    """Nobody gets what SPs have notified ``vm`` of, and no SP lets its id notify it any more."""
    for vcpu in range(len(vm.contexts)):
        flags = notifications.GET_FROM_SP | notifications.GET_FROM_SPM
        yield _get(vcpu, vm.id, flags)
    yield [fid.FFA_NOTIFICATION_BITMAP_DESTROY, vm.id]


def announce(hypervisor: Hypervisor, pe: PE, vm: Vm, message: int) -> Steps:
    """Tell every SP that subscribed that ``vm`` was created or destroyed."""
    for sp in hypervisor.secure_partitions:
        if sp.properties & _SUBSCRIBED[message]:
            retried.announce(hypervisor, sp.id, message, vm.id)
    yield from retried.send_announcements(hypervisor, pe)


def _abandon_fragments(hypervisor: Hypervisor, vm: Vm) -> Steps:
    """The SPMC forgets the transactions of ``vm`` that lack fragments."""
    for region in [*hypervisor.regions.pending.values()]:
        if region.owner is vm and region.remote:
            yield memory.abandon_call(region)


def _disown(hypervisor: Hypervisor, vm: Vm) -> list[Region]:
    """``vm`` is gone: it gives back what it had borrowed, and other VMs lose what it sent.

    The result is what the SPMC relays, too: nobody owns it until the SPMC has given it back.
    """
    reclaim.forget_endpoint(hypervisor, vm)
    sent_to_sps = [each for each in hypervisor.regions.live.values() if each.owner is vm]
    for region in sent_to_sps:
        hypervisor.regions.remove(region)
    return sent_to_sps


def _free_memory(hypervisor: Hypervisor, vm: Vm) -> Steps:
    """Return the VM's pages to the frames, cleared, but for those an SP still holds.

    Nobody can translate to them any more when they are cleared.
    """
    sent_to_sps = _disown(hypervisor, vm)
    stage2 = vm.stage2
    assert stage2 is not None
    owned = [
        (pa, count)
        for base, pages in (*vm.memory, *filter(None, (vm.window,)))
        for _, pa, count, attrs in stage2.runs(base, pages)
        if ownership.state(attrs) is ownership.OWNED
    ]
    stage2.free()
    for pa, count in owned:
        hypervisor.memory.zero(pa, count * PAGE, secure=False)
        hypervisor.frames.release(pa, count)
    for region in sent_to_sps:
        yield from retried.reclaim(hypervisor, region)
