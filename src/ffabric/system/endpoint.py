"""A partition of a booted system, from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ffabric.abi.words import PAGE
from ffabric.machine.access import GuestAccess, NoTranslation
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.system.spec import RAM, TRUSTED_OS, PartitionSpec
from ffabric.system.vcpu import CONDUITS, Buffers, Ram, Software, Vcpu, Whole

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.machine.engines.qemu.engine import QemuGuest
    from ffabric.machine.engines.unicorn.engine import UnicornEngine
    from ffabric.machine.lines import Printer


class Host(Whole, Protocol):
    """The system of an endpoint, as far as it and who executes it have to do with it."""

    debuggers: Mapping[str, int]
    unicorn: UnicornEngine | None

    def printed(self, name: str, line: str) -> None:
        """A console that the firmware knows nothing of has printed ``line``."""

    def check_open(self) -> None:
        """Raise Closed if the system is closed."""

    def dispatch(self, ctx: ExecutionContext) -> None:
        """Let the scheduler of its world give ``ctx`` a PE, and run until it has control."""


class Endpoint:
    """A partition of a booted system, from outside: its spec, its firmware side, its software."""

    def __init__(self, system: Host, spec: PartitionSpec, partition: Partition) -> None:
        self.system = system
        self.spec = spec
        self.partition = partition
        self.software: Software | None = None
        """What executes it, if that is Python."""
        self.guest: QemuGuest | None = None
        """What executes it, if that is a QEMU."""
        self.staged: PartitionSpec | None = None
        """What it will be, with the new image that waits for it (live activation)."""
        self.buffers = Buffers()
        self._note_buffers()
        self.console: Printer | None = None
        """That of a partition whose engine has one."""
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
            machine, spec = self.system.machine, self.spec
            without = machine.memory if spec.kind == TRUSTED_OS else None
            stage2 = self.partition.stage2 or NoTranslation(without)
            self._memory = GuestAccess(stage2, machine.memory, secure=spec.secure, bus=machine.bus)
        return self._memory

    @property
    def ram(self) -> Ram:
        """The pages of its memory that have no purpose yet."""
        if self._ram is None:
            pieces = [each for each in self.spec.memory if each.name == RAM]
            self._ram = Ram(pieces[0].ipa, sum(each.size for each in pieces))
            self._reserve(self._ram)
        return self._ram

    def begin_again(self) -> None:
        """Its software begins as at boot: no page of its memory has a purpose yet."""
        self._note_buffers()
        if self._ram is not None:
            self._ram.clear()
            self._reserve(self._ram)

    def take_staged(self) -> None:
        """Its new software takes the place of the old one."""
        assert self.staged is not None
        self.spec, self.staged, self.software = self.staged, None, None
        self.begin_again()

    def _note_buffers(self) -> None:
        box, known = self.partition.mailbox, self.buffers
        known.tx, known.rx, known.pages = 0, 0, 0
        if box is not None:
            known.tx, known.rx, known.pages = box.tx.ipa, box.rx.ipa, box.tx.size // PAGE

    def _reserve(self, ram: Ram) -> None:
        """Regions of its manifest that lie in its own memory have a purpose."""
        for region in self.spec.manifest.memory_regions:
            if region.relative_offset is not None and region.base_address is not None:
                size = region.pages * self.spec.manifest.xlat_granule.bytes
                ram.reserve(region.base_address, size // PAGE)

    def vcpu(self, ctx: ExecutionContext) -> Vcpu:
        """One of its vCPUs as software finds it."""
        return Vcpu(self, ctx, CONDUITS[self.spec.el])

    def take(self, index: int = 0) -> DrivenRunner:
        """Give the PE to vCPU ``index`` of a driven partition; its runner, in control."""
        self.system.check_open()
        ctx = self.partition.contexts[index]
        runner = self._driven(ctx)
        if not runner.in_control:
            self.system.dispatch(ctx)
        return runner

    def drive_from_start(self) -> None:
        """Leave its initialisation, too, to whoever drives it; to be called before it runs."""
        for ctx in self.partition.contexts:
            self._driven(ctx).startup_calls = ()

    def _driven(self, ctx: ExecutionContext) -> DrivenRunner:
        if not isinstance(ctx.runner, DrivenRunner):
            raise TypeError(f"{self.name} is not driven: it runs by itself")
        return ctx.runner

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.id:#06x}>"
