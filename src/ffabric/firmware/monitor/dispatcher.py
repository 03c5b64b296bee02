"""The dispatcher of a trusted OS: OP-TEE at S-EL1 right below EL3, called with its SMC ABI.

This is what TF-A calls opteed. The trusted OS has a context on each PE it supports. Its first SMC
on a PE says that it is ready; on the primary PE it also tells where its vectors are. From then on
every call of the normal world with an owner in the trusted OS's range enters it through a vector,
and the SMC it ends with carries the answer::

    normal world --SMC--> fast or yielding vector ... CALL_DONE(a0 to a3) --> normal world
    secure interrupt ---> FIQ vector ................ FIQ_DONE -------------> where the PE was

A yielding call that needs something of the normal world, or has to make way for one of its
interrupts, also ends with CALL_DONE: a0 is an RPC then, and the normal world resumes it with a call
of its own. Before a PE, or all of them, are turned off, it hears of that, and its answer lets the
call go on; a PE that comes back later starts anew. Interrupts of the normal world are *foreign* to
the trusted OS, which takes them as FIQs (GICv3, Group 1 Non-secure, at S-EL1) to return such an
RPC.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Protocol

from ffabric.abi import psci
from ffabric.abi.optee import smc
from ffabric.abi.smccc import FAST_CALL
from ffabric.abi.words import MASK32
from ffabric.firmware.state import events
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext, Partition
from ffabric.machine import events as machine
from ffabric.machine import exits
from ffabric.machine.gic import GROUP1NS

if TYPE_CHECKING:
    from ffabric.firmware.monitor.worlds import WorldSwitch
    from ffabric.firmware.state.endpoints import Booted
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE
    from ffabric.machine.events import Tracer

IRQ, FIQ = 0, 1
UNKNOWN = 0xFFFFFFFFFFFFFFFF
_VECTORS: dict[int, events.Vector] = {
    smc.VECTOR_YIELDING: "yielding",
    smc.VECTOR_FAST: "fast",
    smc.VECTOR_CPU_OFF: "cpu_off",
    smc.VECTOR_FIQ: "fiq",
    smc.VECTOR_SYSTEM_OFF: "system_off",
    smc.VECTOR_SYSTEM_RESET: "system_reset",
}
_POWER_DOWN = {
    psci.CPU_OFF: smc.VECTOR_CPU_OFF,
    psci.SYSTEM_OFF: smc.VECTOR_SYSTEM_OFF,
    psci.SYSTEM_RESET: smc.VECTOR_SYSTEM_RESET,
}
"""PSCI calls that the trusted OS hears of before they are made, and through which vector."""


class Entered(Protocol):
    """A vCPU of a trusted OS as EL3 has it in hand."""

    def start(self, entry: int, x0: int, others: Mapping[int, int] = ...) -> None:
        """Cold-boot at ``entry``."""

    def branch(self, pc: int) -> None:
        """Go on at ``pc`` with x0 to x17 of the context, all else as it was."""

    def interrupt(self, kind: int, asserted: bool) -> None:
        """Drive the IRQ or FIQ line."""

    def inject_abort(self, syndrome: int, far: int) -> None:
        """Take a synchronous abort."""

    def vectors(self) -> bytes:
        """V0 to V31, FPCR and FPSR; empty if the engine lets CPACR_EL1 trap their use."""

    def set_vectors(self, state: bytes) -> None:
        """Set what ``vectors`` has read."""


class Dispatcher:
    """The trusted OS ``partition`` and who waits for it on each PE."""

    name = "dispatcher"

    def __init__(self, monitor: WorldSwitch, partition: Booted, contexts: int) -> None:
        self.monitor = monitor
        self.machine = monitor.machine
        self.partition = partition
        partition.contexts = [ExecutionContext(partition, index, self) for index in range(contexts)]
        self.runners: list[Entered] = []
        """What executes each context."""
        self.vectors: int | None = None
        """Address of the vector table, once the trusted OS is ready."""
        self.tracer: Tracer | None = None
        self.notification: int | None = None
        """The SPI with which it notifies the normal world."""
        self.others: Container[int] = ()
        """Secure interrupts that are not the trusted OS's but SPs'."""
        self.on_death: Callable[[Partition], None] | None = None
        self._callers: list[ExecutionContext | None] = [None] * contexts
        """Whose call is being served, per PE."""
        self._clients: list[int] = [0] * contexts
        self._vector_state: dict[tuple[int, int], bytes] = {}
        """Vector registers of threads that wait for an RPC, by client and thread.

        Software that relies on traps (CPACR_EL1) to switch them lazily needs this where an engine
        cannot trap them."""

    # From the monitor.

    def boots(self, pe: PE) -> ExecutionContext | None:
        """The context to be started when ``pe`` comes up, before the normal world; None: none."""
        contexts = self.partition.contexts
        if not self.partition.alive or pe.index >= len(contexts):
            return None
        ctx, entry = contexts[pe.index], self._entry(pe)
        if ctx.state is not State.OFF or entry is None:
            return None
        ctx.initialise(pe)
        runner = self.runners[pe.index]
        runner.start(entry, 0)
        if self.tracer is not None:
            self.machine.break_off(ctx, machine.Start(pe.index, ctx.endpoint, ctx.index, entry, 0))
        ctx.x[:] = [self._argument(), 0, self.partition.boot_information, *[0] * 15]
        runner.branch(entry)
        return ctx

    def _entry(self, pe: PE) -> int | None:
        """Where the trusted OS begins on ``pe``; None: it does not yet."""
        if self.vectors is not None:
            return self.vectors + smc.VECTOR_CPU_ON
        return None if pe.index else self.partition.entry

    def _argument(self) -> int:
        """What x0 is there; x2 is the devicetree of the normal world."""
        return 0

    def call(self, pe: PE, caller: ExecutionContext) -> Next:
        """A call of the normal world: enter the trusted OS, or answer that it is not there."""
        x = caller.x
        ctx = self._ready(pe)
        if ctx is None:
            x[0] = UNKNOWN
            return self.monitor.answered(pe, caller)
        self._callers[pe.index] = caller
        self._clients[pe.index] = client = x[7] & MASK32
        function = x[0] & MASK32
        ctx.x[0:8] = x[0:8]
        if function == smc.RETURN_FROM_RPC:
            self._restore_vectors(ctx, (client, x[3] & MASK32))
        self.monitor.to_secure(pe)
        vector = smc.VECTOR_FAST if function & FAST_CALL else smc.VECTOR_YIELDING
        return self._enter(pe, ctx, vector)

    def power_down(self, pe: PE, caller: ExecutionContext) -> Next:
        """A PSCI call of ``caller``: who runs before it is made; None: nobody is to hear of it."""
        vector = _POWER_DOWN.get(caller.x[0] & MASK32)
        ctx = None if vector is None else self._ready(pe)
        if ctx is None or vector is None:
            return None
        self._callers[pe.index] = caller
        self.monitor.to_secure(pe)
        return self._enter(pe, ctx, vector)

    def _ready(self, pe: PE) -> ExecutionContext | None:
        contexts = self.partition.contexts
        if not self.partition.alive or pe.index >= len(contexts):
            return None
        ctx = contexts[pe.index]
        return ctx if ctx.state is State.WAITING else None

    def _enter(self, pe: PE, ctx: ExecutionContext, vector: int) -> ExecutionContext:
        assert self.vectors is not None
        ctx.enter(pe)
        self.runners[pe.index].branch(self.vectors + vector)
        if self.tracer is not None:
            self.machine.break_off(
                ctx,
                events.Enter(pe.index, ctx.endpoint, ctx.index, _VECTORS[vector], tuple(ctx.x)),
            )
        self.interrupt(ctx, self.machine.gic.pending(pe.index))
        return ctx

    def dispatch(self, pe: PE, ctx: ExecutionContext) -> Next:
        """It runs when the normal world calls it."""
        return ctx if pe.current is ctx else None

    # Interrupts.

    def interrupt(self, ctx: ExecutionContext, pending: tuple[int, int] | None) -> None:
        """What is pending on the PE of ``ctx``, which runs: its own are IRQs, foreign ones FIQs.

        The interrupts of SPs are foreign to it, too. What it does not take is offered to whoever
        runs next.
        """
        if pending is not None and ctx.pe is not None:
            ctx.pe.deferred = True
        runner = self.runners[ctx.index]
        foreign = pending is not None and (pending[1] == GROUP1NS or pending[0] in self.others)
        runner.interrupt(FIQ, foreign)
        runner.interrupt(IRQ, pending is not None and not foreign)

    def secure_interrupt(self, pe: PE) -> Next:
        """A secure interrupt while ``pe`` is in the normal world; None: nobody can handle it."""
        ctx = self._ready(pe)
        if ctx is None:
            return None
        return self._enter(pe, ctx, smc.VECTOR_FIQ)

    # Exits of the trusted OS.

    def trap(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """An exit of the trusted OS."""
        if exit_ == exits.SMC:
            return self._smc(pe, ctx)
        if exit_ in (exits.HVC, exits.SVC):
            ctx.x[0] = UNKNOWN
        elif exit_ == exits.IDLE:
            why = ctx.located("waits for an interrupt for ever, as after a panic")
            return self._died(pe, ctx, why)
        elif exit_ == exits.CRASH:
            return self._died(pe, ctx, ctx.crash)
        elif exit_ == exits.ABORT:
            assert ctx.fault is not None
            self.runners[ctx.index].inject_abort(ctx.fault.syndrome, ctx.fault.va)
        return ctx

    def _smc(self, pe: PE, ctx: ExecutionContext) -> Next:
        caller = self._callers[pe.index]
        asked = "start" if ctx.state is State.STARTING else _asked(caller)
        handler = _RETURNS.get((asked, ctx.x[0] & MASK32))
        if handler is not None:
            return handler(self, pe, ctx)
        ctx.x[0] = UNKNOWN
        return ctx

    def _entry_done(self, pe: PE, ctx: ExecutionContext) -> Next:
        """OPTEED_RETURN_ENTRY_DONE: the primary context is ready, x1 is its vector table."""
        self.vectors = ctx.x[1]
        if self.notification is not None:  # its own initialisation of the GIC is over
            self.machine.gic.configure(self.notification, enabled=True, edge=True, target=0)
        return self._on_done(pe, ctx)

    def _on_done(self, pe: PE, ctx: ExecutionContext) -> Next:
        """OPTEED_RETURN_ON_DONE: a secondary context is ready."""
        self._rest(ctx)
        return self.monitor.enter_normal(pe)

    def _call_done(self, pe: PE, ctx: ExecutionContext) -> Next:
        """OPTEED_RETURN_CALL_DONE: x1 to x4 are the caller's a0 to a3."""
        caller, self._callers[pe.index] = self._callers[pe.index], None
        answer = ctx.x[1:5]
        if smc.is_rpc(answer[0]):
            self._save_vectors(ctx, (self._clients[pe.index], answer[3] & MASK32))
        self._rest(ctx)
        assert caller is not None
        caller.x[0:4] = answer
        self.monitor.to_normal(pe)
        return self.monitor.answered(pe, caller)

    def _fiq_done(self, pe: PE, ctx: ExecutionContext) -> Next:
        """OPTEED_RETURN_FIQ_DONE: back to what the interrupt took the PE from."""
        self._rest(ctx)
        self.monitor.to_normal(pe)
        return self.monitor.resumed(pe)

    def _powered_down(self, pe: PE, ctx: ExecutionContext) -> Next:
        """It has heard of the PSCI call: that is made now."""
        caller, self._callers[pe.index] = self._callers[pe.index], None
        assert caller is not None
        ctx.power_off()
        self.interrupt(ctx, None)
        self.monitor.to_normal(pe)
        return self.monitor.power_call(pe, caller)

    def _rest(self, ctx: ExecutionContext) -> None:
        ctx.wait()
        self.interrupt(ctx, None)

    def _died(self, pe: PE, ctx: ExecutionContext, why: str) -> Next:
        """The trusted OS is gone: whoever waits for it, and whoever calls it later, is told so."""
        ctx.abort()
        if self.partition.alive:
            self._report_death(pe, ctx, why)
        caller, self._callers[pe.index] = self._callers[pe.index], None
        if caller is not None:
            self.monitor.to_normal(pe)
            if _asked(caller) == "power":
                return self.monitor.power_call(pe, caller)
            self._gone(caller.x)
            return self.monitor.answered(pe, caller)
        if not self.monitor.cpus[pe.index].is_started:
            return self.monitor.enter_normal(pe)
        self.monitor.to_normal(pe)
        return self.monitor.resumed(pe)

    def _gone(self, x: list[int]) -> None:
        """There is no trusted OS any more to answer the call in ``x``."""
        x[0] = UNKNOWN

    def _report_death(self, pe: PE, ctx: ExecutionContext, why: str) -> None:
        self.partition.alive = False
        self.partition.fate = why
        if self.tracer is not None:
            self.tracer.record(events.Aborted(self.partition.name, why))
        if self.on_death is not None:
            self.on_death(self.partition)

    # Vector registers.

    def _save_vectors(self, ctx: ExecutionContext, thread: tuple[int, int]) -> None:
        self._vector_state[thread] = self.runners[ctx.index].vectors()

    def _restore_vectors(self, ctx: ExecutionContext, thread: tuple[int, int]) -> None:
        state = self._vector_state.pop(thread, None)
        if state is not None:
            self.runners[ctx.index].set_vectors(state)


def _asked(caller: ExecutionContext | None) -> str:
    """What the trusted OS has been entered for."""
    if caller is None:
        return "interrupt"
    return "power" if caller.x[0] & MASK32 in _POWER_DOWN else "call"


_RETURNS: dict[tuple[str, int], Callable[[Dispatcher, PE, ExecutionContext], Next]] = {
    ("start", smc.RETURN_ENTRY_DONE): Dispatcher._entry_done,
    ("start", smc.RETURN_ON_DONE): Dispatcher._on_done,
    ("call", smc.RETURN_CALL_DONE): Dispatcher._call_done,
    ("interrupt", smc.RETURN_FIQ_DONE): Dispatcher._fiq_done,
    ("power", smc.RETURN_OFF_DONE): Dispatcher._powered_down,
    ("power", smc.RETURN_SYSTEM_OFF_DONE): Dispatcher._powered_down,
    ("power", smc.RETURN_SYSTEM_RESET_DONE): Dispatcher._powered_down,
}
"""What answers that for which it was entered."""
