"""Physical non-secure interrupts: the hypervisor takes them and passes them to a VM's own GIC.

An edge is over when it has been passed on. A level-triggered interrupt stays active in the physical
GIC until the VM is done with the virtual one: only then does its line fall, and if it has not, the
interrupt is pending again (the HW bit of a list register, Arm IHI 0069, 11.2.4). One that no VM can
be done with is disabled.

A private interrupt (PPI) of a PE is a private one of the vCPU that the VM has there.

An SP that a vCPU has called has its PE. What is pending for that vCPU, or wakes another one of the
PE, comes as a non-secure interrupt of the hypervisor's own (its timer, or an SGI from the PE on
which a device is emulated): the SPMC preempts the SP, unless its manifest says otherwise, and the
hypervisor decides who runs (DEN0077A 1.2, section 9.3). The caller goes on with FFA_INTERRUPT, or
whoever was woken first. One interrupt stops an SP once: a vCPU that runs it again without taking
what is pending keeps nobody from coming to an end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi import hafnium
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.manager import cycles, virtual_interrupts
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import vm_of
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine.devices.generic_timer import PPI_EL2
from ffabric.machine.gic import GROUP1NS, is_private
from ffabric.machine.gic import State as Interrupt

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Steps
    from ffabric.firmware.state.endpoints import Vm
    from ffabric.machine.context import PE

IRQ = 0


def enable(hypervisor: Hypervisor, pe: PE) -> None:
    """Let ``pe`` take non-secure interrupts, the SRI among them."""
    gic = hypervisor.machine.gic
    gic.sysreg_write(pe.index, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.configure(hypervisor.sri, pe=pe.index, enabled=True)


def take(hypervisor: Hypervisor, pe: PE) -> None:
    """Take what is pending on ``pe`` while an SP has its cycles from a sequence.

    If the receivers of notifications have to be scheduled, that is done when the sequence is over.
    """
    gic = hypervisor.machine.gic
    taken = None
    while (pending := gic.pending(pe.index)) != taken and pending is not None:
        if pending[1] != GROUP1NS:
            return
        taken = pending
        if accept(hypervisor, pe, pending[0]):
            hypervisor.cpus[pe.index].sri_due = True


def accept(hypervisor: Hypervisor, pe: PE, intid: int) -> bool:
    """Pass ``intid`` to whom it concerns; True if that is the hypervisor as the scheduler."""
    gic = hypervisor.machine.gic
    edge = gic.take(pe.index, intid)
    if intid == hypervisor.sri:
        for vm in hypervisor.partitions.values():
            if vm.may_schedule:
                inject(hypervisor, vm, intid, pe.index % len(vm.contexts))
                break
        else:
            return True
    elif hypervisor.mediator is not None and hypervisor.mediator.interrupted(intid):
        return False
    for vm in hypervisor.partitions.values():
        if intid not in vm.interrupts:
            continue
        vcpu = _vcpu_on(hypervisor, vm, pe.index)
        if not is_private(intid) or vcpu is not None:
            inject(hypervisor, vm, intid, vcpu if is_private(intid) else None)
            if not edge and (vm.gic is not None or vm.paravirtual):
                hypervisor.held[intid, pe.index] = vm
            if vm.paravirtual:
                tell_primary(hypervisor, intid, pe.index)
    if not edge and (intid, pe.index) not in hypervisor.held:
        gic.configure(intid, pe.index, enabled=False)
        gic.deactivate(pe.index, intid)
    return False


def release(hypervisor: Hypervisor, vm: Vm) -> None:
    """End the level-triggered interrupts that ``vm`` is done with, or all if it is dead."""
    for (intid, pe), holder in list(hypervisor.held.items()):
        if holder is vm and (not vm.alive or _is_done(hypervisor, vm, intid, pe)):
            del hypervisor.held[intid, pe]
            hypervisor.machine.gic.deactivate(pe, intid)


def _is_done(hypervisor: Hypervisor, vm: Vm, intid: int, pe: int) -> bool:
    if vm.gic is None:
        return not any(intid in ctx.virq.pending or intid in ctx.virq.active for ctx in vm.contexts)
    return vm.gic.state(intid, _vcpu_on(hypervisor, vm, pe)) is Interrupt.INACTIVE


def _vcpu_on(hypervisor: Hypervisor, vm: Vm, pe: int) -> int | None:
    """The vCPU of ``vm`` that runs on PE ``pe``, the first if there are several."""
    return next((ctx.index for ctx in vm.contexts if home(hypervisor, ctx).index == pe), None)


def home(hypervisor: Hypervisor, ctx: ExecutionContext) -> PE:
    """The PE on which a vCPU runs."""
    pes = hypervisor.machine.pes
    vm = vm_of(ctx.partition)
    return pes[(vm.home if vm.up else ctx.index) % len(pes)]


def inject(hypervisor: Hypervisor, vm: Vm, intid: int, vcpu: int | None = None) -> None:
    """Make ``intid`` pending in the VM's virtual GIC, or straight on its vIRQ without one."""
    if vm.gic is not None:
        vm.gic.set_pending(intid, vcpu)
        return
    ctx = vm.contexts[vcpu or 0]
    if vm.paravirtual:
        pend(ctx, intid)
        return
    assert ctx.runner is not None
    ctx.runner.interrupt(IRQ, asserted=True)
    _signal(hypervisor, ctx)


def pend(ctx: ExecutionContext, intid: int) -> None:
    """Make ``intid`` pending for a vCPU of a secondary VM; the primary has to run it."""
    virtual_interrupts.pend(ctx, intid)


def tell_primary(hypervisor: Hypervisor, intid: int, pe: int) -> None:
    """The primary VM gets ``intid`` on ``pe``, for it has others to schedule."""
    vm = hypervisor.primary
    if vm is not None and vm.alive:
        inject(hypervisor, vm, intid, pe % len(vm.contexts))


def timer(hypervisor: Hypervisor, ctx: ExecutionContext, met: bool) -> None:
    """The condition of a timer of a secondary's vCPU is met now, or not any more.

    The primary hears of it by the interrupt of the hypervisor's own timer, and runs the vCPU.
    """
    if not met:
        ctx.virq.forget(hafnium.VIRTUAL_TIMER_INTID)
        virtual_interrupts.drive(ctx)
    elif ctx.partition.alive:
        pend(ctx, hafnium.VIRTUAL_TIMER_INTID)
        if ctx.state is not State.RUNNING:
            assert ctx.pe is not None
            tell_primary(hypervisor, PPI_EL2, ctx.pe.index)


def refresh(hypervisor: Hypervisor, ctx: ExecutionContext) -> None:
    """Set the vIRQ line of ``ctx`` to what its virtual GIC says."""
    gic = ctx.partition.gic
    if gic is None or ctx.runner is None:
        return
    signalled = gic.pending(ctx.index)
    pending = signalled is not None
    ctx.runner.interrupt(IRQ, asserted=pending)
    ctx.attention = pending
    if signalled is None or signalled[0] != ctx.told_of:
        ctx.told_of = None
    if pending:
        _signal(hypervisor, ctx)


def _signal(hypervisor: Hypervisor, ctx: ExecutionContext) -> None:
    """An interrupt is pending for ``ctx``: whatever it waits for, it can go on."""
    if ctx.state is State.RUNNING:
        assert ctx.pe is not None
        cpu = hypervisor.cpus[ctx.pe.index]
        waited = ctx in cpu.ready
        hypervisor.wake(ctx)
        if cpu.caller is not None and not waited:
            _hurry(hypervisor, ctx)
    elif ctx.state is State.WAITING:
        end_wait(hypervisor, ctx)
    elif ctx.state is State.BLOCKED:
        hypervisor.machine.look_at_interrupts()


def end_wait(hypervisor: Hypervisor, ctx: ExecutionContext) -> None:
    """``ctx`` is WAITING with an interrupt pending: it has its turn, as with FFA_RUN."""
    pe = ctx.pe
    assert pe is not None
    cycles.answer_wait(ctx)
    ctx.enter(pe)
    hypervisor.cpus[pe.index].ready.append(ctx)
    hypervisor.fill(pe)
    _hurry(hypervisor, ctx)


def _hurry(hypervisor: Hypervisor, ctx: ExecutionContext) -> None:
    """``ctx`` is ready since an interrupt has come: if an SP has its PE, it has its turn first."""
    assert ctx.pe is not None
    cpu = hypervisor.cpus[ctx.pe.index]
    if not cpu.has_forwarded or cpu.urgent is not None:
        return
    cpu.urgent = ctx
    sequences.defer(hypervisor, partial(_give_turn, hypervisor), ctx.pe)
    hypervisor.machine.look_at_interrupts()


def _give_turn(hypervisor: Hypervisor, pe: PE) -> Steps:
    """The PE is the normal world's again: whoever is urgent runs, and who would have, later."""
    cpu = hypervisor.cpus[pe.index]
    urgent, cpu.urgent = cpu.urgent, None
    goes_on = cpu.preempted
    if urgent in cpu.ready and (goes_on is None or goes_on.state is not State.ABORTED):
        cpu.ready.remove(urgent)
        if goes_on is not None:
            cpu.ready.append(goes_on)
        cpu.preempted = urgent
    yield from ()


def stops_call(hypervisor: Hypervisor, pe: PE) -> bool:
    """Whether the SP that a vCPU has called on ``pe`` is to stop for an interrupt of a vCPU there.

    The calls that the hypervisor makes itself on behalf of a vCPU are brought to their end.
    """
    cpu = hypervisor.cpus[pe.index]
    caller = cpu.caller
    if caller is None or not cpu.has_forwarded:
        return False
    if cpu.urgent is not None:
        return True
    intid = _signalled(caller)
    return intid is not None and intid != caller.told_of


def tell(ctx: ExecutionContext) -> None:
    """``ctx`` is given FFA_INTERRUPT: it can take what is pending for it."""
    ctx.told_of = _signalled(ctx)


def taken_from_sp(hypervisor: Hypervisor, pe: PE) -> None:
    """An SP that a vCPU has called makes way for the interrupt that is pending on ``pe``.

    Whoever it wakes has its turn before the vCPU whose call is not finished.
    """
    cpu = hypervisor.cpus[pe.index]
    pending = hypervisor.machine.gic.pending(pe.index)
    if (
        cpu.has_forwarded
        and pending is not None
        and pending[1] == GROUP1NS
        and pending[0] != hypervisor.sri
    ):
        accept(hypervisor, pe, pending[0])


def is_signalled(ctx: ExecutionContext) -> bool:
    """Whether the virtual GIC of ``ctx`` signals an interrupt to it."""
    return _signalled(ctx) is not None


def _signalled(ctx: ExecutionContext) -> int | None:
    gic = ctx.partition.gic
    signalled = None if gic is None else gic.pending(ctx.index)
    return None if signalled is None else signalled[0]
