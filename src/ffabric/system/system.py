"""A booted system: run it, look at it, drive its partitions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.machine import Machine, Stalled
from ffabric.system.engines import CONDUITS, access_for, make_unicorn
from ffabric.system.spec import PartitionSpec, SystemSpec
from ffabric.system.vcpu import Ram, Vcpu

if TYPE_CHECKING:
    from ffabric.firmware.firmware import Firmware
    from ffabric.firmware.manager.manager import Manager, Tracer
    from ffabric.firmware.manager.partition import ExecutionContext, Partition
    from ffabric.machine.access import GuestAccess
    from ffabric.machine.engines.unicorn import UnicornEngine

    AddPartition = Callable[[Manager, PartitionSpec, "System"], "Endpoint"]


class Endpoint:
    """A partition of a booted system, from outside: its spec, its firmware side, its software."""

    def __init__(self, system: System, spec: PartitionSpec, partition: Partition) -> None:
        self.system = system
        self.spec = spec
        self.partition = partition
        self.software: Any = None
        self._memory: GuestAccess | None = None
        self._ram: Ram | None = None

    @property
    def id(self) -> int:
        """The endpoint id."""
        return self.partition.id

    @property
    def name(self) -> str:
        """The partition's name."""
        return self.spec.name

    @property
    def memory(self) -> GuestAccess:
        """Loads and stores as the partition's software makes them, through its stage-2."""
        if self._memory is None:
            self._memory = access_for(self)
        return self._memory

    @property
    def ram(self) -> Ram:
        """The pages of its memory that have no purpose yet."""
        if self._ram is None:
            pieces = [each for each in self.spec.memory if each.name == "ram"]
            self._ram = Ram(pieces[0].ipa, sum(each.size for each in pieces))
        return self._ram

    def vcpu(self, ctx: ExecutionContext) -> Vcpu:
        """One of its vCPUs as software finds it."""
        return Vcpu(self, ctx, CONDUITS[self.spec.el])

    def take(self, index: int = 0) -> DrivenRunner:
        """Give the PE to vCPU ``index`` of a driven partition; its runner, in control."""
        ctx = self.partition.contexts[index]
        runner = ctx.runner
        if not isinstance(runner, DrivenRunner):
            raise TypeError(f"{self.name} is not driven: it runs by itself")
        if not runner.in_control:
            self.system.give(ctx)
        return runner

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.id:#06x}>"


class PartitionCrashed(RuntimeError):  # noqa: N818 - what happened
    """A partition crashed, and the system stops then (``run.stop_on_crash``)."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class System:
    """A booted system. ``run`` lets it go on; ``close`` gives everything back."""

    def __init__(
        self, spec: SystemSpec, machine: Machine, firmware: Firmware, add: AddPartition
    ) -> None:
        self.spec = spec
        self.machine = machine
        self.firmware = firmware
        self.endpoints: dict[str, Endpoint] = {}
        self.listeners: list[Callable[[str, str], None]] = []
        """Get the name of a partition or device and each line that its console prints."""
        self.failure: PartitionCrashed | None = None
        """Why the run was stopped, if a partition's crash stopped it."""
        self.deaths: list[PartitionCrashed] = []
        """Every partition that crashed."""
        self.stop_reason = ""
        """Why the run was stopped, if a console or a watchdog stopped it."""
        self._add = add
        self.machine.exit_limit = spec.run.max_events
        for manager in firmware.managers:
            manager.on_line = self.on_line
            manager.on_death = self.on_death
        firmware.monitor.on_death = self.on_death

    def on_line(self, name: str, line: str) -> None:
        """A console has printed ``line``."""
        for listener in self.listeners:
            listener(name, line)
        stop_on = self.spec.run.stop_on
        if stop_on and stop_on in line:
            self._stop(f"{name} has printed {stop_on!r}")

    def flush_consoles(self) -> None:
        """Print the lines that partitions have begun and not ended."""
        for endpoint in self.endpoints.values():
            for ctx in endpoint.partition.contexts:
                if ctx.line:
                    self.on_line(endpoint.name, ctx.line.decode("utf-8", "backslashreplace"))
                    ctx.line.clear()

    def on_reset(self, name: str) -> None:
        """A watchdog wants the system reset."""
        self.on_line(name, "the watchdog resets the system")
        self._stop(f"the watchdog {name} resets the system")

    def _stop(self, reason: str) -> None:
        self.stop_reason = reason
        self.machine.stop()

    def on_death(self, partition: Partition) -> None:
        """A partition has crashed: the system goes on or stops, as described."""
        crash = PartitionCrashed(partition.name, partition.fate)
        self.deaths.append(crash)
        if self.spec.run.stop_on_crash and self.failure is None:
            self.failure = crash
            self.machine.stop()

    @cached_property
    def unicorn(self) -> UnicornEngine:
        """The engine that all AArch64 images of the system share."""
        return make_unicorn(self)

    def adopt(self, endpoint: Endpoint) -> Endpoint:
        """Know ``endpoint`` by its name."""
        self.endpoints[endpoint.name] = endpoint
        return endpoint

    def endpoint(self, name: str) -> Endpoint:
        """The partition called ``name``."""
        return self.endpoints[name]

    def resolve(self, what: object) -> int:
        """The endpoint id of a name, an endpoint, or a partition's Python object or class."""
        if isinstance(what, int):
            return what
        if isinstance(what, Endpoint):
            return what.id
        if isinstance(what, str):
            return self.endpoints[what].id
        for each in self.endpoints.values():
            software = each.software
            if software is what or (isinstance(what, type) and type(software) is what):
                return each.id
        raise LookupError(f"no partition of this system is {what!r}")

    def attach(self, tracer: Tracer | None) -> None:
        """Let ``tracer`` listen to the firmware (None: nobody)."""
        self.firmware.attach(tracer)

    def run(self) -> None:
        """Run until something stops the machine, or nothing can run any more.

        Raises PartitionCrashed if a partition crashed and the system is to stop then.
        """
        self.machine.run()
        if self.failure is not None:
            raise self.failure

    def give(self, ctx: ExecutionContext) -> None:
        """Let the scheduler of its world give ``ctx`` a PE, and run until it has control."""
        runner = ctx.runner
        assert isinstance(runner, DrivenRunner)
        if runner.wait():
            return
        self.firmware.give(ctx)
        if not runner.wait():
            if self.failure is not None:
                raise self.failure
            raise Stalled(f"{ctx.name} is {ctx.state.value} and nothing can run")

    @property
    def refusals(self) -> dict[str, int]:
        """How often each rule has refused a call, by rule id."""
        counts: dict[str, int] = {}
        for manager in self.firmware.managers:
            for rule_id, count in manager.refusals.items():
                counts[rule_id] = counts.get(rule_id, 0) + count
        return counts

    def close(self) -> None:
        """Stop every engine and give the memory back."""
        for endpoint in self.endpoints.values():
            for ctx in endpoint.partition.contexts:
                if ctx.runner is not None:
                    ctx.runner.close()
        self.machine.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
