"""EL3: the SPMD between the worlds, PSCI, EL3 logical partitions, a trusted OS's dispatcher.

The monitor switches worlds: an FF-A call of the normal world that it does not answer itself goes
to the SPMC with its registers, and the SPMC's answer goes back. A reply that is no extended one
leaves x8 to x17 of the caller as they were (DEN0077A 1.2, section 11.2; SMCCC 1.2). Every switch
is counted: it is what a real system pays for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from ffabric.abi import smccc
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.framework import PowerMessages
from ffabric.abi.psci import CPU_OFF, Return
from ffabric.abi.words import MASK32
from ffabric.firmware.monitor import power, psci
from ffabric.firmware.monitor.logical import read_receiver
from ffabric.firmware.monitor.worlds import Cpu
from ffabric.firmware.state import events, reply
from ffabric.firmware.state.context import State
from ffabric.firmware.state.interface.platform_calls import NO_PLATFORM_CALLS, PlatformCalls
from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
from ffabric.machine import exits

if TYPE_CHECKING:
    from ffabric.firmware.monitor.dispatcher import Dispatcher
    from ffabric.firmware.monitor.group0 import Group0
    from ffabric.firmware.monitor.live_activation import LiveActivation
    from ffabric.firmware.monitor.logical import LogicalPartitions
    from ffabric.firmware.monitor.worlds import NormalWorld, SecureWorld
    from ffabric.machine.context import PE
    from ffabric.machine.events import Tracer
    from ffabric.machine.machine import Machine

NOT_SUPPORTED = 0xFFFFFFFFFFFFFFFF
_SMC = exits.SMC


class Monitor:
    """The secure monitor."""

    name = "monitor"

    normal: NormalWorld
    """Set once it has been made: it needs the monitor for its calls."""

    def __init__(
        self,
        machine: Machine,
        secure: SecureWorld,
        logical: LogicalPartitions,
        platform: PlatformCalls = NO_PLATFORM_CALLS,
    ) -> None:
        self.machine = machine
        self.secure = secure
        self.logical = logical
        self.platform = platform
        """The platform's own calls."""
        self.dispatcher: Dispatcher | None = None
        """Who speaks with the trusted OS, if there is one."""
        self.forward: Callable[[PE, list[int]], Next] = self._pass_on
        """Where FF-A calls of the normal world go that EL3 does not answer: to the SPMC."""
        self.group0: Group0 | None = None
        """The interrupts that are EL3's own, if it has any."""
        self.live_activation: LiveActivation | None = None
        """The agent for Live Firmware Activation, if any component can be activated."""
        self.tracer: Tracer | None = None
        self.world_switches = 0
        self.cpus = [Cpu() for _ in machine.pes]
        self.power_state = "on"
        self.psci = psci.Psci(machine, self)
        for gate in secure.gates:
            gate.gate = self.from_secure

    def from_normal(self, pe: PE, caller: ExecutionContext) -> Next:
        """An SMC of the normal world (its EL2, or the OS kernel)."""
        x = caller.x
        function = x[0] & MASK32
        if function & smccc.SVE_HINT and function & smccc.FAST_CALL:
            function = x[0] = function & ~smccc.SVE_HINT
        forward = self.forward
        if function in _FOR_SPMC:
            return forward(pe, x)
        world = self.secure.normal_world
        if function in fid.DIRECT_REQUESTS:
            if read_receiver(x) in self.logical.ids and _uses(world, function):
                if self._well_formed(pe, caller, function):
                    self.logical.request(pe, x)
                return self.answered(pe, caller)
            return forward(pe, x)
        local = _LOCAL.get(function)
        if local is not None and (not fid.is_ffa(function) or _uses(world, function)):
            if self._well_formed(pe, caller, function):
                local(self, pe, x)
            return self.answered(pe, caller)
        return forward(pe, x) if fid.is_ffa(function) else self._other(pe, caller, function)

    def _other(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """A call of the normal world that is not of the Framework."""
        if self.dispatcher is not None and smccc.is_for_trusted_os(function):
            return self.dispatcher.call(pe, caller)
        if function in psci.HANDLERS:
            return self._power_call(pe, caller, function)
        if self.live_activation is not None and function in self.live_activation:
            return self.live_activation.call(pe, caller)
        if not self.platform.answer(function, caller.x):
            caller.x[0] = NOT_SUPPORTED
        return self.answered(pe, caller)

    def _power_call(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """A PSCI call: SPs that want to know are told first."""
        event = power.BEFORE.get(function)
        told = () if event is None else (function, *power.arguments(function, caller.x))
        if event is not None and (nxt := power.tell(self.secure, pe, event, *told)):
            self.cpus[pe.index].telling = (event, caller)
            self._switch(pe, "secure")
            return nxt
        return self._psci(pe, caller)

    def _psci(self, pe: PE, caller: ExecutionContext) -> Next:
        """SPs know of it; a trusted OS, or an SPMC below EL3, hears of it now."""
        nxt = None if self.dispatcher is None else self.dispatcher.power_down(pe, caller)
        return self.power_call(pe, caller) if nxt is None else nxt

    def power_call(self, pe: PE, caller: ExecutionContext) -> Next:
        """Make the PSCI call of ``caller``: who is to hear of it has."""
        function = caller.x[0] & MASK32
        if psci.HANDLERS[function](self.psci, pe, caller.x) is not False:
            if self.cpus[pe.index].is_suspended and self.machine.outside is not None:
                return self.woken(pe)
            return self.answered(pe, caller)
        if not pe.on and caller.state is State.RUNNING:
            caller.power_off()
        if function == CPU_OFF:
            self.secure.powered_off(pe)
        if self.live_activation is not None:
            self.live_activation.left()
        return None

    def suspended(self, pe: PE) -> None:
        """``pe`` has called CPU_SUSPEND, and gives way until an interrupt is pending."""
        self.cpus[pe.index].is_suspended = True
        if self.machine.outside is not None:
            return  # a CPU elsewhere has interrupts that nobody sees here: it is awake again
        if pe.current is not None and not pe.current.secure:  # as with WFI
            self._suspend(pe)
        else:  # the exit is that of an SP which was told: its caller is not there yet
            clock = self.machine.clock
            clock.at(clock.now, partial(self._suspend, pe))

    def _suspend(self, pe: PE) -> None:
        """Let ``pe`` wait, unless an interrupt has come first, or pends already and comes now."""
        if not self.cpus[pe.index].is_suspended:
            return
        self.machine.idle(pe)
        if not pe.idle:
            self.machine.interrupts_changed = True

    def woken(self, pe: PE) -> Next:
        """An interrupt ends the suspension of ``pe``: who runs next."""
        self.cpus[pe.index].is_suspended = False
        nxt = power.tell(self.secure, pe, PowerMessages.CPU_SUSPEND_RESUME, power.LOW_POWER)
        if nxt is None:
            return self.normal.resumed(pe)
        self.cpus[pe.index].telling = (PowerMessages.CPU_SUSPEND_RESUME, None)
        self._switch(pe, "secure")
        return nxt

    def _told(self, pe: PE) -> Next:
        """An SP has heard what becomes of the PE: tell the next, or do it."""
        cpu = self.cpus[pe.index]
        assert cpu.telling is not None
        _, caller = cpu.telling
        denied = caller is not None and power.denies(self.secure, pe)
        if nxt := self.secure.tell_next(pe):
            return nxt
        cpu.telling = None
        if not cpu.is_started:
            return self._secure_is_ready(pe)
        self.secure.leaving(pe)
        self._switch(pe, "normal")
        if caller is None:
            return self.normal.resumed(pe)
        if denied:
            caller.x[0] = Return.DENIED.register64
            return self.answered(pe, caller)
        return self._psci(pe, caller)

    def _well_formed(self, pe: PE, caller: ExecutionContext, function: int) -> bool:
        """Judge the registers of a call that EL3 answers; if not, it is answered with an error."""
        if function in fid.FUNCTIONS:
            caller.x[0] = function
            return self.secure.admits(pe, caller)
        return True

    def _pass_on(self, pe: PE, x: list[int]) -> Next:
        """The SPMC answers."""
        secure = self.secure
        gate = secure.gates[pe.index]
        gate.x[:] = x
        self.world_switches += 1
        if self.tracer is not None:
            self.tracer.record(events.World(pe.index, "secure"))
            self.tracer.record(events.Hop(pe.index, gate.endpoint, gate.index, tuple(x)))
        return secure.trap(pe, gate, _SMC)

    def answered(self, pe: PE, caller: ExecutionContext) -> Next:
        """The SMC of ``caller`` has its answer."""
        return self.normal.returned(pe, caller)

    def from_secure(self, pe: PE, gate: ExecutionContext) -> Next:
        """The secure world of ``pe`` returns to the normal world."""
        cpu, normal = self.cpus[pe.index], self.normal
        if cpu.telling is not None:
            return self._told(pe)
        if cpu.activates:
            assert self.live_activation is not None
            return self.live_activation.returned(pe)
        if not cpu.is_started:
            return self._initialised(pe)
        if self.secure.cpus[pe.index].delayed_sri:
            self.secure.leaving(pe)
        self.world_switches += 1
        if self.tracer is not None:
            self.tracer.record(events.World(pe.index, "normal"))
        if cpu.is_lent or gate.x[0] == fid.FFA_NORMAL_WORLD_RESUME:
            cpu.is_lent = False
            return normal.resumed(pe)
        requester = normal.gates[pe.index]
        requester.x[:] = gate.x
        return normal.returned(pe, requester)

    def _initialised(self, pe: PE) -> Next:
        """The contexts of SPs on ``pe`` are there: who wants to know that it is on?"""
        cpu = self.cpus[pe.index]
        waker, cpu.waker = cpu.waker, 0
        if waker:
            nxt = power.tell(self.secure, pe, PowerMessages.CPU_ON, waker, pe.mpidr)
            if nxt is not None:
                cpu.telling = (PowerMessages.CPU_ON, None)
                return nxt
        return self._secure_is_ready(pe)

    def _secure_is_ready(self, pe: PE) -> Next:
        self.secure.leaving(pe)
        first = None if self.dispatcher is None else self.dispatcher.boots(pe)
        return first or self.enter_normal(pe)

    def enter_normal(self, pe: PE) -> Next:
        """The secure world of ``pe`` is ready: start the normal world."""
        self.cpus[pe.index].is_started = True
        self._switch(pe, "normal")
        return self.normal.boot(pe)

    def resumed(self, pe: PE) -> Next:
        """The secure world took ``pe`` for its own purposes and gives it back."""
        return self.normal.resumed(pe)

    def power_on(self, pe: PE) -> None:
        """Start ``pe``: the secure world initialises first, then the normal world is entered."""
        pe.on = True
        self._switch(pe, "secure")
        nxt: Next = self.secure.boot(pe)
        while nxt is not None and nxt.gate is not None:
            nxt = nxt.gate(pe, nxt)
        self.machine.schedule(pe, nxt)

    def panic(self, reason: str) -> None:
        """The SPMC passes a fatal error on (FFA_ABORT): nothing goes on."""
        self.psci.end(f"panic: {reason}")

    def to_secure(self, pe: PE) -> None:
        """A secure interrupt takes ``pe`` from the normal world."""
        self._switch(pe, "secure")

    def to_normal(self, pe: PE) -> None:
        """The SPMC had nothing to run for it: back at once."""
        if self.secure.cpus[pe.index].delayed_sri:
            self.secure.leaving(pe)
        self._switch(pe, "normal")

    def lend(self, pe: PE) -> None:
        """The scheduler of the normal world gives ``pe`` to an SP (FFA_RUN on its own account)."""
        self.cpus[pe.index].is_lent = True
        self.normal.leave(pe)
        self._switch(pe, "secure")

    def _switch(self, pe: PE, world: Literal["secure", "normal"]) -> None:
        self.world_switches += 1
        if self.tracer is not None:
            self.tracer.record(events.World(pe.index, world))


def _uses(world: Partition, function: int) -> bool:
    """Note that the normal world uses the Framework, if its version has the call at all.

    If not, the SPMC refuses it.
    """
    known = world.calls.offers(function, world.version)
    world.negotiation.ended = world.negotiation.ended or known
    return known


def _id_get(monitor: Monitor, pe: PE, x: list[int]) -> None:
    reply.success(x, monitor.secure.normal_world.id)


def _spm_id_get(monitor: Monitor, pe: PE, x: list[int]) -> None:
    reply.success(x, monitor.secure.spm_id)


def _smccc_version(monitor: Monitor, pe: PE, x: list[int]) -> None:
    x[0] = smccc.VERSION_1_2


def _arch_features(monitor: Monitor, pe: PE, x: list[int]) -> None:
    known = (smccc.SMCCC_VERSION, smccc.SMCCC_ARCH_FEATURES)
    x[0] = 0 if x[1] & MASK32 in known else NOT_SUPPORTED


_LOCAL: dict[int, Callable[[Monitor, PE, list[int]], None]] = {
    fid.FFA_ID_GET: _id_get,
    fid.FFA_SPM_ID_GET: _spm_id_get,
    smccc.SMCCC_VERSION: _smccc_version,
    smccc.SMCCC_ARCH_FEATURES: _arch_features,
}
_FOR_SPMC = frozenset(fid.FUNCTIONS) - fid.DIRECT_REQUESTS - frozenset(_LOCAL)
"""Function ids that EL3 answers for nobody."""
