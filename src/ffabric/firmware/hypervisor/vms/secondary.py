"""The secondary VMs of a primary one: how their vCPUs come by cycles, and give them back.

The primary VM schedules the others (Hafnium, `SchedulerExpectations.md` and `src/api.c`): a vCPU of
a secondary runs when a vCPU of the primary makes FFA_RUN, on whatever PE that one is, or sends it a
direct request; it gives the PE back to that vCPU alone. FFA_RUN then returns

============================= ======================================================================
answer                        the vCPU
============================= ======================================================================
FFA_MSG_WAIT                  waits for a message; w2: nanoseconds until its timer, 0: none
HF_FFA_RUN_WAIT_FOR_INTERRUPT waits for an interrupt (WFI, PSCI CPU_SUSPEND), w2 likewise, or is off
FFA_YIELD                     yields; WFE is not trapped: an emulator of images has no such trap
FFA_INTERRUPT                 was preempted by an interrupt of the primary; or it woke another vCPU,
                              that which w1 names
FFA_ERROR with ABORTED        has aborted, and its VM with it
============================= ======================================================================

w1 names the vCPU. A vCPU begins with its first FFA_RUN, with the index of the PE in x4. In WFI it
goes on only if an interrupt that it has enabled is pending; else FFA_RUN answers as WFI did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.psci import AffinityState, Return
from ffabric.abi.words import MASK32, pack_ids, unpack_ids
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.spmc_link import relay, sequences
from ffabric.firmware.hypervisor.vms import lifetime, vcpu
from ffabric.firmware.manager import cycles, virtual_interrupts
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.monitor.psci import AFFINITY
from ffabric.firmware.state import events, reply, runtime_model
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import vm_of
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine import exits

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Sequence
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

CORE_INDEX = 4
"""The register in which a vCPU finds, when it begins, the index of its PE."""
EXTENDED_STATE_ID = 2
"""What PSCI_FEATURES says of CPU_SUSPEND: the extended format of power states."""
NOT_SUPPORTED = Return.NOT_SUPPORTED.register64

OFF = rule(
    "run.target_off",
    Status.INVALID_PARAMETERS,
    "Hafnium 2.15, api_ffa_run",
    "The vCPU of a secondary VM in w1 has been turned on.",
)


def run(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RUN of the primary VM: any vCPU of any other VM, on the PE of the caller."""
    word = caller.x[1]
    endpoint, index = unpack_ids(word)
    vm = hypervisor.partitions.get(endpoint)
    if vm is None:
        if endpoint in hypervisor.aborted:
            refuse(cycles.RUN_ABORTED, got="ABORTED", expected="a VM that is alive")
        return hypervisor.peer.run(pe, caller, word)
    if vm is caller.partition or index >= len(vm.contexts):
        refuse(cycles.RUN_TARGET, got=word, expected=f"another VM's vCPU < {len(vm.contexts)}")
    ctx = vm.contexts[index]
    _judge(pe, caller, ctx)
    if ctx.idles and not ctx.virq.pends():
        _answer(hypervisor, caller, hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT, ctx)
        return caller
    ctx.idles = False
    beginning = hypervisor.beginnings.pop(ctx, None)
    if beginning is not None:
        caller.begin(ctx, pe)
        entry, argument, others = beginning
        hypervisor.machine.start(ctx, entry, argument, {CORE_INDEX: pe.index, **others})
    elif ctx.state is State.WAITING:
        cycles.answer_wait(ctx)
        caller.lend(ctx, pe)
    else:
        cycles.go_on(pe, caller, ctx)
    entering(hypervisor, pe, ctx)
    return ctx


def _judge(pe: PE, caller: ExecutionContext, ctx: ExecutionContext) -> None:
    if caller.model not in runtime_model.RUN:
        runtime_model.deny(caller, runtime_model.RUN)
    if ctx.state is State.OFF:
        refuse(OFF, got=ctx.state.value, expected="on")
    if ctx.state is State.BLOCKED and not ctx.yielded:
        refuse(cycles.RUN_BUSY, got="in a call", expected="WAITING, PREEMPTED or yielded")
    cycles.judge_run(pe, caller, ctx)


def entering(hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext) -> None:
    """A vCPU gets cycles: tell it of notifications; what is pending for the primary comes first."""
    state = ctx.partition.notifications
    if state is not None and ctx.partition.signals:
        if state.take_signal(ctx.index):
            interrupts.pend(ctx, hafnium.NOTIFICATION_PENDING_INTID)
        ctx.partition.signals = bool(state.unsignalled)
    hypervisor.machine.look_at_interrupts()


def _answer(
    hypervisor: Hypervisor, caller: ExecutionContext, function: int, ctx: ExecutionContext
) -> None:
    """FFA_RUN of `ctx` returns to `caller` with `function`, and when it wants to run again."""
    word = pack_ids(ctx.partition.id, ctx.index)
    caller.x[0:8] = (function, word, hypervisor.time_to_timer(ctx), 0, 0, 0, 0, 0)


# What takes the PE from a vCPU.


def preempted(hypervisor: Hypervisor, pe: PE) -> Next:
    """The vCPU of the primary that gave its PE away, if it wants it back for an interrupt.

    None: it does not, or what runs there cannot be stopped now.
    """
    vm = hypervisor.primary
    waiting = None if vm is None else vm.context_on(pe)
    running = pe.current
    if not isinstance(running, ExecutionContext) or waiting is None or running is waiting:
        return None
    if waiting.state is not State.BLOCKED or not interrupts.is_signalled(waiting):
        return None
    if running.secure or running.state is not State.RUNNING or running.caller is not waiting:
        pe.deferred = True
        return None
    if hypervisor.tracer is not None:
        hypervisor.machine.break_off(running, events.preemption(pe, running))
    _give_back(pe, running, waiting)
    return waiting


def _give_back(
    pe: PE, ctx: ExecutionContext, waiting: ExecutionContext, about: ExecutionContext | None = None
) -> None:
    """FFA_INTERRUPT: ``ctx`` is stopped, and ``about`` (None: that one) wants cycles."""
    about = about or ctx
    reply.interrupt(waiting.x, pack_ids(about.partition.id, about.index))
    ctx.preempt(waiting, pe)


def idle(hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext) -> Next:
    """WFI of a vCPU: whoever gave it cycles has the PE until an interrupt is pending for it."""
    waiting = cycles.waiter(ctx)
    if ctx.virq.pends() or waiting is None:
        return ctx
    _answer(hypervisor, waiting, hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT, ctx)
    ctx.preempt(waiting, pe)
    ctx.idles = True
    return waiting


def wait(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MSG_WAIT: it releases RX, and does not wait if RX was full or an interrupt is pending."""
    if caller.model not in runtime_model.WAIT:
        runtime_model.deny(caller, runtime_model.WAIT)
    vm, releases = caller.partition, not cycles.retains_rx(caller)
    had_message = vm.mailbox is not None and vm.mailbox.full
    if had_message and releases:
        mailbox.release(hypervisor, pe, vm)
    if releases and vm.id in hypervisor.shared_mailboxes:
        steps = _release_and_wait(hypervisor, pe, caller, had_message)
        return sequences.run(hypervisor, pe, caller, steps)
    if _does_not_wait(caller, had_message):
        return caller
    return _wait(hypervisor, pe, caller)


def _release_and_wait(
    hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext, had_message: bool
) -> Sequence:
    """RX goes back to the SPMC, too, which says whether there was a message."""
    answer = yield relay.release_call(ctx.partition)
    if _does_not_wait(ctx, had_message or answer[0] & MASK32 == fid.FFA_SUCCESS_32):
        return ctx
    ctx.unblock(pe)
    return _wait(hypervisor, pe, ctx)


def _does_not_wait(ctx: ExecutionContext, had_message: bool) -> bool:
    """Whether FFA_MSG_WAIT is answered at once."""
    if had_message:
        cycles.answer_wait(ctx)
    elif ctx.virq.pends():
        reply.error(ctx.x, Status.INTERRUPTED)
    else:
        return False
    return True


def _wait(hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext) -> Next:
    requester = ctx.caller
    if requester is None:
        ctx.wait()
        return hypervisor.schedule(pe)
    _answer(hypervisor, requester, fid.FFA_MSG_WAIT, ctx)
    return cycles.return_cycles(hypervisor, pe, ctx, requester)


# PSCI, as far as secondaries have it.


def call(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext, function: int) -> Next:
    """A call of a secondary VM that is not FF-A."""
    handler = _CALLS.get(function)
    if handler is not None:
        return handler(hypervisor, pe, caller)
    if function in _NOT_FOR_SECONDARIES:
        caller.x[0] = NOT_SUPPORTED
        return caller
    if virtual_interrupts.is_removed(hypervisor, pe, caller, function):
        return caller
    return vcpu.call(hypervisor, pe, caller, function)


def _features(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    asked = caller.x[1] & MASK32
    if asked in _SUSPEND:
        caller.x[0] = EXTENDED_STATE_ID
    else:
        caller.x[0] = Return.SUCCESS if asked in _KNOWN else NOT_SUPPORTED
    return caller


def _find(caller: ExecutionContext, affinity: int) -> ExecutionContext | None:
    """A vCPU by its affinity: to a secondary they are numbered, whatever PEs they run on."""
    contexts = caller.partition.contexts
    index = affinity & AFFINITY
    return contexts[index] if index < len(contexts) else None


def _cpu_on(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """The vCPU is ready to begin; the scheduler hears of it."""
    x = caller.x
    target = _find(caller, x[1])
    if target is None:
        x[0] = Return.INVALID_PARAMETERS.register64
        return caller
    if target.state is not State.OFF:
        x[0] = Return.ALREADY_ON.register64
        return caller
    vm = vm_of(caller.partition)
    if not vcpu.is_entry(vm, x[2]):
        x[0] = Return.INVALID_ADDRESS.register64
        return caller
    lifetime.start(hypervisor, vm, target.index, x[2], x[3])
    x[0] = Return.SUCCESS
    waiting = cycles.waiter(caller)
    if waiting is None:
        return caller
    _give_back(pe, caller, waiting, target)
    return waiting


def _cpu_off(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    waiting = cycles.waiter(caller)
    if caller.request or waiting is None:  # somebody waits for its answer
        caller.x[0] = Return.DENIED.register64
        return caller
    _answer(hypervisor, waiting, hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT, caller)
    caller.power_off()
    waiting.regain(pe)
    return waiting


def _cpu_suspend(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """Any power state is no more than WFI."""
    caller.x[0] = Return.SUCCESS
    return idle(hypervisor, pe, caller)


def _affinity_info(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    target = _find(caller, caller.x[1])
    if target is None or caller.x[2]:
        caller.x[0] = Return.INVALID_PARAMETERS.register64
    else:
        begun = target.state is not State.OFF and target not in hypervisor.beginnings
        caller.x[0] = AffinityState.ON if begun else AffinityState.OFF
    return caller


_SUSPEND = (psci.CPU_SUSPEND_32, psci.CPU_SUSPEND_64)
_CALLS: dict[int, Callable[[Hypervisor, PE, ExecutionContext], Next]] = {
    psci.PSCI_FEATURES: _features,
    psci.CPU_ON_32: _cpu_on,
    psci.CPU_ON_64: _cpu_on,
    psci.CPU_OFF: _cpu_off,
    psci.CPU_SUSPEND_32: _cpu_suspend,
    psci.CPU_SUSPEND_64: _cpu_suspend,
    psci.AFFINITY_INFO_32: _affinity_info,
    psci.AFFINITY_INFO_64: _affinity_info,
}
_KNOWN = frozenset(_CALLS) | {psci.PSCI_VERSION}
_NOT_FOR_SECONDARIES = frozenset({psci.SYSTEM_OFF, psci.SYSTEM_RESET, psci.MIGRATE_INFO_TYPE})

EXITS: dict[int, Callable[[Hypervisor, PE, ExecutionContext], Next]] = {
    **vcpu.EXITS,
    exits.IDLE: idle,
    exits.SLICE: lambda _hypervisor, _pe, ctx: ctx,
}
"""What becomes of a vCPU of a secondary VM that has exited without a call."""
