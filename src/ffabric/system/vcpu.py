"""What the software of a Python partition has in hand on one vCPU: registers, memory, a conduit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.system.waiting import reason

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.access import GuestAccess
    from ffabric.system.spec import GicSpec
    from ffabric.system.system import Endpoint


class OutOfMemory(Exception):  # noqa: N818 - an answer, as malloc gives
    """The partition's own memory has no run of free pages that long."""


class UndefinedRegister(Exception):  # noqa: N818 - what a core would take an exception for
    """The vCPU has no such system register."""


class Ram:
    """The pages of a partition's memory that its software has not given a purpose yet.

    Addresses are IPAs. One allocator serves all vCPUs of the partition.
    """

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.size = size
        self._used = bytearray(size // PAGE)

    def allocate(self, pages: int = 1) -> int:
        """The IPA of ``pages`` free pages in a row."""
        at = self._used.find(bytes(pages)) if pages <= len(self._used) else -1
        if at < 0:
            raise OutOfMemory(f"{pages} pages of {len(self._used)}")
        self._used[at : at + pages] = b"\1" * pages
        return self.base + at * PAGE

    def free(self, ipa: int, pages: int = 1) -> None:
        """Give pages back."""
        at = (ipa - self.base) // PAGE
        self._used[at : at + pages] = bytes(pages)


class Buffers:
    """The RX/TX pair of a partition: the IPAs of TX and RX, and the pages of each (0: none)."""

    __slots__ = ("pages", "rx", "tx")

    def __init__(self) -> None:
        self.tx = 0
        self.rx = 0
        self.pages = 0


class Vcpu:
    """One vCPU of a partition as its software finds it when it starts."""

    def __init__(self, endpoint: Endpoint, ctx: ExecutionContext, conduit: int) -> None:
        self.ctx = ctx
        self.conduit = conduit
        self.version = endpoint.partition.version
        self.name = endpoint.spec.name
        self._endpoint = endpoint

    @property
    def index(self) -> int:
        """Which vCPU of the partition it is."""
        return self.ctx.index

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
        return [pe.mpidr for pe in self._endpoint.system.machine.pes[: self.count]]

    @property
    def secure(self) -> bool:
        """Whether it is a vCPU of a secure partition."""
        return self._endpoint.spec.secure

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

    @property
    def gic(self) -> GicSpec:
        """The IPAs of the frames of its GIC, if it has one: a VM's own, or the machine's."""
        return self._endpoint.system.spec.gic

    def mrs(self, register: str) -> int:
        """Read a system register of the GIC's CPU interface or of a timer, "ICC_IAR1_EL1"."""
        return self._system_register(register, write=False, value=0)

    def msr(self, register: str, value: int) -> None:
        """Write a system register."""
        self._system_register(register, write=True, value=value)

    def _system_register(self, register: str, *, write: bool, value: int) -> int:
        registers = self._endpoint.system.cpu_registers
        answer = registers.access(self.ctx, register, write, value)
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

    def resolve(self, endpoint: object) -> int:
        """The id of what the program calls an endpoint: an id, a name, a partition object."""
        return endpoint if isinstance(endpoint, int) else self._endpoint.system.resolve(endpoint)
