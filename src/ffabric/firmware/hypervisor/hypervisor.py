"""The hypervisor at NS-EL2: VMs, their vCPUs on PEs, and the relay to the secure world.

A call of a VM is answered here if it concerns VMs alone; what concerns SPs is repainted (IPA to PA,
the VM's id verified) and made as the hypervisor's own SMC (`spmc_link/sequences.py`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.version import V1_1
from ffabric.abi.words import MASK32, SECURE_BIT
from ffabric.firmware.hypervisor import boot, notifications
from ffabric.firmware.hypervisor.calls import SCHEDULER_CALLS, VM_CALLS
from ffabric.firmware.hypervisor.spmc_link import relay
from ffabric.firmware.hypervisor.spmc_link.retried import Retried
from ffabric.firmware.hypervisor.spmc_link.sequences import Sequences
from ffabric.firmware.hypervisor.vms import interrupts, lifetime, vcpu
from ffabric.firmware.hypervisor.vms.frames import Frames
from ffabric.firmware.hypervisor.vms.ids import VmIds
from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.messages import direct
from ffabric.firmware.state.context import State
from ffabric.firmware.state.mailbox import Mailbox
from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
from ffabric.firmware.state.region import Region
from ffabric.firmware.state.rules import refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ffabric.abi.ffa.messages import Message
    from ffabric.firmware.hypervisor.optee.mediator import Mediator
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.machine.machine import PE, Machine
    from ffabric.machine.pages import PagePool


class Hypervisor(Sequences):
    """The non-secure partition manager."""

    name = "hypervisor"
    npi = 9
    """An SGI, as the SRI is, of those that Linux leaves to firmware: 8 to 15."""

    def __init__(
        self, machine: Machine, pool: PagePool, version: int, monitor: Monitor, frames: Frames
    ) -> None:
        super().__init__(machine, pool, version, monitor)
        self.frames = frames
        self.link_version = version
        """What the SPMC and it speak: the lower of their versions."""
        self.mailbox: Mailbox | None = None
        """The hypervisor's own RX/TX pair with the SPMC."""
        self.mailbox_base = 0
        self.secure_partitions: list[info.PartitionInfo] = []
        """What the SPMC says of its partitions, asked once at boot."""
        self.secure_services: dict[UUID, list[info.PartitionInfo]] = {}
        """What it says of a UUID, if it does not tell all UUIDs at once (before v1.2)."""
        self.secure_ids: frozenset[int] = frozenset()
        """Their endpoint ids."""
        self.shared_mailboxes: set[int] = set()
        """VMs whose RX/TX pair the SPMC knows."""
        self.eventfds: dict[int, Callable[[int], None]] = {}
        """VM -> who is told that a vCPU has notifications and injects the interrupt: its VMM."""
        self.mediator: Mediator | None = None
        """Who passes the calls of VMs to OP-TEE on, if there is an OP-TEE below EL3."""
        self.retried = Retried(self)
        """What SPs were too busy for."""
        self.vm_ids = VmIds(self.retried.mentions)
        """Endpoint ids: those of VMs that are, and those that a new one may have."""
        self.held: dict[tuple[int, int], Partition] = {}
        """Level-triggered interrupts (INTID, PE that took it) that a VM is not done with."""
        self.on_destroyed: Callable[[Partition], None] | None = None
        """Gets each VM of which nothing is left."""
        monitor.normal = self

    def boot(self, pe: PE) -> Next:
        """The normal world of ``pe`` starts: the primary sets up, every PE then schedules."""
        interrupts.enable(self, pe)
        if pe.index == 0:
            return self.run_sequence(pe, None, boot.primary(self, pe))
        return self.schedule(pe)

    # What is under way.

    def sp_has_run(self, pe: PE) -> None:
        """An SP has run on ``pe``: what SPs were too busy for may be possible now."""
        self.retried.sp_has_run(pe)

    def is_multiprocessor(self, sp: int) -> bool:
        """Whether an SP has several contexts."""
        return any(each.id == sp and each.contexts > 1 for each in self.secure_partitions)

    def is_occupied(self, sp: int) -> bool:
        """Whether the only context of an SP has a request of some VM to serve."""
        return self.is_asked(sp) and not self.is_multiprocessor(sp)

    def orphaned(self, pe: PE, answer: list[int]) -> None:
        """An SP has not finished the request of a VM that is dead: it gets the cycles it needs."""
        if answer[0] & MASK32 == fid.FFA_YIELD:
            lifetime.rest(self, pe, answer)
        else:
            self.defer(partial(lifetime.finish, self, answer[1] & MASK32), pe)

    # vCPUs.

    def schedule(self, pe: PE) -> Next:
        """Choose the vCPU that ``pe`` runs next; None: nothing is ready."""
        queue = self.cpus[pe.index].ready
        if not queue:
            return None
        ctx = queue.pop(self.machine.choices.pick(len(queue), "vcpu"))
        ctx.pe = pe
        return ctx

    def wake(self, ctx: ExecutionContext) -> None:
        """``ctx`` can run again: queue it on its PE, and give it the PE if that has nothing."""
        pe = ctx.pe
        assert pe is not None
        queue = self.cpus[pe.index].ready
        if ctx not in queue and pe.current is not ctx:
            queue.append(ctx)
        busy = pe.current is not None or self.cpus[pe.index].sequence is not None
        if pe.on and not busy and self.monitor.started[pe.index]:
            self.machine.schedule(pe, self.schedule(pe))

    def give(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The scheduler takes ``pe`` from the vCPU it runs and gives it to ``ctx``."""
        queue = self.cpus[pe.index].ready
        if ctx in queue:
            queue.remove(ctx)
            ctx.pe = pe
        elif ctx.state is State.WAITING:
            ctx.enter(pe)
        else:
            return None
        current = pe.current
        if isinstance(current, ExecutionContext) and not current.secure:
            queue.append(current)
        return ctx

    def exception(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """A vCPU aborted, idles, used up its slice or crashed."""
        return vcpu.EXCEPTIONS[exit_](self, pe, ctx)

    def wait(self, pe: PE, ctx: ExecutionContext) -> Next:
        """FFA_MSG_WAIT of a VM: the vCPU waits for a request, another one runs."""
        if ctx.partition.id in self.shared_mailboxes and not cycles.retains_rx(ctx):
            return self.run_sequence(pe, ctx, relay.wait(self, pe, ctx))
        return self.waits(pe, ctx)

    def waits(self, pe: PE, ctx: ExecutionContext) -> Next:
        """``ctx`` is WAITING from now on: who runs next?"""
        asker = ctx.caller
        if asker is None:
            ctx.wait()
            return self.schedule(pe)
        asker.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
        return cycles.give_back(self, pe, ctx, asker)

    def yielded(self, pe: PE, ctx: ExecutionContext) -> Next:
        """FFA_YIELD of a VM: the other vCPUs of the PE have their turn."""
        if not self.cpus[pe.index].ready:
            return ctx
        self.cpus[pe.index].ready.append(ctx)
        return self.schedule(pe)

    def ended(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The VM of ``ctx`` has come to its end: it is destroyed, then the PE goes on."""
        lifetime.stop(self, ctx.partition, ctx)
        return self.run_own(pe, ctx, lifetime.destroy(self, ctx.partition, pe))

    def create(self, vm: Partition, pe: PE | None = None) -> None:
        """Let a VM that was added while the system runs begin; ``pe`` tells the SPs."""
        self.run_deferred(partial(lifetime.create, self, vm), pe)

    def destroy(self, vm: Partition, reason: str, pe: PE | None = None) -> None:
        """End ``vm`` from outside, whatever its vCPUs are doing; ``pe`` does what is to be done.

        Nothing may be executing. Its vCPUs never run again; the rest is done when the PE can.
        """
        if vm.alive:
            cycles.stop(vm, reason)
            lifetime.stop(self, vm)
            self.run_deferred(partial(lifetime.destroy, self, vm), pe)

    def aborted(self, pe: PE, ctx: ExecutionContext) -> Next:
        """A vCPU of a dead VM had the PE: who runs next?"""
        return self.schedule(pe)

    def foreign(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """Calls that are not of the Framework: PSCI and SMCCC for the VM."""
        if fid.is_ffa(function):
            return super().foreign(pe, caller, function)
        return vcpu.call(self, pe, caller, function)

    def interrupt(self, pe: PE, intid: int, running: ExecutionContext | None) -> Next:
        """A physical non-secure interrupt: the hypervisor takes it for the VM that owns it."""
        return interrupts.physical(self, pe, intid, running)

    def virtual_interrupts_changed(self, vm: Partition) -> None:
        """The virtual GIC of ``vm`` changed: bring its vCPUs' lines up to date."""
        for ctx in vm.contexts:
            interrupts.refresh(self, ctx)
        if self.held:
            interrupts.release(self, vm)

    def schedule_receivers(self, pe: PE, running: ExecutionContext | None) -> Next:
        """The SRI: give cycles to whoever has notifications."""
        return self.run_own(pe, running, notifications.schedule_receivers(self, pe))

    # What concerns the secure world.

    def is_remote(self, endpoint: int) -> bool:
        """SPs are the SPMC's."""
        return endpoint in self.secure_ids

    def forward_request(self, pe: PE, caller: ExecutionContext, receiver: int) -> Next:
        """A direct request to an SP."""
        if not receiver & SECURE_BIT:
            refuse(direct.RECEIVER, got=receiver, expected="a known endpoint")
        two = caller.x[0] & MASK32 == fid.FFA_MSG_SEND_DIRECT_REQ2
        needed = info.DIRECT_REQ2_SEND if two else info.DIRECT_REQ_SEND
        if not caller.partition.properties & needed:
            refuse(direct.SEND_PROPERTY, got=caller.partition.properties, expected=needed)
        return self.forward(pe, caller)

    def forward_run(self, pe: PE, caller: ExecutionContext, target: int) -> Next:
        """FFA_RUN of an SP's context; if it serves a request, by whoever made the request."""
        owner = self.unfinished.get(target)
        if owner is not None and owner is not caller:
            refuse(cycles.RUN_CALLER, got=caller.name, expected=owner.name)
        return self.forward(pe, caller)

    def foreign_partitions(
        self, asker: Partition, *, in_registers: bool
    ) -> list[info.PartitionInfo]:
        """The SPs, as the SPMC described them."""
        return self.secure_partitions

    def foreign_services(self, wanted: UUID) -> list[info.PartitionInfo]:
        """The SPs that the SPMC has named for ``wanted``."""
        return self.secure_services.get(wanted, [])

    def forward_message(
        self, pe: PE, caller: ExecutionContext, message: Message, *, delayed: bool
    ) -> Next:
        """FFA_MSG_SEND2 to an SP: the SPMC reads it from the VM's own TX."""
        return self.run_sequence(pe, caller, relay.send_message(caller))

    def hand_over(
        self,
        pe: PE,
        caller: ExecutionContext,
        message: Message,
        target: Partition,
        *,
        delayed: bool,
    ) -> Next:
        """FFA_MSG_SEND2 to a VM, whose RX the SPMC may be filling."""
        if target.id not in self.shared_mailboxes:
            return super().hand_over(pe, caller, message, target, delayed=delayed)
        return self.run_sequence(pe, caller, relay.hand_over(self, pe, caller, message, target))

    def notifies_elsewhere(self, endpoint: int) -> bool:
        """What SPs set and get is kept by the SPMC."""
        return bool(endpoint & SECURE_BIT)

    def forward_notification(self, pe: PE, caller: ExecutionContext) -> Next:
        """A VM's notification call that concerns SPs."""
        return self.run_sequence(pe, caller, notifications.relay(self, caller))

    def notify_pending(
        self, pe: PE, state: NotificationState, vcpu: int | None, *, delayed: bool
    ) -> None:
        """A VM has notified a VM."""
        notifications.pending(self, state, vcpu)

    def commit(self, pe: PE, caller: ExecutionContext, region: Region) -> Next:
        """Memory for VMs alone is relayed here; memory for an SP goes to the SPMC, repainted."""
        if not self.secure_ids.isdisjoint([each.endpoint for each in region.borrowers]):
            if self.regions.pending.get(region.handle) is region:
                self.regions.remove(region)
            return self.run_sequence(pe, caller, relay.send_memory(self, caller, region))
        return super().commit(pe, caller, region)

    def reclaim(self, pe: PE, caller: ExecutionContext, region: Region, flags: int) -> Next:
        """Memory that the SPMC relays comes back from there first."""
        if region.remote:
            return self.run_sequence(pe, caller, relay.reclaim_memory(self, caller, region, flags))
        return super().reclaim(pe, caller, region, flags)

    def mailbox_changed(self, pe: PE, caller: ExecutionContext, *, mapped: bool) -> Next:
        """The SPMC fills the RX of VMs that take indirect messages, so it must know them."""
        vm = caller.partition
        taken = vm.properties & info.INDIRECT_MESSAGES and self.link_version >= V1_1
        if mapped and taken:
            return self.run_sequence(pe, caller, relay.map_mailbox(self, caller))
        if not mapped and vm.id in self.shared_mailboxes:
            return self.run_sequence(pe, caller, relay.unmap_mailbox(self, caller))
        return caller

    def released(self, pe: PE, caller: ExecutionContext) -> Next:
        """A VM's RX goes back to its producer, which is the SPMC if it knows the buffer."""
        if caller.partition.id in self.shared_mailboxes:
            return self.run_sequence(pe, caller, relay.release_mailbox(self, caller))
        return caller

    def disown(self, vm: Partition) -> list[Region]:
        """``vm`` is gone: it gives back what it had borrowed, and others lose what it sent.

        The result is what the SPMC relays, too: nobody owns it until the SPMC has given it back.
        """
        self.forget_endpoint(vm)
        shared = [each for each in self.regions.live.values() if each.owner is vm]
        for region in shared:
            self.regions.remove(region)
        return shared

    def owner_gone(self, region: Region) -> None:
        """The VM that sent ``region`` is gone: other VMs lose it, for its frames are needed."""
        self.withdraw(region)
        if not region.remote:
            super().owner_gone(region)

    def relinquished(self, region: Region) -> None:
        """A VM has relinquished ``region``: if its owner is being destroyed, that ends it."""

    def add(self, partition: Partition, contexts: int) -> None:
        """Create a VM with ``contexts`` vCPUs; its memory and properties are set."""
        partition.calls = SCHEDULER_CALLS if partition.may_schedule else VM_CALLS
        partition.version = min(partition.version, self.version)
        partition.contexts = [ExecutionContext(partition, index, self) for index in range(contexts)]
        self.partitions[partition.id] = partition
        self.vm_ids.take(partition.id)
