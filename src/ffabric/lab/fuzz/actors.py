"""The endpoints of a campaign: vCPUs that are driven exit by exit, and what they know.

A request may carry a *nonce* in the first word of its payload, and whoever answers as it should
sends it back. An answer with the nonce of another request is somebody else's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from ffabric.abi import psci
from ffabric.abi.ffa import framework
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_ID_MASK
from ffabric.abi.words import MASK16, MASK32, PAGE, pack_ids
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.endpoints import sp_of
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.machine import exits
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.faults import DATA, Fault

if TYPE_CHECKING:
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.system import System

POISON = 0xA5A5_5A5A_0000_0000
"""What the registers behind the arguments hold before a call, and should hold after it."""
ASKED = 0x5EED_0000
"""Bits 31:16 of a nonce in a request; the others tell the requests apart."""
ANSWERED = 0x5EEE_0000
"""Bits 31:16 of a nonce in the answer to that request."""
REQUESTS = {
    fid.FFA_MSG_SEND_DIRECT_REQ_32: 3,
    fid.FFA_MSG_SEND_DIRECT_REQ_64: 3,
    fid.FFA_MSG_SEND_DIRECT_REQ2: 4,
}
"""Direct requests, and the register where the payload begins."""
RESPONSES = {
    fid.FFA_MSG_SEND_DIRECT_RESP_32: 3,
    fid.FFA_MSG_SEND_DIRECT_RESP_64: 3,
    fid.FFA_MSG_SEND_DIRECT_RESP2: 4,
}
FAULT = Fault(
    DATA, ipa=0x4_0000_0000, va=0x4_0000_0000, write=True, syndrome=0x9200_0046, pc=0x4000_0000
)
"""A store where stage 2 maps nothing."""


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
        self, system: System, endpoint: Endpoint, index: int = 0, first: Actor | None = None
    ) -> None:
        self.system = system
        self.endpoint = endpoint
        self.name = f"{endpoint.name}.{index}"
        self.id = endpoint.id
        self.ctx: ExecutionContext = endpoint.partition.contexts[index]
        self.version = endpoint.spec.manifest.ffa_version
        self.memory = endpoint.memory
        self.ram = endpoint.ram
        self.secure = endpoint.spec.secure
        self.entry = endpoint.spec.entry
        """Where its vCPUs begin."""
        self.kernel = endpoint.partition.stage2 is None
        """It is the OS kernel of a system without a hypervisor."""
        self.conduit = endpoint.vcpu(self.ctx).conduit
        self.primary: Actor | None = None
        """Who gives it cycles with FFA_RUN: a vCPU of the primary VM."""
        self.secondaries: Sequence[Actor] = ()
        """Whom it gives cycles, if it is that one."""
        self._buffers: Buffers = first._buffers if first else Buffers()
        if endpoint.spec.buffers:
            tx, rx = endpoint.spec.buffers
            self._buffers.tx, self._buffers.rx = tx.base_address or 0, rx.base_address or 0
        self._asleep = False
        self.turned_off = False
        """It has turned itself off."""
        self._asked: set[int] = set()
        """The nonces of its requests without an answer."""
        self._question = 0
        """The nonce of the request that it serves."""
        """Its flags: it may be a message of the framework."""

    @property
    def runner(self) -> DrivenRunner:
        """What drives it: a new image of an SP has another one."""
        return cast(DrivenRunner, self.ctx.runner)

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
            if not self.runner.wait():
                self._come_by_cycles()
                return self.runner.wait()
        return True

    def _come_by_cycles(self) -> None:
        """The scheduler gives it the PE: the normal world's, or the primary VM."""
        if self.primary is None:
            for other in self.secondaries:
                if other.runner.in_control and other.ctx.pe is self.ctx.pe:
                    other.give_back()
            if not self.runner.wait():
                self.system.firmware.dispatch(self.ctx)
        elif self.primary.ready():
            self.primary.call([fid.FFA_RUN, pack_ids(self.id, self.ctx.index)])

    def give_back(self) -> None:
        """It is done, for the time being: who has given it the PE has it again."""
        self.call(self.response if self.serves else [fid.FFA_MSG_WAIT])

    def _wake(self) -> None:
        """An interrupt comes for a vCPU that has suspended itself."""
        self._asleep = False
        if self.primary is not None:
            self.ctx.idles = False  # it goes on with the next FFA_RUN
            return
        hypervisor = self.system.firmware.hypervisor
        if hypervisor is not None and not self.secure:
            hypervisor.wake(self.ctx)
        elif self.ctx.pe is not None:
            self.system.firmware.wake(self.ctx.pe)

    def call(self, registers: list[int]) -> bool:
        """Make a call (``ready`` said so): True when it has returned, with the answer in ``x``."""
        self.hear()
        x = self.ctx.x
        count = len(registers)
        x[:] = registers + _POISON[count:]
        function = registers[0] & MASK32
        if function in REQUESTS:
            self._asked.add(_nonce(x[REQUESTS[function]], ASKED))
        returned = self.runner.call(self.conduit)
        self._follow(registers)
        self._asleep = not returned and function in _SLEEPS
        self.turned_off = not returned and function == psci.CPU_OFF
        return returned

    def leave(self, exit_: int) -> None:
        """Make an exit that is no call: the end of its time slice, WFI, an abort or a crash."""
        self.hear()
        self.ctx.fault = FAULT
        self.ctx.crash = "killed"
        returned = self.runner.call(exit_)
        self._asleep = not returned and exit_ == exits.IDLE

    def forget_end(self) -> None:
        """Nobody asks any more why it made the last exit that was no call."""
        self.ctx.fault = None
        self.ctx.crash = ""

    def hear(self) -> None:
        """Look at the message in its registers: is an answer the one to its own request?"""
        x = self.ctx.x
        function = x[0]
        if x[1] & MASK16 != self.id:
            return  # none, or one of its own
        if function in RESPONSES:
            nonce = _nonce(x[RESPONSES[function]], ANSWERED)
            if nonce and nonce not in self._asked:
                raise Discrepancy(f"{self.name} gets the answer to somebody else's request")
            self._asked.discard(nonce)
            x[0] = fid.FFA_SUCCESS_32
        elif function in REQUESTS:
            self._question = _nonce(x[REQUESTS[function]], ASKED)

    @property
    def serves(self) -> bool:
        """Whether it has a request to answer."""
        return self.ctx.model is Model.DIR_REQ

    @property
    def response(self) -> list[int]:
        """The registers that answer the direct request which it serves."""
        self.hear()
        ids = pack_ids(self.id, self.ctx.sender)
        answer = ANSWERED | self._question if self._question else 0
        if self.ctx.request == fid.FFA_MSG_SEND_DIRECT_REQ2:
            return [fid.FFA_MSG_SEND_DIRECT_RESP2, ids, 0, 0, answer]
        if self.ctx.framework:
            response = framework.RESPONSES[self.ctx.framework]
            if response & FRAMEWORK_ID_MASK == framework.PARTITION_STOP_ACK:
                live_state = sp_of(self.endpoint.partition).live_state
                return [fid.FFA_MSG_SEND_DIRECT_RESP_64, ids, response, 0, *live_state]
            return [fid.FFA_MSG_SEND_DIRECT_RESP_32, ids, response, 0]
        return [fid.FFA_MSG_SEND_DIRECT_RESP_32, ids, 0, answer]

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

    @property
    def buffers(self) -> list[int]:
        """The registers of FFA_RXTX_MAP of the last pages of its memory."""
        tx = self.ram.base + self.ram.size - 2 * PAGE
        return [fid.FFA_RXTX_MAP_64, tx, tx + PAGE, 1]

    def map_buffers(self) -> bool:
        """Map the last pages of its memory; False: that fails, or has not returned yet."""
        return self.call(self.buffers) and not self.failed

    def put(self, data: bytes) -> None:
        """Write into TX, if there is one."""
        if self.tx:
            self.memory.write(self.tx, data[:PAGE])

    def got(self, length: int) -> bytes:
        """Read from RX."""
        return self.memory.read(self.rx, min(length, PAGE)) if self.rx else b""


def _nonce(word: int, mark: int) -> int:
    """The nonce in the first word of a payload; 0: there is none."""
    return word & 0xFFFF if word & ~0xFFFF == mark else 0


_POISON = [POISON | n if n > 7 else 0 for n in range(18)]
_SLEEPS = (psci.CPU_SUSPEND_32, psci.CPU_SUSPEND_64)
_MAPS = (fid.FFA_RXTX_MAP_32, fid.FFA_RXTX_MAP_64)
