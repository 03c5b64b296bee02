"""A booted system whose vCPUs are all driven, with the judges that watch it.

VMs come and go: ``create`` and ``destroy`` do that from outside, between any two exits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Self

from msgspec.structs import replace

from ffabric.abi import psci
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.vms.donations import NotDonatable
from ffabric.firmware.hypervisor.vms.frames import NoFrames
from ffabric.firmware.state.checking import judge as judge_contexts
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import Sp
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.lab.fuzz.actors import Actor
from ffabric.lab.fuzz.watch import Watch
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.ledger import Ledger
from ffabric.machine.translation.pages import NoPages
from ffabric.observe.trace import Trace
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import vm

if TYPE_CHECKING:
    from ffabric.machine.translation.smmu import Stream
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.spec import SystemSpec
    from ffabric.system.system import System

SGI = 8
"""The Schedule Receiver Interrupt: it is non-secure."""
EXITS = 2000
"""Exits that one step may take: more, and something spins."""
THOROUGH = 16
"""After so many steps all contexts of SPs are looked at, not only those that have a PE."""
VM_PAGES = 96
"""Pages of a VM that is created."""
MOST_VMS = 4
"""VMs that may be destroyed: no more are created."""


class Stage:
    """A system of ``spec``, of whose partitions the ``hostile`` ones may do anything and be killed.

    ``sink`` is a binary file for its trace; ``host`` a VM that donates the memory of every other VM
    that is created.
    """

    def __init__(
        self,
        spec: SystemSpec,
        hostile: Collection[str],
        seed: int,
        sink: IO[bytes] | None = None,
        *,
        host: str = "",
    ) -> None:
        self._hostile = dict.fromkeys(hostile)
        """In order: what a set has in it comes in any."""
        self._host = host
        self._needed = {spec.primary_vm}
        if any(each.manifest.live_activation_support for each in spec.sps):
            self._needed |= {v.name for v in spec.vms if v.manifest.has_primary_scheduler}
        self.system: System = boot(spec, seed=seed)
        self._trace = Trace(self.system, sink) if sink is not None else None
        self.watch = Watch(self._trace)
        self.ledger = Ledger(self.system, passing=self.watch, strict=False)
        self.system.attach(self.ledger)
        self.machine = self.system.machine
        for endpoint in self.system.endpoints.values():
            if isinstance(endpoint.partition, Sp):
                endpoint.partition.secondary_entry = endpoint.partition.entry
        self.streams: dict[str, list[Stream]] = {}
        """Of devices that access memory by themselves, by the name of who has them."""
        for stream, entry in self.system.smmu.table.items():
            self.streams.setdefault(entry.owner, []).append(stream)
        self.smmus = _smmus(self.system)
        """Where the registers are of the SMMU that a partition programs, by its name."""
        self._limit()
        self.system.run()
        if self.system.firmware.hypervisor is None:
            self._enable_interrupts()
        self.actors: list[Actor] = []
        for endpoint in self.system.endpoints.values():
            self.actors += self._vcpus(endpoint)
        self._follow_primary()
        self.ids = [*dict.fromkeys(actor.id for actor in self.actors)]
        """Of all endpoints that there are, or have been a short while ago."""
        self.mortal: list[str] = []
        """Names of the VMs that may be destroyed and have not been, the oldest first."""
        self.deaths = 0
        """VMs that have died, and have not been counted."""
        self.has_lost = False
        """Whether a VM has died."""
        if self.system.firmware.hypervisor is not None:
            self.mortal = [a.endpoint.name for a in self.actors if self._is_mortal(a)]
        self._draft = vm("vm", mem_size=VM_PAGES * PAGE, vcpus=len(self.machine.pes))
        self._number = 0
        self._steps = 0
        sps = self.system.firmware.spmc.partitions.values()
        self._secure = [ctx for each in sps for ctx in each.contexts]

    def _enable_interrupts(self) -> None:
        """A kernel takes non-secure interrupts, as a hypervisor does."""
        gic = self.machine.gic
        for pe in range(len(self.machine.pes)):
            gic.sysreg_write(pe, "ICC_IGRPEN1_EL1", 1, secure=False)
            gic.configure(SGI, pe=pe, enabled=True)

    def _limit(self) -> None:
        self.machine.exit_limit = self.machine.exits + EXITS

    def _vcpus(self, endpoint: Endpoint) -> Iterator[Actor]:
        first = Actor(self.system, endpoint)
        yield first
        for index in range(1, endpoint.spec.vcpus):
            yield Actor(self.system, endpoint, index, first)

    def _follow_primary(self) -> None:
        """Who is there may have changed: who gives cycles to whom in a system with a primary VM?"""
        name = self.system.spec.primary_vm
        if not name:
            return
        vms = [actor for actor in self.actors if not actor.secure]
        first = next((actor for actor in vms if actor.endpoint.name == name), None)
        others = [actor for actor in vms if actor.endpoint.name != name]
        if first is not None:
            first.secondaries = others
        for actor in others:
            actor.primary = first

    def _is_mortal(self, actor: Actor) -> bool:
        return not actor.secure and not actor.ctx.index and self.may_die(actor)

    def is_hostile(self, actor: Actor) -> bool:
        """Whether an endpoint may do anything, and be killed."""
        return actor.endpoint.name in self._hostile

    def may_die(self, actor: Actor) -> bool:
        """Whether its end is not that of all: who schedules others or activates images stays."""
        return self.is_hostile(actor) and actor.endpoint.name not in self._needed

    def start_others(self) -> None:
        """Let the other vCPUs of VMs begin."""
        for actor in self.actors:
            if not actor.secure and actor.ctx.index:
                first = next(each for each in self.actors if each.id == actor.id)
                if first.ready():
                    mpidr = self.machine.pes[actor.ctx.index].mpidr
                    first.call([psci.CPU_ON_64, mpidr, first.entry])

    # What happens from outside

    def create(self, pe: int | None = None, *, most: int = MOST_VMS) -> list[Actor]:
        """Create a VM, which ``pe`` tells the SPs about; its vCPUs. None come if it cannot be."""
        hypervisor = self.system.firmware.hypervisor
        if hypervisor is None or len(self.mortal) >= most:
            return []
        hypervisor.vm_ids.begin_again()
        self._number += 1
        draft = replace(self._draft, name=f"vm{self._number}")
        host = self._host if self._number % 2 and self._host in self.system.endpoints else None
        try:
            endpoint = self.system.create_vm(draft, pe=pe, host=host)
        except (NoFrames, NoPages, NotDonatable):
            return []
        if host is None:
            self._judge_clean(endpoint)
        come = [*self._vcpus(endpoint)]
        self.actors += come
        self._follow_primary()
        self.ids = [*self.ids, endpoint.id]
        self._hostile[draft.name] = None
        self.mortal.append(draft.name)
        return come

    def destroy(self, name: str, pe: int | None = None) -> None:
        """Destroy a VM; ``pe`` does what is to be done."""
        self.system.destroy_vm(name, pe=pe)
        self._bury()

    def _bury(self) -> None:
        """Forget the vCPUs of VMs that are dead."""
        dead = [a for a in self.actors if not a.endpoint.partition.alive and not a.secure]
        if dead and self.system.firmware.hypervisor is not None:
            self.actors = [a for a in self.actors if a not in dead]
            self._follow_primary()
            names = {a.endpoint.name for a in dead}
            self.mortal = [name for name in self.mortal if name not in names]
            self.deaths += len(names)
            self.has_lost = True

    def _judge_clean(self, endpoint: Endpoint) -> None:
        """A VM finds nothing of whoever had its memory before."""
        for piece in endpoint.spec.memory:
            bank, first = self.machine.memory.locate(piece.pa, piece.size, secure=False)
            for written, until in bank.written():
                start, end = max(written, first), min(until, first + piece.size)
                if start < end and bank.mapping[start:end] != bytes(end - start):
                    raise Discrepancy(f"{endpoint.name} finds something in its new memory")

    def has(self, pe: int | None) -> bool:
        """Whether the system has a PE of this number; None is any."""
        return pe is None or pe < len(self.machine.pes)

    def on(self, pe: int) -> Actor | None:
        """Who can make the next exit on a PE."""
        if not self.has(pe):
            return None
        ctx = self.machine.pes[pe].current
        return next((a for a in self.actors if a.ctx is ctx and a.runner.in_control), None)

    def deliver(self) -> None:
        """Let PEs take the interrupts that have become pending."""
        if self.machine.interrupts_changed:
            self.machine.deliver_interrupts()

    # What must hold after each step

    def check(self) -> None:
        """Raise Discrepancy if something is not as it must be."""
        self._limit()
        self.watch.steps = 0
        self._bury()
        self.ledger.check()
        self._judge_chain()
        self._steps += 1
        if self._steps % THOROUGH == 0:
            judge_contexts(self._secure)

    @property
    def is_busy(self) -> bool:
        """Whether the hypervisor has SMCs under way, for a vCPU or for itself."""
        hypervisor = self.system.firmware.hypervisor
        return hypervisor is not None and any(cpu.sequence for cpu in hypervisor.cpus)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Leave out of its state what does not decide how it goes on; `check` was just now."""
        judge_contexts(self._secure)
        self._steps = 0
        self._forget_past()
        self.ledger.leave_out()
        try:
            yield
        finally:
            self.ledger.take_in()

    def _forget_past(self) -> None:
        """What the system has counted, and notes for people only."""
        system, machine = self.system, self.machine
        machine.exits = 0
        machine.stopping = False
        machine.choices.log.clear()
        machine.clock.begin_again()
        self._limit()
        for pe in machine.pes:
            pe.exit = 0
        system.deaths.clear()
        system.last_refusals.clear()
        system.firmware.monitor.world_switches = 0
        for manager in system.firmware.managers:
            manager.refusals.clear()
        for actor in self.actors:
            actor.forget_end()

    def _judge_chain(self) -> None:
        """Whoever has a PE runs, and whoever lent it the cycles waits for it."""
        for pe in self.machine.pes:
            ctx = pe.current
            if not isinstance(ctx, ExecutionContext) or ctx.stage2 is None:
                continue
            if ctx.state not in (State.RUNNING, State.STARTING):
                raise Discrepancy(f"{ctx.name} has a PE and is {ctx.state.value}")
            requester = ctx.caller
            alive = requester is not None and requester.state is not State.ABORTED
            if requester is not None and alive and requester.callee is not ctx:
                raise Discrepancy(
                    f"{ctx.name} runs for {requester.name}, which does not wait for it"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._trace is not None:
            self._trace.close()
        self.system.close()


def _smmus(system: System) -> dict[str, int]:
    bases = [each.base for each in system.spec.devices if each.type == "smmuv3"]
    return {
        spec.name: region.base_address
        for spec in system.spec.partitions
        for region in spec.manifest.device_regions
        if region.base_address in bases
    }
