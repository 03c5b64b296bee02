"""The hypervisor at NS-EL2: what it keeps of VMs, of PEs and of the secure world.

A call of a VM is answered here if it concerns VMs alone; what concerns SPs is *repainted* (IPA to
PA, the VM's id verified) and made as the hypervisor's own SMC (`spmc_link`). VMs, their vCPUs and
their interrupts are in `vms`, the mediator that shares one OP-TEE among VMs in `optee`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from ffabric.abi.ffa.memory import HANDLE_HYPERVISOR
from ffabric.firmware.hypervisor.vms.ids import VmIds
from ffabric.firmware.manager.manager import Manager
from ffabric.firmware.state.endpoints import Vm, World
from ffabric.firmware.state.partition import ExecutionContext, Next

if TYPE_CHECKING:
    from uuid import UUID

    from ffabric.abi.ffa.partition_info import PartitionInfo
    from ffabric.firmware.hypervisor.vms.donations import Donations
    from ffabric.firmware.hypervisor.vms.frames import Frames
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE
    from ffabric.machine.machine import Machine
    from ffabric.machine.translation.pages import PagePool

HYPERVISOR_ID = 0


def _no_timer(_ctx: ExecutionContext) -> int:
    return 0


Sequence = Generator[list[int], list[int], Next]
"""Yields the registers of an SMC, is sent its answer, returns what the PE runs next."""

Steps = Generator[list[int], list[int], None]
"""Part of a sequence, or a deferred one, that has no result."""

Finish = Callable[["Hypervisor", ExecutionContext, list[int]], None]
"""(hypervisor, caller, answer of the SMC that was made for it) -> the caller has its answer."""

Deferred = Callable[["PE"], Steps]
"""Begins the steps of a deferred sequence on a PE."""


class Mediator(Protocol):
    """Who passes calls of VMs on to a trusted OS below EL3."""

    def created(self, vm: Vm) -> Steps:
        """Tell the trusted OS of ``vm``."""

    def destroyed(self, vm: Vm) -> Steps:
        """Tell the trusted OS that ``vm`` is gone."""

    def delays(self, vm: Vm, end: Deferred) -> bool:
        """Whether the trusted OS executes a call of ``vm``, which is dead: ``end`` comes later."""

    def interrupted(self, intid: int) -> bool:
        """Whether an SPI that has come is one with which the trusted OS notifies VMs."""

    def sequence(self, pe: PE, caller: ExecutionContext) -> Sequence:
        """The call of ``caller``."""


class Cpu:
    """What the hypervisor keeps of one PE."""

    __slots__ = (
        "caller",
        "finish",
        "forwarded",
        "gate",
        "preempted",
        "ready",
        "retrying",
        "sequence",
        "sri_due",
        "urgent",
    )

    def __init__(self, gate: ExecutionContext) -> None:
        self.gate = gate
        """Makes the hypervisor's SMCs and gets their answers."""
        self.ready: list[ExecutionContext] = []
        """vCPUs that could run."""
        self.preempted: ExecutionContext | None = None
        """The vCPU from which the secure world, or a deferred sequence, took the PE."""
        self.sequence: Sequence | None = None
        """What is under way."""
        self.caller: ExecutionContext | None = None
        """The vCPU whose call is under way: as it is, as another SMC or as a sequence."""
        self.finish: Finish | None = None
        """What makes of the answer to the one SMC for the call of ``caller`` what that one gets."""
        self.forwarded = (0, 0)
        """Function id and x1 of the call of ``caller``, if it was passed on as it is."""
        self.retrying = False
        """The sequence tries again what SPs were too busy for."""
        self.sri_due = False
        """Receivers of notifications are to be scheduled when the sequence is over."""
        self.urgent: ExecutionContext | None = None
        """A vCPU that an interrupt has woken while an SP had the PE: it has its turn next."""

    @property
    def is_busy(self) -> bool:
        """Whether an SMC is under way."""
        return self.sequence is not None or self.caller is not None

    @property
    def has_forwarded(self) -> bool:
        """Whether a call of a vCPU is under way as it is: the SPMC may have given it to an SP."""
        return self.caller is not None and self.sequence is None and self.finish is None


class Retried:
    """What SPs were too busy for (`spmc_link/retried.py`)."""

    __slots__ = (
        "announcing",
        "is_due",
        "messages",
        "orphans",
        "receivers",
        "timer_is_set",
        "untried",
    )

    def __init__(self) -> None:
        self.messages: dict[int, deque[tuple[int, int]]] = {}
        """SP -> framework messages for it that it has not had yet: (message, VM id)."""
        self.receivers: list[int] = []
        """SPs' contexts (id << 16 | index) with notifications that were busy when the SRI came."""
        self.orphans: deque[Region] = deque()
        """Regions of dead VMs that the SPMC has not given back: nobody owns them."""
        self.announcing: set[int] = set()
        """SPs that are being sent a message right now, on some PE."""
        self.is_due = False
        """Messages and receivers are about to be tried again."""
        self.untried = 0
        """How many of the orphans are still to be tried since an SP has run."""
        self.timer_is_set = False

    @property
    def vms(self) -> set[int]:
        """The ids of VMs for which anything is left to do."""
        found = {vm for queue in self.messages.values() for _, vm in queue}
        return found.union(region.sender for region in self.orphans)


class Hypervisor(Manager):
    """The non-secure partition manager."""

    __slots__ = (
        "aborted",
        "after_sp",
        "beginnings",
        "declined",
        "deferred",
        "donations",
        "eventfds",
        "frames",
        "held",
        "link_version",
        "mailbox",
        "mailbox_base",
        "mediator",
        "monitor",
        "multiprocessors",
        "on_destroyed",
        "primary",
        "resources",
        "retried",
        "secure_ids",
        "secure_partitions",
        "secure_services",
        "shared_mailboxes",
        "time_to_timer",
        "unfinished",
        "vm_ids",
    )

    name = "hypervisor"
    frees_frames = True

    donations: Donations
    """Memory that VMs have donated to VMs which are protected from them."""
    after_sp: Callable[[PE], None]
    """Called when an SP has run on a PE: what SPs were too busy for may be possible then."""

    def __init__(
        self,
        machine: Machine,
        pool: PagePool,
        version: int,
        *,
        monitor: Monitor,
        frames: Frames,
        mailbox_base: int,
    ) -> None:
        super().__init__(machine, pool, version, allocator_bit=HANDLE_HYPERVISOR)
        self.npi = 9
        """An SGI, as the SRI is, of those that Linux leaves to firmware: 8 to 15."""
        self.monitor = monitor
        self.frames = frames
        self.mailbox_base = mailbox_base
        """The PA of its own RX/TX pair."""
        self.mailbox: Mailbox | None = None
        """Its own RX/TX pair with the SPMC."""
        self.link_version = version
        """What the SPMC and it speak: the lower of their versions."""
        self.secure_partitions: list[PartitionInfo] = []
        """What the SPMC said of its partitions when it was asked last."""
        self.secure_services: dict[UUID, list[PartitionInfo]] = {}
        """What it said of a UUID, if it does not tell all UUIDs at once (before v1.2)."""
        self.secure_ids: frozenset[int] = frozenset()
        """The endpoint ids of all that there have been."""
        self.multiprocessors: frozenset[int] = frozenset()
        """Those of SPs that have several contexts."""
        self.resources: dict[int, tuple[tuple[object, ...], bytes]] = {}
        """What remains to be told to a VM after FFA_NS_RES_INFO_GET, and what was so then."""
        self.shared_mailboxes: set[int] = set()
        """VMs whose RX/TX pair the SPMC knows."""
        self.unfinished: dict[int, ExecutionContext] = {}
        """Who made the request that an SP's context (id << 16 | index) has not finished."""
        self.deferred: list[tuple[PE | None, Deferred]] = []
        """Sequences that begin when their PE (None: any) is in the normal world."""
        self.declined: set[tuple[int, int]] = set()
        """SP and VM: the SP was told of the VM, and does not want it as a client."""
        self.retried = Retried()
        self.vm_ids = VmIds(self._remembered)
        """Endpoint ids: those of VMs that are, and those that a new one may have."""
        self.eventfds: dict[int, Callable[[int], None]] = {}
        """VM -> who is told that a vCPU has notifications and injects the interrupt: its VMM."""
        self.mediator: Mediator | None = None
        """Who passes the calls of VMs to OP-TEE on, if there is an OP-TEE below EL3."""
        self.partitions: dict[int, Vm] = {}
        self.primary: Vm | None = None
        """The VM that schedules the others, which are secondary then; None: it does so itself."""
        self.beginnings: dict[ExecutionContext, tuple[int, int, Mapping[int, int]]] = {}
        """vCPUs of secondary VMs that are on and have had no cycles: entry, x0, other registers."""
        self.aborted: set[int] = set()
        """Ids of secondary VMs that have aborted, until somebody else has them."""
        self.time_to_timer: Callable[[ExecutionContext], int] = _no_timer
        """How many nanoseconds it is until a timer of a secondary's vCPU fires; 0: none will."""
        self.held: dict[tuple[int, int], Vm] = {}
        """Level-triggered interrupts (INTID, PE that took it) that a VM is not done with."""
        self.on_destroyed: Callable[[Vm], None] | None = None
        """Gets each VM of which nothing is left."""
        world = World(id=HYPERVISOR_ID, name=self.name, version=version)
        self.gates = [ExecutionContext(world, index, self) for index in range(len(machine.pes))]
        for gate in self.gates:
            gate.gate = monitor.from_normal
        self.cpus = [Cpu(gate) for gate in self.gates]
        for pe, cpu in zip(machine.pes, self.cpus, strict=True):
            pe.queue = cpu.ready

    def _remembered(self) -> set[int]:
        """The ids of VMs of which anything is left: the next with one would be taken for the last.

        Memory that was sent to a VM is still sent to its id.
        """
        regions = chain(self.regions.live.values(), self.regions.pending.values())
        sent_to = {borrower.endpoint for region in regions for borrower in region.borrowers}
        return self.retried.vms | sent_to

    # The vCPUs of a PE.

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
        cpu = self.cpus[pe.index]
        if ctx not in cpu.ready and pe.current is not ctx:
            cpu.ready.append(ctx)
        self.fill(pe)

    def fill(self, pe: PE) -> None:
        """Give ``pe`` one of its vCPUs that could run, if it has nothing."""
        cpu = self.cpus[pe.index]
        busy = pe.current is not None or cpu.is_busy
        if pe.on and not busy and self.monitor.cpus[pe.index].is_started:
            self.machine.schedule(pe, self.schedule(pe))

    def waits_for_secure_world(self, ctx: ExecutionContext) -> bool:
        """Whether ``ctx`` waits for the secure world, or for a sequence."""
        return any(ctx is cpu.caller for cpu in self.cpus)
