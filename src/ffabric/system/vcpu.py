"""What the software of a Python partition has in hand on one vCPU: registers, memory, a conduit."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from ffabric.abi.words import PAGE
from ffabric.firmware.state.endpoints import Sp
from ffabric.machine import exits
from ffabric.machine.engines.python import PythonRunner
from ffabric.system.waiting import Waiting, reason

if TYPE_CHECKING:
    from ffabric.abi.ffa.status import Status
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.machine.access import GuestAccess
    from ffabric.machine.host.outside import Outside
    from ffabric.machine.machine import Machine
    from ffabric.system.booting.engines.cpu_registers import CpuRegisters
    from ffabric.system.crash import PartitionCrashed
    from ffabric.system.spec import GicSpec, PartitionSpec, SystemSpec
CONDUITS = {0: exits.SVC, 1: exits.SMC, 2: exits.SMC}
"""Exception level of a partition -> the conduit its calls take."""


class OutOfMemory(Exception):  # noqa: N818 - an answer, as malloc gives
    """The partition's own memory has no run of free pages that long."""


class UndefinedRegister(Exception):  # noqa: N818 - what a core would take an exception for
    """The vCPU has no such system register."""


class Refusal(msgspec.Struct, frozen=True):
    """Why the firmware refused a call: the rule and its sentence, and the values it compared."""

    rule: str
    """The rule's id, "mem.share.unaligned_base"."""
    section: str
    """Document and section that demand it."""
    text: str
    """What must hold."""
    got: str
    """What the firmware found, as text."""
    expected: str
    """What it would have accepted, as text."""

    def __str__(self) -> str:
        return f"{self.rule}: got {self.got}, expected {self.expected} ({self.section})"


class Identified(Protocol):
    """What has an endpoint id: a partition of a booted system, or what discovery tells of one."""

    @property
    def id(self) -> int:
        """The endpoint id."""


class Software(Protocol):
    """What a system asks of a partition's Python software; the coroutines yield exits."""

    def program(self, vcpu: Vcpu, entry: int, x0: int) -> Coroutine[int, None, None]:
        """The program of a vCPU, from its cold boot on."""

    def vector(self, vcpu: Vcpu, kind: int) -> Coroutine[int, None, None]:
        """Handle a virtual interrupt: 0 IRQ, 1 FIQ."""


Peer = int | str | Identified | Software | type[Software]
"""How software names an endpoint: by id, by name, or by the Python software that runs there."""


_FREE, _FREED = 0, 2
"""States of a page; 1: it is in use."""


class Ram:
    """The pages of a partition's memory that its software has not given a purpose yet.

    Addresses are IPAs. One allocator serves all vCPUs of the partition. Pages that somebody else
    has, too, are *pinned*: whoever frees them, they are not allocated again before they are
    unpinned.
    """

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.size = size
        self._used = bytearray(size // PAGE)
        self._pins: dict[int, int] = {}
        """Page -> how often it is pinned; pages outside of this memory may be, too."""

    def clear(self) -> None:
        """All pages are free again, and none is pinned."""
        self._used[:] = bytes(len(self._used))
        self._pins.clear()

    def __contains__(self, ipa: int) -> bool:
        return self.base <= ipa < self.base + self.size

    def allocate(self, pages: int = 1) -> int:
        """The IPA of ``pages`` free pages in a row."""
        at = self._used.find(bytes(pages)) if pages <= len(self._used) else -1
        if at < 0:
            raise OutOfMemory(f"{pages} pages of {len(self._used)}")
        self._used[at : at + pages] = b"\1" * pages
        return self.base + at * PAGE

    def reserve(self, ipa: int, pages: int) -> None:
        """Pages have a purpose from the start."""
        at = (ipa - self.base) // PAGE
        self._used[at : at + pages] = b"\1" * pages

    def free(self, ipa: int, pages: int = 1) -> None:
        """Give pages back; those of other memory have another purpose."""
        at = (ipa - self.base) // PAGE
        if not 0 <= at < len(self._used):
            return
        self._used[at : at + pages] = bytes(pages)
        if self._pins:
            for page in range(at, at + pages):
                if page in self._pins:
                    self._used[page] = _FREED

    def pin(self, ipa: int, pages: int) -> None:
        """Let pages be out of use even if they are freed."""
        at = (ipa - self.base) // PAGE
        for page in range(at, at + pages):
            self._pins[page] = self._pins.get(page, 0) + 1

    def is_pinned(self, ipa: int, pages: int) -> bool:
        """Whether any of those pages is."""
        at = (ipa - self.base) // PAGE
        return bool(self._pins) and any(page in self._pins for page in range(at, at + pages))

    def unpin(self, ipa: int, pages: int) -> None:
        """End that."""
        at = (ipa - self.base) // PAGE
        for page in range(at, at + pages):
            left = self._pins.pop(page) - 1
            if left:
                self._pins[page] = left
            elif 0 <= page < len(self._used) and self._used[page] == _FREED:
                self._used[page] = _FREE

    def __repr__(self) -> str:
        return f"<Ram from {self.base:#x}: {self._used.count(0)} of {len(self._used)} pages free>"


class Buffers:
    """The RX/TX pair of a partition: the IPAs of TX and RX, and the pages of each (0: none)."""

    __slots__ = ("pages", "rx", "tx")

    def __init__(self) -> None:
        self.tx: int = 0
        self.rx: int = 0
        self.pages: int = 0

    def __repr__(self) -> str:
        return f"<Buffers: TX {self.tx:#x}, RX {self.rx:#x}, {self.pages} pages each>"


class Whole(Waiting, Protocol):
    """The system of a vCPU, as far as its software has to do with it."""

    spec: SystemSpec
    machine: Machine
    failure: PartitionCrashed | None

    @property
    def cpu_registers(self) -> CpuRegisters:
        """The GIC's CPU interface and the timers of every vCPU."""

    def refusal_of(self, ctx: ExecutionContext, status: Status) -> Refusal | None:
        """Which rule refused the last call of ``ctx`` with ``status``; None: no rule did."""

    def resolve(self, what: Peer) -> int:
        """The endpoint id of a name; LookupError if the system has no such partition."""


class _Endpoint(Protocol):
    """The partition of a vCPU, as far as its software has to do with it."""

    spec: PartitionSpec
    partition: Partition
    buffers: Buffers

    @property
    def system(self) -> Whole:
        """The system that it is of."""

    @property
    def memory(self) -> GuestAccess:
        """Loads and stores through its stage-2."""

    @property
    def ram(self) -> Ram:
        """The pages of its memory that have no purpose yet."""


class Vcpu:
    """One vCPU of a partition as its software finds it when it starts."""

    def __init__(self, endpoint: Any, ctx: Any, conduit: int) -> None:
        self._ctx: ExecutionContext = ctx
        self._endpoint: _Endpoint = endpoint
        self.conduit = conduit
        self.x: list[int] = self._ctx.x
        """x0 to x17."""
        self.version: int = self._endpoint.partition.version
        """The version of FF-A that its software uses."""
        self.endpoint = 0
        """The endpoint id, once its software has asked for it."""
        self.name: str = self._endpoint.spec.name
        """The partition's name."""
        self.index: int = self._ctx.index
        """Which vCPU of the partition it is."""
        self.secure: bool = self._endpoint.spec.secure
        """Whether it is a vCPU of a secure partition."""
        self.el: int = self._endpoint.spec.el
        """The exception level of its software."""
        self.paravirtual: bool = self._endpoint.partition.paravirtual
        """Whether its interrupt controller is Hafnium's calls, and no GIC."""

    @property
    def pe(self) -> int:
        """On which PE it is, by number; -1: it has not been on any."""
        return -1 if self._ctx.pe is None else self._ctx.pe.index

    @property
    def pc(self) -> int:
        """The vector at which EL3 has entered it, if it is right below EL3."""
        return cast(PythonRunner, self._ctx.runner).pc

    @property
    def is_activated(self) -> bool:
        """Whether it begins in the place of another image (manifest: live-activation-register)."""
        register = self._endpoint.spec.manifest.live_activation_register
        runner = self._ctx.runner
        if register is None or not isinstance(runner, PythonRunner):
            return False
        return runner.registers.get(register) == 1

    @property
    def begins_again(self) -> bool:
        """Whether it is the first vCPU of an SP, on a PE that was off: the SP is initialised."""
        partition = self._endpoint.partition
        return self.index == 0 and isinstance(partition, Sp) and partition.initialised

    @property
    def live_state(self) -> tuple[int, int]:
        """IPA and bytes of the buffer in which it leaves its state to a new image; (0, 0): none."""
        return self._endpoint.spec.live_state

    def mask_interrupts(self) -> None:
        """Take no interrupts from now on (DAIF)."""
        cast(PythonRunner, self._ctx.runner).masked = True

    @property
    def count(self) -> int:
        """How many vCPUs the partition's manifest gives it."""
        return self._endpoint.spec.vcpus

    @property
    def entry(self) -> int:
        """The IPA where the partition's software is entered."""
        return self._endpoint.spec.entry

    @property
    def affinities(self) -> list[int]:
        """The affinity of each of the partition's vCPUs, for PSCI."""
        if self.paravirtual:
            return list(range(self.count))
        return [pe.mpidr for pe in self._endpoint.system.machine.pes[: self.count]]

    @property
    def memory(self) -> GuestAccess:
        """Loads and stores through the partition's stage-2."""
        return self._endpoint.memory

    @property
    def buffers(self) -> Buffers:
        """The partition's RX/TX pair."""
        return self._endpoint.buffers

    @property
    def ram(self) -> Ram:
        """The partition's free pages."""
        return self._endpoint.ram

    def region(self, name: str) -> tuple[int, int]:
        """IPA and bytes of a memory region of the partition's manifest; KeyError if there is none.

        (A VM that was created while the system runs has none.)
        """
        for each in self._endpoint.spec.memory:
            if each.name == name != "ram":
                return each.ipa, each.size
        raise KeyError(name)

    @property
    def gic(self) -> GicSpec:
        """The IPAs of the frames of its GIC, if it has one: a VM's own, or the machine's."""
        return self._endpoint.system.spec.gic

    @property
    def outside(self) -> Outside:
        """What goes on in other processes, for software that has to do with them."""
        from ffabric.machine.host.outside import Outside  # noqa: PLC0415 - few need it

        machine = self._endpoint.system.machine
        if machine.outside is None:
            machine.outside = Outside()
        outside: Outside = machine.outside
        return outside

    def ring(self, intid: int) -> None:
        """Make an interrupt of the partition's pending, as somebody outside would."""
        self._endpoint.system.machine.gic.set_pending(intid)

    def mrs(self, register: str) -> int:
        """Read a system register of the GIC's CPU interface or of a timer, "ICC_IAR1_EL1"."""
        return self._system_register(register, write=False, value=0)

    def msr(self, register: str, value: int) -> None:
        """Write a system register."""
        self._system_register(register, write=True, value=value)

    def _system_register(self, register: str, *, write: bool, value: int) -> int:
        registers = self._endpoint.system.cpu_registers
        answer = registers.access(self._ctx, register, write, value)
        if answer is None:
            raise UndefinedRegister(f"{register} is undefined for {self.name}")
        return answer

    @property
    def failure(self) -> Exception | None:
        """Why the system has stopped, if a crash stopped it."""
        return self._endpoint.system.failure

    @property
    def stalled(self) -> str:
        """Why nothing can run, in one line: what everybody waits for."""
        return reason(self._endpoint.system)

    def refusal(self, status: Status) -> Refusal | None:
        """Which rule has just refused its call with ``status``; None if no rule did."""
        return self._endpoint.system.refusal_of(self._ctx, status)

    def resolve(self, endpoint: Peer) -> int:
        """The id of an endpoint. Raises LookupError if the system has none of that name."""
        if isinstance(endpoint, int):
            if endpoint >> 16:
                raise ValueError(f"{endpoint:#x} is not an endpoint id: these have 16 bits")
            return endpoint
        return self._endpoint.system.resolve(endpoint)

    def __repr__(self) -> str:
        return f"<Vcpu {self._ctx.name}>"
