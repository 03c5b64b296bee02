"""What the hypervisor has under way in EL3 and the secure world: one SMC at a time on each PE.

A call of a vCPU that is passed on goes through the *gate* of its PE, and the vCPU is BLOCKED
meanwhile. A call that needs several SMCs is a *sequence*: a generator that yields the registers of
an SMC and is resumed with its answer.

A sequence that no call has started is *deferred*: it begins when its PE is in the normal world, and
the vCPU that it takes the PE from goes on afterwards. Deferred sequences of a PE run one after the
other, in a loop: however many there are, none runs inside another.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.memory import HANDLE_HYPERVISOR
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32, unpack_ids
from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.dispatch import REFUSALS, Manager, as_refused
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext, Next, Partition

if TYPE_CHECKING:
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.machine.machine import PE, Machine
    from ffabric.machine.pages import PagePool

Sequence = Generator[list[int], list[int], Next]
"""Yields the registers of an SMC, is sent its answer, returns what the PE runs next."""

Steps = Generator[list[int], list[int], None]
"""Part of a sequence, or a deferred one, that has no result."""

Deferred = Callable[["PE"], Steps]
"""Begins the steps of a deferred sequence on a PE."""

HYPERVISOR_ID = 0

_ABORTED = State.ABORTED
_ZEROS = [[0] * (18 - n) for n in range(19)]
"""What a shorter list of registers lacks, by its length."""


class Cpu:
    """What the hypervisor has on one PE."""

    __slots__ = (
        "caller",
        "forwarded",
        "gate",
        "preempted",
        "ready",
        "retrying",
        "sequence",
        "sri_due",
    )

    def __init__(self, gate: ExecutionContext) -> None:
        self.gate = gate
        """Makes the hypervisor's SMCs and gets their answers."""
        self.ready: list[ExecutionContext] = []
        """vCPUs that could run."""
        self.preempted: ExecutionContext | None = None
        """The vCPU from which the secure world, or a deferred sequence, took the PE."""
        self.sequence: Sequence | None = None
        """What is under way."""
        self.caller: ExecutionContext | None = None
        """The vCPU whose call is under way, as it is or as a sequence."""
        self.forwarded = (0, 0)
        """Function id and x1 of the call of ``caller``, if it was passed on as it is."""
        self.retrying = False
        """The sequence tries again what SPs were too busy for."""
        self.sri_due = False
        """Receivers of notifications are to be scheduled when the sequence is over."""

    @property
    def is_busy(self) -> bool:
        """Whether an SMC is under way."""
        return self.sequence is not None or self.caller is not None


class Sequences(Manager):
    """A manager with another world beneath it, which it calls by SMC."""

    def __init__(self, machine: Machine, pool: PagePool, version: int, monitor: Monitor) -> None:
        super().__init__(machine, pool, version, allocator_bit=HANDLE_HYPERVISOR)
        self.monitor = monitor
        self.unfinished: dict[int, ExecutionContext] = {}
        """Who made the request that an SP's context (id << 16 | index) has not finished."""
        self._deferred: list[tuple[PE | None, Deferred]] = []
        world = Partition(id=HYPERVISOR_ID, name=self.name, secure=False, version=version)
        self.gates = [ExecutionContext(world, index, self) for index in range(len(machine.pes))]
        self.cpus = [Cpu(gate) for gate in self.gates]
        for gate in self.gates:
            gate.gate = monitor.from_normal

    def schedule(self, pe: PE) -> Next:
        """Choose the vCPU that ``pe`` runs next; None: nothing is ready."""
        raise NotImplementedError

    def sp_has_run(self, pe: PE) -> None:
        """An SP has run on ``pe``: what SPs were too busy for may be possible now."""
        raise NotImplementedError

    def orphaned(self, pe: PE, answer: list[int]) -> None:
        """An SP has paused (``answer``) in a request whose vCPU is dead: it has to be finished."""
        raise NotImplementedError

    def forward(self, pe: PE, caller: ExecutionContext) -> ExecutionContext:
        """Make the call of ``caller`` as an SMC; its answer becomes the caller's."""
        cpu = self.cpus[pe.index]
        cpu.gate.x[:] = caller.x
        cpu.caller = caller
        cpu.forwarded = (caller.x[0], caller.x[1])
        caller.block()
        return cpu.gate

    def run_sequence(self, pe: PE, caller: ExecutionContext | None, steps: Sequence) -> Next:
        """Run ``steps`` on behalf of ``caller``, up to its first SMC."""
        cpu = self.cpus[pe.index]
        cpu.sequence = steps
        cpu.caller = caller
        if caller is not None:
            caller.block()
        return self._advance(pe, None)

    def _advance(self, pe: PE, answer: list[int] | None) -> Next:
        """Send the sequence of ``pe`` its ``answer``; then the deferred ones have their turn."""
        cpu = self.cpus[pe.index]
        while (steps := cpu.sequence) is not None:
            caller = cpu.caller
            try:
                x = next(steps) if answer is None else steps.send(answer)
            except StopIteration as stop:
                nxt: Next = stop.value
            except REFUSALS as error:
                assert caller is not None
                self.refuse(pe, caller, as_refused(error))
                nxt = caller
            else:
                cpu.gate.x[:] = x + _ZEROS[len(x)]
                return cpu.gate
            answer = None
            cpu.sequence = None
            cpu.caller = None
            if cpu.sri_due:
                cpu.sri_due = False
                self.machine.gic.set_pending(self.sri, pe.index)
            if cpu.retrying:
                cpu.retrying = False
            else:
                self.sp_has_run(pe)
            nxt = self._begin_deferred(pe, self._resume(pe, nxt) if nxt is caller else nxt)
        return nxt

    def returned(self, pe: PE, gate: ExecutionContext) -> Next:
        """The SMC under way on ``pe`` has its answer in the gate's registers."""
        cpu = self.cpus[pe.index]
        if cpu.sequence is not None:
            return self._advance(pe, list(gate.x))
        caller, cpu.caller = cpu.caller, None
        if caller is None:
            return self.resumed(pe)
        caller.x[:] = gate.x
        self._note_unfinished(pe, caller, cpu.forwarded)
        self.sp_has_run(pe)
        nxt = self._resume(pe, caller)
        return self._go_on(pe, nxt) if self._deferred else nxt

    def _note_unfinished(
        self, pe: PE, caller: ExecutionContext, forwarded: tuple[int, int]
    ) -> None:
        """Remember who made a request that an SP has not finished."""
        function, word = forwarded
        answer = caller.x[0] & MASK32
        paused = answer in (fid.FFA_INTERRUPT, fid.FFA_YIELD)
        if function == fid.FFA_RUN:
            refused = answer == fid.FFA_ERROR and not _aborted(caller.x)
            if refused or word not in self.unfinished:
                return
            del self.unfinished[word]
        if paused and caller.partition.alive:
            self.unfinished[caller.x[1] & MASK32] = caller
        elif paused:
            self.orphaned(pe, caller.x)

    def _resume(self, pe: PE, caller: ExecutionContext | None) -> Next:
        if caller is None:
            return self.schedule(pe)
        if caller.state is _ABORTED:
            return cycles.unwind(self, pe, caller)
        caller.unblock(pe)
        return caller

    def resumed(self, pe: PE) -> Next:
        """The secure world took the PE for its own purposes and gives it back."""
        cpu = self.cpus[pe.index]
        ctx, cpu.preempted = cpu.preempted, None
        if ctx is None:
            return self.schedule(pe)
        return ctx if ctx.state is not State.ABORTED else cycles.unwind(self, pe, ctx)

    def leave(self, pe: PE) -> None:
        """The PE goes to an SP: remember the vCPU that it is taken from."""
        current = pe.current
        if isinstance(current, ExecutionContext) and not current.secure:
            self.cpus[pe.index].preempted = current

    # Deferred sequences.

    def defer(self, steps: Deferred, pe: PE | None = None) -> None:
        """Run ``steps`` on ``pe`` (None: any) as soon as it is done with what it has under way."""
        self._deferred.append((pe, steps))

    def run_deferred(self, steps: Deferred, pe: PE | None = None) -> None:
        """Run ``steps`` on ``pe`` (None: any): now if it is in the normal world, or when it comes.

        Not to be called for the PE whose exit is being handled.
        """
        self.defer(steps, pe)
        for each in self.machine.pes if pe is None else (pe,):
            if self._is_free(each):
                current = each.current
                running = current if isinstance(current, ExecutionContext) else None
                self.switch(each, self._go_on(each, running))
                return

    def _is_free(self, pe: PE) -> bool:
        """Whether ``pe`` is in the normal world and nothing is under way there."""
        if not pe.on or not self.monitor.started[pe.index] or self.cpus[pe.index].is_busy:
            return False
        return pe.current is None or not pe.current.secure

    def _go_on(self, pe: PE, nxt: Next) -> Next:
        """``nxt`` is next on ``pe``, after what was deferred until it could run there."""
        nxt = self._begin_deferred(pe, nxt)
        return nxt if self.cpus[pe.index].sequence is None else self._advance(pe, None)

    def _begin_deferred(self, pe: PE, nxt: Next) -> Next:
        """Make the first deferred sequence for ``pe``, if any, the one that is under way."""
        for at, (where, steps) in enumerate(self._deferred):
            if where is None or where is pe:
                del self._deferred[at]
                cpu = self.cpus[pe.index]
                cpu.preempted = nxt
                cpu.sequence = self._own(pe, steps(pe))
                return None
        return nxt

    def _own(self, pe: PE, steps: Steps) -> Sequence:
        yield from steps
        return self.resumed(pe)

    def run_own(self, pe: PE, running: Next, steps: Steps) -> Next:
        """Run a sequence of the hypervisor's own on ``pe``; ``running`` goes on afterwards."""
        self.cpus[pe.index].preempted = running
        return self.run_sequence(pe, None, self._own(pe, steps))

    # Who is away.

    def is_away(self, ctx: ExecutionContext) -> bool:
        """Whether ``ctx`` waits for the secure world, or for a sequence."""
        return any(ctx is cpu.caller for cpu in self.cpus)

    def is_asked(self, sp: int) -> bool:
        """Whether an SP has a request of some VM to serve."""
        if any(unpack_ids(word)[0] == sp for word in self.unfinished):
            return True
        return any(
            cpu.caller is not None and cpu.sequence is None and _callee(*cpu.forwarded) == sp
            for cpu in self.cpus
        )


def _callee(function: int, x1: int) -> int:
    """The SP that a forwarded call is for."""
    high, low = unpack_ids(x1)
    return high if function == fid.FFA_RUN else low


def _aborted(x: list[int]) -> bool:
    return from_register(x[2]) is Status.ABORTED
