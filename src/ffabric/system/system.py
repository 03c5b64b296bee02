"""A booted system: run it, look at it, drive its partitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.vms import lifetime
from ffabric.firmware.spmc import timers
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import vm_of
from ffabric.firmware.state.events import Console
from ffabric.firmware.state.rules import show
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.engines.python import PythonRunner, Spinning
from ffabric.machine.machine import Machine, Stalled
from ffabric.machine.translation.pages import NoPages
from ffabric.system.ending import Cause, Verdict
from ffabric.system.endpoint import Endpoint
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import PartitionDraft, PartitionSpec, SystemSpec
from ffabric.system.vcpu import Peer, Refusal
from ffabric.system.waiting import reason

if TYPE_CHECKING:
    from ffabric.abi.ffa.status import Status
    from ffabric.firmware.firmware import Firmware
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.firmware.state.rules import Refused
    from ffabric.machine.context import PE
    from ffabric.machine.engines.unicorn.engine import UnicornEngine
    from ffabric.machine.events import Tracer
    from ffabric.machine.lines import Printer
    from ffabric.machine.translation.smmu import Smmu
    from ffabric.system.booting.creation import Source
    from ffabric.system.booting.engines.cpu_registers import CpuRegisters
    from ffabric.system.crash import PartitionCrashed


class Builder(Protocol):
    """Who lays partitions out in the machine of a system."""

    @property
    def smmu(self) -> Smmu:
        """What the devices of partitions reach by themselves."""

    def add_partition(self, manager: Manager, spec: PartitionSpec, system: System) -> Endpoint:
        """Create the endpoint of ``spec`` under ``manager``."""

    def remove_partition(self, endpoint: Endpoint) -> None:
        """Take back what a destroyed VM was given."""


class Closed(RuntimeError):  # noqa: N818 - what the system is
    """A system was used after it had been closed."""


class System:
    """A booted system. ``run`` lets it go on; ``close`` gives everything back."""

    def __init__(
        self, spec: SystemSpec, machine: Machine, firmware: Firmware, builder: Builder
    ) -> None:
        self.spec = spec
        self.machine = machine
        self.firmware = firmware
        self.endpoints: dict[str, Endpoint] = {}
        self.listeners: list[Callable[[str, str], None]] = []
        """Get the name of a partition or device and each line that its console prints."""
        self.debuggers: Mapping[str, int] = {}
        """Listening sockets by the names of partitions in QEMU that a gdb debugs there."""
        self.consoles: list[Printer] = []
        """Devices that print."""
        self.failure: PartitionCrashed | None = None
        """Why the run was stopped, if a partition's crash stopped it."""
        self.deaths: list[PartitionCrashed] = []
        """Every partition that crashed."""
        self.stop_reason = ""
        """Why the run was stopped, if a console, a watchdog or the time stopped it."""
        self.stop_cause: Cause | None = None
        """Which of those it was that stopped the run."""
        self.verdict = Verdict(spec.run)
        self.unicorn: UnicornEngine | None = None
        """The engine that all AArch64 images of the system share, if it has any."""
        self.closed = False
        self._builder = builder
        self.last_refusals: dict[int, tuple[int, Refused]] = {}
        """By PE: the number of the exit that a rule has refused last, and the refusal."""
        self.heard: Callable[[PE, Refused], None] | None = None
        """Is told of each refusal."""
        self.machine.exit_limit = spec.run.max_events
        if spec.run.time_limit is not None:
            limit = f"the time limit of {spec.run.time_limit / 1e9:g} s of virtual time is reached"
            self.machine.end_at(spec.run.time_limit, lambda: self.stop(Cause.TIME, limit))
        for manager in firmware.managers:
            manager.on_line = self.on_line
            manager.on_death = self.on_death
            manager.on_refused = self.on_refused
        if firmware.hypervisor is not None:
            firmware.hypervisor.on_destroyed = self._on_destroyed

    def on_line(self, name: str, line: str) -> None:
        """A console has printed ``line``."""
        for listener in self.listeners:
            listener(name, line)
        self.judge(name, line)

    def judge(self, name: str, line: str) -> None:
        """End the run if it is to end with ``line``, which ``name`` has printed."""
        if ends := self.verdict.heard(name, line):
            self.stop(*ends)

    def printed(self, name: str, line: str) -> None:
        """A console that the firmware knows nothing of has printed ``line``: a device's, QEMU's."""
        tracer = self.machine.tracer
        if tracer is not None:
            tracer.record(Console(name, line))
        self.on_line(name, line)

    def flush_consoles(self) -> None:
        """Print the lines that partitions and devices have begun and not ended."""
        for endpoint in self.endpoints.values():
            self._flush_console(endpoint)
        self._flush_log(self.firmware.spmc.normal_world)
        for console in self.consoles:
            console.flush()

    def _flush_console(self, endpoint: Endpoint) -> None:
        self._flush_log(endpoint.partition)
        if endpoint.console is not None:
            endpoint.console.flush()

    def _flush_log(self, partition: Partition) -> None:
        for ctx in partition.contexts:
            if ctx.line:
                line = ctx.line.decode("utf-8", "backslashreplace")
                ctx.line.clear()
                self.printed(partition.name, line)

    def on_reset(self, name: str) -> None:
        """A watchdog wants the system reset."""
        self.printed(name, "the watchdog resets the system")
        self.stop(Cause.RESET, f"the watchdog {name} resets the system")

    def stop(self, cause: Cause, reason: str) -> None:
        """End the run after the present exit; the first cause counts."""
        if self.stop_cause is None:
            self.stop_cause, self.stop_reason = cause, reason
        self.machine.stop()

    def on_refused(self, pe: PE, refusal: Refused) -> None:
        """A rule has refused the call that ``pe`` has just made."""
        self.last_refusals[pe.index] = (pe.exit, refusal)
        if self.heard is not None:
            self.heard(pe, refusal)

    def refusal_of(self, ctx: ExecutionContext, status: Status) -> Refusal | None:
        """Which rule refused the last call of ``ctx`` with ``status``; None: no rule did.

        The call must be the last one that was made on the PE of ``ctx``.
        """
        pe = ctx.pe
        at, refusal = (0, None) if pe is None else self.last_refusals.get(pe.index, (0, None))
        if pe is None or refusal is None or pe.exit != at or refusal.status != status:
            return None
        rule, compared = refusal.rule, (show(refusal.got), show(refusal.expected))
        return Refusal(rule.id, rule.section, rule.text, *compared)

    def on_death(self, partition: Partition) -> None:
        """A partition has crashed: the system goes on or stops, as described."""
        from ffabric.system.crash import PartitionCrashed  # noqa: PLC0415 - most never crash

        raised = _raised_by(partition)
        wedged = isinstance(raised, Spinning) or any(
            getattr(ctx.runner, "wedged", False) for ctx in partition.contexts
        )
        crash = PartitionCrashed(partition.name, partition.fate, raised, wedged=wedged)
        self.deaths.append(crash)
        if self.spec.run.stop_on_crash and self.failure is None:
            self.failure = crash
            self.machine.stop()

    @property
    def smmu(self) -> Smmu:
        """What the devices of partitions reach by themselves."""
        return self._builder.smmu

    # VMs that come and go.

    def create_vm(
        self,
        draft: PartitionDraft,
        *,
        pe: int | None = None,
        host: str | None = None,
        ipa: int | None = None,
    ) -> Endpoint:
        """Create a VM while the system runs: ``draft`` is what `vm` of `description.python` makes.

        Its memory comes from the hypervisor's free frames, its id is one that no VM has and nobody
        remembers. The hypervisor does the rest on the PE ``pe``, or on whichever is in the normal
        world first: the SPs that subscribed are told, then the VM starts.

        With a ``host`` it is protected: its memory is that VM's, from ``ipa`` on (None: where the
        host's software has free pages), who cannot reach it before the new VM is gone.

        Raises SystemErrors for what cannot be, NoFrames or NoPages if there is no memory, NoIds if
        there are as many VMs as ids, NotDonatable for memory that is not the host's alone.
        """
        from ffabric.system.booting.creation import create_spec  # noqa: PLC0415 - few create any

        self.check_open()
        hypervisor = self.hypervisor
        if draft.name in self.endpoints:
            raise ValueError(f"there is a partition {draft.name!r} already")
        source: Source = hypervisor.frames
        if host is not None:
            source = self._host_memory(draft.name, host, ipa)
        spec = create_spec(draft, hypervisor.vm_ids.next(), self.spec, source)
        try:
            endpoint = self._builder.add_partition(hypervisor, spec, self)
        except NoPages:
            for piece in spec.memory:
                hypervisor.frames.release(piece.pa, piece.size // PAGE)
            raise
        self.adopt(endpoint)
        where = None if pe is None else self.machine.pes[pe]
        vm = vm_of(endpoint.partition)
        self.machine.post(lambda: lifetime.begin(hypervisor, vm, where))
        return endpoint

    def _host_memory(self, name: str, host: str, ipa: int | None) -> Source:
        """The memory that a host donates to the VM ``name``."""
        from ffabric.system.booting.creation import HostMemory  # noqa: PLC0415 - as above

        if self.machine.is_executing:
            raise ValueError("a host donates memory between two runs of the system")
        endpoint = self.endpoints.get(host)
        if endpoint is None or endpoint.partition.secure:
            known = [each.name for each in self.endpoints.values() if not each.spec.secure]
            raise LookupError(f"there is no VM {host!r}{did_you_mean(host, known)}")
        return HostMemory(self.hypervisor, vm_of(endpoint.partition), endpoint.ram, name, ipa)

    def destroy_vm(self, name: str, *, pe: int | None = None, reason: str = "destroyed") -> None:
        """Destroy a VM, whatever its vCPUs are doing: none of them runs again.

        The hypervisor does the rest on the PE ``pe``, or on whichever is in the normal world first:
        what the VM asked of SPs is finished and the answers are dropped, the SPs that subscribed
        are told, and its memory comes back, some of it when SPs relinquish it. May be called at any
        time, from a callback of the clock too.
        """
        self.check_open()
        hypervisor = self.hypervisor
        endpoint = self.endpoints.get(name)
        if endpoint is None or endpoint.partition.secure:
            known = [each.name for each in self.endpoints.values() if not each.spec.secure]
            raise LookupError(f"there is no VM {name!r}{did_you_mean(name, known)}")
        vm = vm_of(endpoint.partition)
        where = None if pe is None else self.machine.pes[pe]
        self.machine.post(lambda: lifetime.end(hypervisor, vm, reason, where))

    def wake_vm(self, name: str) -> None:
        """End the WFI of a VM's vCPUs, which the architecture lets happen at any time."""
        hypervisor = self.hypervisor
        for ctx in self.endpoints[name].partition.contexts:
            if ctx.state is State.RUNNING and not hypervisor.waits_for_secure_world(ctx):
                hypervisor.wake(ctx)

    @property
    def hypervisor(self) -> Hypervisor:
        """The hypervisor; LookupError if there is none."""
        if self.firmware.hypervisor is None:
            raise LookupError("without a hypervisor VMs neither come nor go")
        return self.firmware.hypervisor

    def _on_destroyed(self, vm: Partition) -> None:
        endpoint = self.endpoints.get(vm.name)
        if endpoint is not None and endpoint.partition is vm:
            self._flush_console(endpoint)
            for ctx in vm.contexts:
                self.cpu_registers.reset(ctx)
            del self.endpoints[vm.name]
            self._builder.remove_partition(endpoint)

    @cached_property
    def cpu_registers(self) -> CpuRegisters:
        """The GIC's CPU interface and the timers of every vCPU."""
        from ffabric.system.booting.engines.cpu_registers import (  # noqa: PLC0415 - only images
            CpuRegisters,
        )

        registers = CpuRegisters(self.machine, self._on_timer)
        self.machine.on_start = registers.reset
        if self.firmware.hypervisor is not None:
            self.firmware.hypervisor.time_to_timer = registers.time_to_timer
        return registers

    def _on_timer(self, ctx: ExecutionContext, kind: str, met: bool) -> None:
        """The timer of a partition that has no GIC: its manager signals the interrupt."""
        if ctx.secure:
            timers.changed(self.firmware.spmc, ctx, kind, met)
        else:
            assert self.firmware.hypervisor is not None
            interrupts.timer(self.firmware.hypervisor, ctx, met)

    def adopt(self, endpoint: Endpoint) -> Endpoint:
        """Know ``endpoint`` by its name."""
        self.endpoints[endpoint.name] = endpoint
        return endpoint

    def endpoint(self, name: str) -> Endpoint:
        """The partition called ``name``."""
        return self.endpoints[name]

    def resolve(self, what: Peer) -> int:
        """The endpoint id of a name, an endpoint, or a partition's Python object or class.

        Raises LookupError if the system has no such partition.
        """
        if isinstance(what, int):
            return what
        if isinstance(what, str):
            endpoint = self.endpoints.get(what)
            if endpoint is None:
                raise LookupError(
                    f"there is no partition {what!r}{did_you_mean(what, self.endpoints)}"
                )
            return endpoint.id
        for each in self.endpoints.values() if what is not None else ():
            software = each.software
            if software is what or (isinstance(what, type) and type(software) is what):
                return each.id
        identified = getattr(what, "id", None)
        if isinstance(identified, int):
            return identified
        raise LookupError(f"no partition of this system is {what!r}")

    def attach(self, tracer: Tracer | None) -> None:
        """Let ``tracer`` listen to the firmware (None: nobody)."""
        self.firmware.attach(tracer)

    def run(self) -> None:
        """Run until something stops the machine, or nothing can run any more.

        Raises PartitionCrashed if a partition crashed and the system is to stop then, Closed if the
        system is closed.
        """
        self.check_open()
        self.machine.run()
        if self.failure is not None:
            raise self.failure

    def dispatch(self, ctx: ExecutionContext) -> None:
        """Let the scheduler of its world give ``ctx`` a PE, and run until it has control."""
        runner = ctx.runner
        assert isinstance(runner, DrivenRunner)
        if runner.wait():
            return
        self.firmware.dispatch(ctx)
        if not runner.wait():
            if self.failure is not None:
                raise self.failure
            raise Stalled(f"{ctx.name} is {ctx.state.value} and nothing can run; {reason(self)}")

    @property
    def refusals(self) -> dict[str, int]:
        """How often each rule has refused a call, by rule id."""
        counts: dict[str, int] = {}
        for manager in self.firmware.managers:
            for rule_id, count in manager.refusals.items():
                counts[rule_id] = counts.get(rule_id, 0) + count
        return counts

    @property
    def waived(self) -> dict[str, int]:
        """How many calls each waived rule would have refused, by rule id."""
        counts: dict[str, int] = {}
        for manager in self.firmware.managers:
            for rule_id, count in manager.conventions.used.items():
                counts[rule_id] = counts.get(rule_id, 0) + count
        return counts

    def check_open(self) -> None:
        """Raise Closed if the system is closed."""
        if self.closed:
            raise Closed(f"{self.spec.name} is closed: nothing can be done with it any more")

    def close(self) -> None:
        """Stop every engine and give the memory back. Nobody hears of it."""
        self.closed = True
        self.listeners.clear()
        for endpoint in self.endpoints.values():
            for ctx in endpoint.partition.contexts:
                if ctx.runner is not None:
                    ctx.runner.close()
        self.machine.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _raised_by(partition: Partition) -> BaseException | None:
    """What the Python code of a partition raised, if that is why it has crashed."""
    for ctx in partition.contexts:
        if isinstance(ctx.runner, PythonRunner) and ctx.runner.error is not None:
            return ctx.runner.error
    return None
