"""The SPMC at S-EL2: secure partitions, and the normal world behind a gate.

To the SPMC the normal world is an endpoint with one context per PE, the *gate*, RUNNING while the
PE executes there. Its stage-2 table is never walked by hardware: it is the SPMC's ledger of
non-secure memory, in which what the normal world sends is no longer its own (DEN0077A 1.2, section
4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import SECURE_BIT
from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.dispatch import Manager
from ffabric.firmware.manager.messages import indirect
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.spmc import interrupts, notifications
from ffabric.firmware.spmc.calls import NORMAL_WORLD_CALLS, SECURE_CALLS
from ffabric.firmware.state import reply
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.partition import Action, ExecutionContext, Next, Partition
from ffabric.firmware.state.rules import Refused, refuse, rule
from ffabric.firmware.state.virtual_interrupts import FIQ, IRQ
from ffabric.machine import exits
from ffabric.machine.gic import FIRST_SPI
from ffabric.machine.machine import PE, Machine

if TYPE_CHECKING:
    from ffabric.abi.ffa.messages import Message
    from ffabric.abi.ffa.partition_info import PartitionInfo
    from ffabric.firmware.monitor.logical import LogicalPartitions
    from ffabric.firmware.spmc.physical import VmMailbox
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.machine.pages import PagePool
    from ffabric.machine.stage2 import Stage2

SPMC_ID = 0x8000
NORMAL_WORLD_ID = 0

NOT_AN_SP = rule(
    "direct.req.to_normal_world",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 7.4",
    "An SP sends direct requests to SPs; the normal world is reached by responses and messages.",
)
RUN_NOT_SP = rule(
    "run.not_an_sp",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 14.4",
    "The target of FFA_RUN in the secure world is an SP.",
)


class Spmc(Manager):
    """The secure partition manager core."""

    name = "spmc"

    def __init__(
        self,
        machine: Machine,
        pool: PagePool,
        version: int,
        *,
        spmc_id: int = SPMC_ID,
        other_world: Stage2,
        properties: int,
        logical: LogicalPartitions,
    ) -> None:
        super().__init__(machine, pool, version)
        self.spm_id = spmc_id
        self.logical = logical
        """Of EL3: SPs may call them."""
        self.boot_order: list[Partition] = []
        self.vm_mailboxes: dict[int, VmMailbox] = {}
        """RX/TX pairs of VMs, which the hypervisor described."""
        self.normal_world = self._make_normal_world(other_world, properties)
        self.serves_vms = True
        """The normal world has an EL2, and VMs above it."""
        self.delayed_sri = [False] * len(machine.pes)
        """PEs where an SP asked to raise the SRI when the PE leaves the secure world."""
        self.interrupt_owners: dict[int, Partition] = {}
        """Secure physical interrupts and the SP that each belongs to."""

    def _make_normal_world(self, table: Stage2, properties: int) -> Partition:
        world = Partition(
            id=NORMAL_WORLD_ID,
            name="normal-world",
            secure=False,
            properties=properties,
            version=self.version,
            stage2=table,
        )
        world.gateway = True
        world.may_schedule = True
        world.calls = NORMAL_WORLD_CALLS
        world.contexts = [
            ExecutionContext(world, index, self) for index in range(len(self.machine.pes))
        ]
        self.gates = world.contexts
        return world

    def add(self, partition: Partition, contexts: int) -> None:
        """Create a secure partition with ``contexts`` execution contexts."""
        partition.calls = SECURE_CALLS
        partition.version = min(partition.version, self.version)
        partition.contexts = [ExecutionContext(partition, index, self) for index in range(contexts)]
        for ctx in partition.contexts:
            if partition.action is Action.MANAGED_EXIT:
                ctx.virq.enabled[self.mei] = FIQ if partition.managed_exit_fiq else IRQ
        self.partitions[partition.id] = partition
        self.boot_order.append(partition)
        self.boot_order.sort(key=lambda each: each.boot_order)

    def own_interrupt(self, intid: int, partition: Partition) -> None:
        """A device of ``partition`` raises the physical interrupt ``intid``.

        An S-EL0 partition cannot enable it: for that one it is enabled from the start.
        """
        self.interrupt_owners[intid] = partition
        if partition.el == 0:
            for ctx in partition.contexts:
                ctx.virq.enabled[intid] = IRQ
            if intid >= FIRST_SPI:
                self.machine.gic.configure(intid, enabled=True)

    def interrupt_reconfigured(
        self, ctx: ExecutionContext, intid: int, command: int, value: int
    ) -> bool:
        """An SP moves or enables the interrupt of its device; others are as the SPMC has them."""
        if self.interrupt_owners.get(intid) is not ctx.partition:
            return True
        return interrupts.reconfigure(self, ctx, intid, command, value)

    def interrupt_deactivated(self, ctx: ExecutionContext, intid: int) -> None:
        """An SP has handled the interrupt of its device: the GIC may signal it again."""
        if self.interrupt_owners.get(intid) is ctx.partition:
            interrupts.end(self, ctx, intid)

    def interrupt_enabled(self, ctx: ExecutionContext, intid: int, on: bool) -> None:
        """An SP enables the interrupt of its device: so does the GIC, for the SP's PE."""
        if self.interrupt_owners.get(intid) is ctx.partition:
            assert ctx.pe is not None
            self.machine.gic.configure(intid, ctx.pe.index, enabled=on)

    # Boot: each SP runs on the PE until its first FFA_MSG_WAIT, in boot order.

    def boot(self, pe: PE) -> ExecutionContext:
        """The next context to initialise on ``pe``; the gate when all have been."""
        for partition in self.boot_order:
            ctx = self._to_boot(pe, partition)
            if ctx is not None:
                self._start(pe, ctx)
                return ctx
        gate = self.gates[pe.index]
        if gate.state is State.OFF:
            gate.power_on(pe, Model.NORMAL_WORLD)
        gate.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
        return gate

    def _to_boot(self, pe: PE, partition: Partition) -> ExecutionContext | None:
        ctx = partition.context_on(pe)
        if ctx is None or ctx.state is not State.OFF or not partition.alive:
            return None
        primary = ctx.index == 0
        if not primary and partition.secondary_entry is None:
            return None
        return ctx

    def _start(self, pe: PE, ctx: ExecutionContext) -> None:
        partition = ctx.partition
        ctx.initialise(pe)
        entry = partition.entry if ctx.index == 0 else partition.secondary_entry
        assert entry is not None
        assert ctx.runner is not None
        ctx.runner.start(entry, partition.boot_information)
        if self.tracer is not None:
            self.tracer.event(pe, "start", context=ctx.name, entry=entry)

    # The answers that only an SPMC gives.

    def exception(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """An SP's context aborted, idles, used up its slice or crashed."""
        return _EXCEPTIONS[exit_](self, pe, ctx)

    def wait(self, pe: PE, ctx: ExecutionContext) -> Next:
        """FFA_MSG_WAIT of an SP: what follows depends on why it ran."""
        asker = ctx.caller
        if asker is None:
            ctx.wait()
            nxt = interrupts.done(self, pe, ctx)
        else:
            asker.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
            nxt = cycles.give_back(self, pe, ctx, asker)
        if ctx.attention:
            nxt = self.settle(pe, ctx, nxt)
        return nxt if nxt is not None else self.boot(pe)

    def settle(self, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
        """An SP has entered WAITING, maybe with interrupts pending: it handles those first."""
        return interrupts.settle(self, pe, ctx, nxt)

    def ended(self, pe: PE, ctx: ExecutionContext) -> Next:
        """An SP failed: its other contexts lose their PEs, too."""
        for other in ctx.partition.contexts:
            if other is not ctx and other.pe is not None and other.pe.current is other:
                self.switch(other.pe, cycles.unwind(self, other.pe, other))
        return super().ended(pe, ctx)

    def aborted(self, pe: PE, ctx: ExecutionContext) -> Next:
        """An SP failed: booting goes on with the next, an interrupted context goes on."""
        return interrupts.done(self, pe, ctx) or self.boot(pe)

    def forward_request(self, pe: PE, caller: ExecutionContext, receiver: int) -> Next:
        """A direct request to an EL3 logical partition goes up; to anybody else it is wrong."""
        if receiver in self.logical:
            self.logical.request(pe, caller.x)
            return caller
        refuse(NOT_AN_SP, got=receiver, expected="an SP")

    def forward_run(self, pe: PE, caller: ExecutionContext, target: int) -> Next:
        """FFA_RUN of something that is no SP."""
        refuse(RUN_NOT_SP, got=target >> 16, expected="an SP")

    def foreign(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """Calls that are not of the Framework."""
        if fid.is_ffa(function):
            return super().foreign(pe, caller, function)
        caller.x[0] = 0xFFFFFFFFFFFFFFFF
        return caller

    def foreign_partitions(self, asker: Partition, *, in_registers: bool) -> list[PartitionInfo]:
        """The logical partitions at EL3: SPs may discover them, and EL3 writes into no RX."""
        return [] if asker.gateway or not in_registers else self.logical.describe()

    def mailbox_of(self, partition: Partition, sender: int) -> Mailbox | None:
        """The gate sends messages for the VMs whose buffers it has described."""
        if partition.gateway and sender:
            return self.vm_mailboxes.get(sender)
        return super().mailbox_of(partition, sender)

    def notify_pending(
        self, pe: PE, state: NotificationState, vcpu: int | None, *, delayed: bool
    ) -> None:
        """A notification is pending for an SP or a VM: its scheduler has to know."""
        notifications.pending(self, pe, delayed=delayed)

    def entering(self, pe: PE, ctx: ExecutionContext) -> None:
        """An SP gets cycles: signal what is pending for it."""
        notifications.entering(self, ctx)

    def forward_message(
        self, pe: PE, caller: ExecutionContext, message: Message, *, delayed: bool
    ) -> Next:
        """FFA_MSG_SEND2 of an SP to the normal world: into the VM's RX, or the kernel's."""
        vm = message.receiver
        box = self.vm_mailboxes.get(vm) if vm else self.normal_world.mailbox
        if box is None:
            refuse(mailbox.NO_MAILBOX, got=vm, expected="a VM with an RX/TX pair")
        if box.full or box.foreign:
            refuse(mailbox.RX_BUSY, got=vm, expected="RX owned by the producer")
        indirect.deliver(
            self,
            pe,
            message,
            self.normal_world,
            box=box,
            state=self.remote_notifications.get(vm),
            delayed=delayed,
        )
        reply.success(caller.x)
        return caller

    def speaks_for(self, partition: Partition, sender: int) -> bool:
        """Through the gate a hypervisor speaks for its VMs; a kernel at EL1 has none."""
        if partition.gateway and self.serves_vms:
            return not sender & SECURE_BIT
        return sender == partition.id

    def is_remote(self, endpoint: int) -> bool:
        """Endpoints of the normal world are its own business."""
        return not endpoint & SECURE_BIT

    def leaving(self, pe: PE) -> None:
        """``pe`` goes to the normal world: what was put off until then happens."""
        if self.delayed_sri[pe.index]:
            notifications.leaving(self, pe)

    def give(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The normal world's scheduler lends cycles to ``ctx`` of an SP, as FFA_RUN would."""
        gate = self.gates[pe.index]
        try:
            cycles.judge_run(pe, gate, ctx)
        except Refused:
            return None
        if ctx.state is State.WAITING:
            gate.lend(ctx, pe)
        elif ctx.state is State.PREEMPTED:
            cycles.go_on(pe, gate, ctx)
        else:
            return None
        return ctx


def _crash(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    return cycles.abort(spmc, pe, ctx, ctx.crash)


def _abort(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    """A stage-2 fault: an S-EL1 partition takes it as an abort of its own, S-EL0 cannot."""
    fault = ctx.fault
    assert fault is not None
    if spmc.tracer is not None:
        spmc.tracer.event(
            pe, "abort", context=ctx.name, ipa=fault.ipa, write=fault.write, fault=fault.kind
        )
    if ctx.partition.el == 0:
        return cycles.abort(spmc, pe, ctx, f"{fault.kind} abort at {fault.ipa:#x}")
    assert ctx.runner is not None
    ctx.runner.inject_abort(fault.syndrome, fault.va)
    return ctx


def _idle(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    spmc.machine.idle(pe)
    return ctx


def _slice(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    return ctx


_EXCEPTIONS = {
    exits.ABORT: _abort,
    exits.IDLE: _idle,
    exits.SLICE: _slice,
    exits.CRASH: _crash,
}
