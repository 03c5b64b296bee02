"""EL3: the SPMD between the worlds, PSCI, EL3 logical partitions, a trusted OS's dispatcher.

The monitor switches worlds: an FF-A call of the normal world that it does not answer itself goes
to the SPMC with its registers, and the SPMC's answer goes back. A reply that is no extended one
leaves x8 to x17 of the caller as they were (DEN0077A 1.2, section 11.2; SMCCC 1.2). Every switch
is counted: it is what a real system pays for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi import smccc
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager import direct, reply
from ffabric.firmware.manager.manager import Next
from ffabric.firmware.manager.partition import ExecutionContext, Partition
from ffabric.firmware.monitor.psci import Psci
from ffabric.firmware.monitor.trusted_os import Dispatcher, is_for_trusted_os
from ffabric.machine import exits

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.manager.manager import Tracer
    from ffabric.firmware.monitor.logical import LogicalPartition
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.machine.machine import PE, Machine

MASK32 = 0xFFFFFFFF
NOT_SUPPORTED = 0xFFFFFFFFFFFFFFFF


class Monitor:
    """The secure monitor."""

    name = "monitor"

    def __init__(self, machine: Machine, spmc: Spmc) -> None:
        self.machine = machine
        self.spmc = spmc
        self.hypervisor: Hypervisor | None = None
        self.kernel: list[ExecutionContext] = []
        """Without a hypervisor: the OS kernel's contexts, one per PE."""
        self.dispatcher: Dispatcher | None = None
        """Who speaks with the trusted OS, if there is one."""
        self.logical: dict[int, LogicalPartition] = {}
        self.tracer: Tracer | None = None
        self.on_death: Callable[[Partition], None] | None = None
        """Gets the OS kernel when it crashes."""
        self.world_switches = 0
        self._lent = [False] * len(machine.pes)
        """PEs that the scheduler has given to an SP: nobody waits for what the SP answers."""
        self.started = [False] * len(machine.pes)
        """PEs whose normal world runs."""
        self.power_state = "on"
        self.psci = Psci(machine, self)
        spmc.monitor = self
        for gate in spmc.gates:
            gate.gate = self.from_secure

    def trap(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """An exit of the OS kernel, where there is no hypervisor beneath it."""
        if exit_ == exits.SMC:
            if self.tracer is not None:
                self.tracer.call(pe, ctx, ctx.x)
            return self.from_normal(pe, ctx)
        return _KERNEL_EXITS[exit_](self, pe, ctx)

    def from_normal(self, pe: PE, caller: ExecutionContext) -> Next:
        """An SMC of the normal world (its EL2, or the OS kernel)."""
        x = caller.x
        function = x[0] & MASK32
        if function in _FOR_SPMC:
            return self._pass_on(pe, x)
        local = _LOCAL.get(function)
        if local is not None:
            local(self, pe, x)
            return self.answered(pe, caller)
        if not fid.is_ffa(function):
            if self.dispatcher is not None and is_for_trusted_os(function):
                return self.dispatcher.call(pe, caller)
            handler = self.psci.handlers.get(function)
            if handler is None:
                x[0] = NOT_SUPPORTED
            elif handler(pe, x) is False:
                return None
            return self.answered(pe, caller)
        if function in direct.REQUESTS and x[1] & 0xFFFF in self.logical:
            self.logical_request(pe, x)
            return self.answered(pe, caller)
        return self._pass_on(pe, x)

    def _pass_on(self, pe: PE, x: list[int]) -> Next:
        """The SPMC answers."""
        gate = self.spmc.gates[pe.index]
        gate.x[:] = x
        self._switch(pe, "secure")
        return self.spmc.call(pe, gate)

    def answered(self, pe: PE, caller: ExecutionContext) -> Next:
        """The SMC of ``caller`` has its answer."""
        if self.hypervisor is not None:
            return self.hypervisor.returned(pe, caller)
        return caller

    def from_secure(self, pe: PE, gate: ExecutionContext) -> Next:
        """The SPMC returns to the normal world of ``pe``."""
        self.spmc.leaving(pe)
        if not self.started[pe.index]:
            first = None if self.dispatcher is None else self.dispatcher.boots(pe)
            return first or self.enter_normal(pe)
        self._switch(pe, "normal")
        resuming = gate.x[0] == fid.FFA_NORMAL_WORLD_RESUME or self._lent[pe.index]
        self._lent[pe.index] = False
        if self.hypervisor is not None:
            if resuming:
                return self.hypervisor.resumed(pe)
            back = self.hypervisor.gates[pe.index]
            back.x[:] = gate.x
            return self.hypervisor.returned(pe, back)
        kernel = self.kernel[pe.index]
        if not resuming:
            kernel.x[:] = gate.x
        return kernel

    def enter_normal(self, pe: PE) -> Next:
        """The secure world of ``pe`` is ready: start the normal world."""
        self.started[pe.index] = True
        self._switch(pe, "normal")
        if self.hypervisor is not None:
            return self.hypervisor.boot(pe)
        kernel = self.kernel[pe.index]
        entry, argument = self.psci.entries[pe.index]
        kernel.pe = pe
        assert kernel.runner is not None
        kernel.runner.start(entry, argument)
        return kernel

    def resumed(self, pe: PE) -> Next:
        """The secure world took ``pe`` for its own purposes and gives it back."""
        return self.kernel[pe.index] if self.hypervisor is None else self.hypervisor.resumed(pe)

    def power_on(self, pe: PE) -> None:
        """Start ``pe``: the secure world initialises first, then the normal world is entered."""
        pe.on = True
        self._switch(pe, "secure")
        nxt: Next = self.spmc.boot(pe)
        while nxt is not None and nxt.gate is not None:
            nxt = nxt.gate(pe, nxt)
        self.machine.schedule(pe, nxt)

    def logical_request(self, pe: PE, x: list[int]) -> None:
        """A direct request to a logical partition at EL3: answered here."""
        partition = self.logical[x[1] & 0xFFFF]
        if partition.serve is None:
            reply.error(x, Status.DENIED)
            return
        partition.request(x)
        if self.tracer is not None:
            self.tracer.event(pe, "logical", partition=partition.name)

    def to_secure(self, pe: PE) -> None:
        """A secure interrupt takes ``pe`` from the normal world."""
        self._switch(pe, "secure")

    def to_normal(self, pe: PE) -> None:
        """The SPMC had nothing to run for it: back at once."""
        self.spmc.leaving(pe)
        self._switch(pe, "normal")

    def lend(self, pe: PE) -> None:
        """The scheduler of the normal world gives ``pe`` to an SP (FFA_RUN on its own account)."""
        self._lent[pe.index] = True
        if self.hypervisor is not None:
            self.hypervisor.leave(pe)
        self._switch(pe, "secure")

    def give(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The OS kernel's context runs whenever the normal world has the PE."""
        return ctx if pe.current is ctx else None

    def _switch(self, pe: PE, world: str) -> None:
        self.world_switches += 1
        if self.tracer is not None:
            self.tracer.event(pe, "world", to=world)


def _id_get(monitor: Monitor, pe: PE, x: list[int]) -> None:
    reply.success(x, monitor.spmc.normal_world.id)


def _spm_id_get(monitor: Monitor, pe: PE, x: list[int]) -> None:
    reply.success(x, monitor.spmc.spm_id)


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
_FOR_SPMC = frozenset(fid.FUNCTIONS) - direct.REQUESTS - frozenset(_LOCAL)
"""Function ids that EL3 answers for nobody."""


def _hvc(monitor: Monitor, pe: PE, ctx: ExecutionContext) -> Next:
    ctx.x[0] = NOT_SUPPORTED
    return ctx


def _idle(monitor: Monitor, pe: PE, ctx: ExecutionContext) -> Next:
    monitor.machine.idle(pe)
    return ctx


def _slice(monitor: Monitor, pe: PE, ctx: ExecutionContext) -> Next:
    return ctx


def _abort(monitor: Monitor, pe: PE, ctx: ExecutionContext) -> Next:
    fault = ctx.fault
    assert fault is not None
    assert ctx.runner is not None
    ctx.runner.inject_abort(fault.syndrome, fault.va)
    return ctx


def _crash(monitor: Monitor, pe: PE, ctx: ExecutionContext) -> Next:
    if monitor.tracer is not None:
        monitor.tracer.event(pe, "crash", context=ctx.name, reason=ctx.crash)
    ctx.partition.alive = False
    ctx.partition.fate = ctx.crash
    pe.on = False
    if monitor.on_death is not None:
        monitor.on_death(ctx.partition)
    return None


_KERNEL_EXITS: dict[int, Callable[[Monitor, PE, ExecutionContext], Next]] = {
    exits.HVC: _hvc,
    exits.SVC: _hvc,
    exits.IDLE: _idle,
    exits.SLICE: _slice,
    exits.ABORT: _abort,
    exits.CRASH: _crash,
}
