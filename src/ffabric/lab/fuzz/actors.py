"""The endpoints of a campaign: vCPUs that are driven call by call, and what they know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.machine import Stalled
from ffabric.session.system import System

if TYPE_CHECKING:
    from ffabric.system.system import Endpoint

POISON = 0xA5A5_5A5A_0000_0000
"""What the registers behind the arguments hold before a call, and should hold after it."""


class Buffers:
    """Where the RX/TX pair of an endpoint is; 0: it has none."""

    def __init__(self) -> None:
        self.tx = 0
        self.rx = 0


class Actor:
    """A vCPU of an endpoint: ``call`` makes a call, ``ready`` says whether it can.

    ``first`` is the endpoint's first vCPU, None for that one itself.
    """

    def __init__(
        self, session: System, endpoint: Endpoint, index: int = 0, first: Actor | None = None
    ) -> None:
        self.session = session
        self.endpoint = endpoint
        self.name = f"{endpoint.name}.{index}"
        self.id = endpoint.id
        self.ctx: ExecutionContext = endpoint.partition.contexts[index]
        runner = self.ctx.runner
        assert isinstance(runner, DrivenRunner)
        self.runner = runner
        self.version = endpoint.spec.manifest.ffa_version
        self.memory = endpoint.memory
        self.ram = endpoint.ram
        self.secure = endpoint.spec.secure
        self.kernel = endpoint.partition.stage2 is None
        """It is the OS kernel of a system without a hypervisor."""
        self.conduit = endpoint.vcpu(self.ctx).conduit
        self._buffers: Buffers = first._buffers if first else Buffers()
        self._asleep = False

    @property
    def alive(self) -> bool:
        """Whether it can still do anything."""
        pe = self.ctx.pe
        if self.kernel:
            return self.endpoint.partition.alive and pe is not None and pe.on
        if not self.endpoint.partition.up and pe is not None and not pe.on:
            return False
        return self.ctx.state not in (State.ABORTED, State.OFF)

    def ready(self) -> bool:
        """Take the PE, if the scheduler may give it to this vCPU now."""
        if not self.alive:
            return False
        if not self.runner.in_control:
            if self._asleep:
                self._wake()
            try:
                self.session.system.give(self.ctx)
            except Stalled:
                return False
        return self.runner.in_control

    def _wake(self) -> None:
        """An interrupt comes for a vCPU that has suspended itself."""
        self._asleep = False
        hypervisor = self.session.system.firmware.hypervisor
        if hypervisor is not None:
            hypervisor.wake(self.ctx)
        elif self.ctx.pe is not None:
            self.session.system.machine.wake(self.ctx.pe)

    def call(self, registers: list[int]) -> bool:
        """Make a call (``ready`` said so): True when it has returned, with the answer in ``x``."""
        x = self.ctx.x
        count = len(registers)
        x[:] = registers + _POISON[count:]
        returned = self.runner.call(self.conduit)
        self._follow(registers)
        self._asleep = not returned and registers[0] & MASK32 in _SLEEPS
        return returned

    @property
    def x(self) -> list[int]:
        """Its registers."""
        return self.ctx.x

    @property
    def failed(self) -> bool:
        """Whether the last call was answered with FFA_ERROR."""
        return self.ctx.x[0] & MASK32 == fid.FFA_ERROR

    def _follow(self, made: list[int]) -> None:
        """Remember where the buffers are."""
        function = made[0] & MASK32
        if function in _MAPS and not self.failed:
            narrow = MASK32 if function == fid.FFA_RXTX_MAP_32 else (1 << 64) - 1
            self._buffers.tx, self._buffers.rx = made[1] & narrow, made[2] & narrow
        elif function == fid.FFA_RXTX_UNMAP and not self.failed:
            self._buffers.tx = self._buffers.rx = 0

    @property
    def tx(self) -> int:
        """The address of TX, 0 if it has none."""
        return self._buffers.tx

    @property
    def rx(self) -> int:
        """The address of RX, 0 if it has none."""
        return self._buffers.rx

    def map_buffers(self) -> bool:
        """FFA_RXTX_MAP of the last pages of its memory."""
        tx = self.ram.base + self.ram.size - 2 * PAGE
        return self.call([fid.FFA_RXTX_MAP_64, tx, tx + PAGE, 1]) and not self.failed

    def put(self, data: bytes) -> None:
        """Write into TX, if there is one."""
        if self.tx:
            self.memory.write(self.tx, data[:PAGE])

    def got(self, length: int) -> bytes:
        """Read from RX."""
        return self.memory.read(self.rx, min(length, PAGE)) if self.rx else b""


_POISON = [POISON | n if n > 7 else 0 for n in range(18)]
_SLEEPS = (psci.CPU_SUSPEND_32, psci.CPU_SUSPEND_64)
_MAPS = (fid.FFA_RXTX_MAP_32, fid.FFA_RXTX_MAP_64)
