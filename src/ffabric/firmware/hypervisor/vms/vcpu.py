"""What the hypervisor does for a vCPU alone: faults, idling, yields, PSCI and SMCCC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ffabric.abi import psci, smccc
from ffabric.abi.psci import AffinityState, MigrateType, Return
from ffabric.abi.words import MASK32
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.hypervisor.vms import lifetime
from ffabric.firmware.manager import cycles
from ffabric.firmware.monitor.psci import is_standby
from ffabric.firmware.state import reply
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import Vm, vm_of
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine import exits
from ffabric.machine.translation.descriptors import VALID, XN

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

NOT_SUPPORTED = 0xFFFFFFFFFFFFFFFF
Call = Callable[["Hypervisor", "PE", ExecutionContext], "Next"]


def _abort(hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext) -> Next:
    fault = ctx.fault
    assert fault is not None
    assert ctx.runner is not None
    ctx.runner.inject_abort(fault.syndrome, fault.va)
    return ctx


def _idle(hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext) -> Next:
    """WFI: nothing to wait for if an interrupt became pending since the last exit."""
    gic = ctx.partition.gic
    if gic is not None and gic.pending(ctx.index) is not None:
        return ctx
    return hypervisor.schedule(pe)


def _slice(hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext) -> Next:
    queue = hypervisor.cpus[pe.index].ready
    if not queue:
        return ctx
    queue.append(ctx)
    return hypervisor.schedule(pe)


def _crash(hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext) -> Next:
    return cycles.abort(hypervisor, pe, ctx, ctx.crash)


def yield_(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_YIELD: of a vCPU that has its cycles from a dead one, nobody runs it but we in its turn.

    One that has yielded before the other one died goes on likewise (`lifetime.stop`).
    """
    lender = caller.caller
    nxt = cycles.yield_(hypervisor, pe, caller)
    if not caller.yielded or lender is None or lender.state is not State.ABORTED:
        return nxt
    reply.success(caller.x)
    caller.go_on(pe)
    if nxt is None:
        return caller
    hypervisor.cpus[pe.index].ready.append(caller)
    return nxt


EXITS: dict[int, Call] = {
    exits.ABORT: _abort,
    exits.IDLE: _idle,
    exits.SLICE: _slice,
    exits.CRASH: _crash,
}


def call(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext, function: int) -> Next:
    """A call of a VM that is not FF-A."""
    handler = _CALLS.get(function)
    if handler is not None:
        return handler(hypervisor, pe, caller)
    mediator = hypervisor.mediator
    if mediator is not None and smccc.is_for_trusted_os(function):
        return sequences.run(hypervisor, pe, caller, mediator.sequence(pe, caller))
    if not hypervisor.platform.answer(function, caller.x):
        caller.x[0] = NOT_SUPPORTED
    return caller


def _value(value: int) -> Call:
    def answer(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
        caller.x[0] = value
        return caller

    return answer


def _features(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    known = caller.x[1] & MASK32 in _CALLS
    caller.x[0] = Return.SUCCESS if known else NOT_SUPPORTED
    return caller


def _cpu_on(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    x = caller.x
    vm = vm_of(caller.partition)
    target = _find(hypervisor, caller, x[1])
    if target is None:
        x[0] = Return.INVALID_PARAMETERS.register64
    elif target.state is not State.OFF:
        x[0] = Return.ALREADY_ON.register64
    elif not is_entry(vm, x[2]):
        x[0] = Return.INVALID_ADDRESS.register64
    else:
        x[0] = Return.SUCCESS
        lifetime.start(hypervisor, vm, target.index, x[2], x[3])
    return caller


def is_entry(vm: Vm, ipa: int) -> bool:
    """Whether the VM can execute an instruction at ``ipa``."""
    stage2 = vm.stage2
    assert stage2 is not None
    leaf = 0 if ipa >> stage2.ipa_bits else stage2.translate(ipa)
    return not ipa & 3 and bool(leaf & VALID) and not leaf & XN


def _find(
    hypervisor: Hypervisor, caller: ExecutionContext, affinity: int
) -> ExecutionContext | None:
    for ctx, pe in zip(caller.partition.contexts, hypervisor.machine.pes, strict=False):
        if (pe.mpidr ^ affinity) & 0xFF00FFFFFF == 0:
            return ctx
    return None


def _cpu_off(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    if caller.caller is not None:  # somebody waits for its answer
        caller.x[0] = Return.DENIED.register64
        return caller
    caller.power_off()
    for each in serving(hypervisor, caller):
        if hypervisor.primary is not None:  # it has its cycles from this vCPU
            each.leave_to(caller)
        else:
            reply.success(each.x)
            each.release()
            hypervisor.wake(each)
    return hypervisor.schedule(pe)


def serving(hypervisor: Hypervisor, requester: ExecutionContext) -> Iterator[ExecutionContext]:
    """The vCPUs that have yielded in a request of ``requester``."""
    for vm in hypervisor.partitions.values():
        for ctx in vm.contexts:
            if ctx.yielded and ctx.request and ctx.caller is requester:
                yield ctx


def _cpu_suspend(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    if not is_standby(caller.x[1]):
        caller.x[0] = Return.INVALID_PARAMETERS.register64
        return caller
    caller.x[0] = Return.SUCCESS
    return _idle(hypervisor, pe, caller)


def _affinity_info(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    target = _find(hypervisor, caller, caller.x[1])
    if target is None:
        caller.x[0] = Return.INVALID_PARAMETERS.register64
    else:
        caller.x[0] = AffinityState.OFF if target.state is State.OFF else AffinityState.ON
    return caller


def _system_off(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    cycles.stop(caller.partition, "powered itself off")
    return hypervisor.scheduler.failed(pe, caller)


_CALLS: dict[int, Call] = {
    psci.PSCI_VERSION: _value(psci.VERSION_1_1),
    psci.PSCI_FEATURES: _features,
    psci.MIGRATE_INFO_TYPE: _value(MigrateType.NOT_REQUIRED),
    psci.CPU_ON_32: _cpu_on,
    psci.CPU_ON_64: _cpu_on,
    psci.CPU_OFF: _cpu_off,
    psci.CPU_SUSPEND_32: _cpu_suspend,
    psci.CPU_SUSPEND_64: _cpu_suspend,
    psci.AFFINITY_INFO_32: _affinity_info,
    psci.AFFINITY_INFO_64: _affinity_info,
    psci.SYSTEM_OFF: _system_off,
    psci.SYSTEM_RESET: _system_off,
    smccc.SMCCC_VERSION: _value(smccc.VERSION_1_2),
    smccc.SMCCC_ARCH_FEATURES: _value(NOT_SUPPORTED),
}
