"""What the hypervisor has under way in EL3 and the secure world: one SMC at a time on each PE.

A call of a vCPU that is passed on goes through the *gate* of its PE, and the vCPU is BLOCKED
meanwhile. A call that needs several SMCs is a *script*: a generator that yields the registers of an
SMC and is resumed with its answer. A script that nobody's call has started is an *errand*: it
begins when its PE is in the normal world, and the vCPU that it takes the PE from goes on
afterwards. *Chores* are an errand that is due again whenever an SP has run, until nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32
from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.dispatch import REFUSALS, Manager, Next, as_refused
from ffabric.firmware.state.partition import ExecutionContext, Partition, State
from ffabric.firmware.state.region import HANDLE_OF_HYPERVISOR

if TYPE_CHECKING:
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.machine.machine import PE, Machine
    from ffabric.machine.pages import PagePool

Script = Generator[list[int], list[int], Next]
"""Yields the registers of an SMC, is sent its answer, returns what the PE runs next."""

Steps = Generator[list[int], list[int], None]
"""Part of a script, or an errand, that has no result."""

Errand = Callable[["PE"], Steps]
"""Begins the steps of an errand on a PE."""

HYPERVISOR_ID = 0

_ABORTED = State.ABORTED
_BLOCKED = State.BLOCKED
_RUNNING = State.RUNNING
_ZEROS = [[0] * (18 - n) for n in range(19)]
"""What a shorter list of registers lacks, by its length."""


class Scripts(Manager):
    """A manager with another world beneath it, which it calls by SMC."""

    def __init__(self, machine: Machine, pool: PagePool, version: int, monitor: Monitor) -> None:
        super().__init__(machine, pool, version, allocator_bit=HANDLE_OF_HYPERVISOR)
        self.monitor = monitor
        self.preempted: list[ExecutionContext | None] = [None] * len(machine.pes)
        """The vCPU from which the secure world took the PE."""
        self.unfinished: dict[int, ExecutionContext] = {}
        """Who made the request that an SP's context (id << 16 | index) has not finished."""
        self.sri_due = [False] * len(machine.pes)
        """PEs where receivers of notifications are to be scheduled when the script is over."""
        self._scripts: list[Script | None] = [None] * len(machine.pes)
        self._askers: list[ExecutionContext | None] = [None] * len(machine.pes)
        self._forwarded: list[tuple[int, int]] = [(0, 0)] * len(machine.pes)
        """Function id and x1 of the call that a vCPU waits for, per PE."""
        self._errands: list[tuple[PE | None, Errand]] = []
        self._chores: Script | None = None
        """The chores that are being done."""
        world = Partition(id=HYPERVISOR_ID, name=self.name, secure=False, version=version)
        self.gates = [ExecutionContext(world, index, self) for index in range(len(machine.pes))]
        for gate in self.gates:
            gate.gate = monitor.from_normal

    def schedule(self, pe: PE) -> Next:
        """Choose the vCPU that ``pe`` runs next; None: nothing is ready."""
        raise NotImplementedError

    @property
    def has_chores(self) -> bool:
        """Whether something could not be done before, and may be possible when an SP has run."""
        raise NotImplementedError

    def chores(self, pe: PE) -> Steps:
        """Try again what could not be done."""
        raise NotImplementedError

    def orphaned(self, pe: PE, answer: list[int]) -> None:
        """An SP has paused (``answer``) in a request whose vCPU is dead: it has to be finished."""
        raise NotImplementedError

    def forward(self, pe: PE, caller: ExecutionContext) -> ExecutionContext:
        """Make the call of ``caller`` as an SMC; its answer becomes the caller's."""
        gate = self.gates[pe.index]
        gate.x[:] = caller.x
        self._askers[pe.index] = caller
        self._forwarded[pe.index] = (caller.x[0], caller.x[1])
        caller.state = _BLOCKED
        return gate

    def script(self, pe: PE, caller: ExecutionContext | None, steps: Script) -> Next:
        """Run ``steps`` on behalf of ``caller``, up to its first SMC."""
        self._scripts[pe.index] = steps
        self._askers[pe.index] = caller
        if caller is not None:
            caller.state = _BLOCKED
        return self._advance(pe, None)

    def _advance(self, pe: PE, answer: list[int] | None) -> Next:
        index = pe.index
        steps = self._scripts[index]
        caller = self._askers[index]
        assert steps is not None
        try:
            x = next(steps) if answer is None else steps.send(answer)
        except StopIteration as stop:
            nxt: Next = stop.value
        except REFUSALS as error:
            assert caller is not None
            self.refuse(pe, caller, as_refused(error))
            nxt = caller
        else:
            gate = self.gates[index]
            gate.x[:] = x + _ZEROS[len(x)]
            return gate
        self._scripts[index] = None
        self._askers[index] = None
        if self.sri_due[index]:
            self.sri_due[index] = False
            self.machine.gic.set_pending(self.sri, index)
        if steps is self._chores:
            self._chores = None
        else:
            self._chores_due(pe)
        return self._go_on(pe, self._resume(pe, nxt) if nxt is caller else nxt)

    def returned(self, pe: PE, gate: ExecutionContext) -> Next:
        """The SMC under way on ``pe`` has its answer in the gate's registers."""
        if self._scripts[pe.index] is not None:
            return self._advance(pe, list(gate.x))
        caller, self._askers[pe.index] = self._askers[pe.index], None
        if caller is None:
            return self.resumed(pe)
        caller.x[:] = gate.x
        self._note_unfinished(pe, caller)
        self._chores_due(pe)
        return self._go_on(pe, self._resume(pe, caller))

    def _note_unfinished(self, pe: PE, caller: ExecutionContext) -> None:
        """Remember who made a request that an SP has not finished."""
        function, word = self._forwarded[pe.index]
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
        caller.state = _RUNNING
        caller.pe = pe
        return caller

    def resumed(self, pe: PE) -> Next:
        """The secure world took the PE for its own purposes and gives it back."""
        ctx, self.preempted[pe.index] = self.preempted[pe.index], None
        if ctx is None:
            return self.schedule(pe)
        return ctx if ctx.state is not State.ABORTED else cycles.unwind(self, pe, ctx)

    def leave(self, pe: PE) -> None:
        """The PE goes to an SP: remember the vCPU that it is taken from."""
        current = pe.current
        if isinstance(current, ExecutionContext) and not current.secure:
            self.preempted[pe.index] = current

    # Errands.

    def errand(self, steps: Errand, pe: PE | None = None) -> None:
        """Run ``steps`` on ``pe`` (None: any): now if it is in the normal world, or when it comes.

        Not to be called for the PE whose exit is being handled.
        """
        self._errands.append((pe, steps))
        for each in self.machine.pes if pe is None else (pe,):
            if self._has(each):
                self.switch(each, self._go_on(each, self._current(each)))
                return

    def errand_later(self, steps: Errand, pe: PE | None = None) -> None:
        """The same, as soon as that PE, or any, is done with what it has under way."""
        self._errands.append((pe, steps))

    def _has(self, pe: PE) -> bool:
        """Whether ``pe`` is in the normal world and nothing is under way there."""
        index = pe.index
        if not pe.on or not self.monitor.started[index]:
            return False
        busy = self._scripts[index] is not None or self._askers[index] is not None
        return not busy and (pe.current is None or not pe.current.secure)

    def _current(self, pe: PE) -> ExecutionContext | None:
        current = pe.current
        return current if isinstance(current, ExecutionContext) else None

    def _chores_due(self, pe: PE) -> None:
        """An SP has run: what could not be done before may be possible now."""
        if self.has_chores and self._chores is None and (pe, self.chores) not in self._errands:
            self._errands.append((pe, self.chores))

    def _go_on(self, pe: PE, nxt: Next) -> Next:
        """``nxt`` is next on ``pe``, after the errands that are to be run there."""
        if not self._errands:
            return nxt
        for at, (where, steps) in enumerate(self._errands):
            if where is None or where is pe:
                del self._errands[at]
                script = self._run_errand(pe, steps(pe))
                if steps == self.chores:
                    self._chores = script
                return self.displace(pe, nxt, script)
        return nxt

    def _run_errand(self, pe: PE, steps: Steps) -> Script:
        yield from steps
        return self.resumed(pe)

    def displace(self, pe: PE, running: Next, script: Script) -> Next:
        """Run a script of the hypervisor's own on ``pe``; ``running`` goes on afterwards."""
        self.preempted[pe.index] = running
        return self.script(pe, None, script)

    # Who is away.

    def is_away(self, ctx: ExecutionContext) -> bool:
        """Whether ``ctx`` waits for the secure world, or for a script."""
        return any(ctx is asker for asker in self._askers)

    def is_asked(self, sp: int) -> bool:
        """Whether an SP has a request of some VM to serve."""
        if any(word >> 16 == sp for word in self.unfinished):
            return True
        asked = zip(self._askers, self._scripts, self._forwarded, strict=True)
        return any(
            asker is not None and script is None and _callee(*call) == sp
            for asker, script, call in asked
        )


def _callee(function: int, x1: int) -> int:
    """The SP that a forwarded call is for."""
    return (x1 >> 16 if function == fid.FFA_RUN else x1) & 0xFFFF


def _aborted(x: list[int]) -> bool:
    return from_register(x[2]) is Status.ABORTED
