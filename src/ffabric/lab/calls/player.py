"""Makes raw calls as the partitions that they name, one after the other.

A vCPU makes its call when it has its PE. If it has not, it gets the PE in this order: SPs that are
initialising there finish (they register their entry point and make FFA_MSG_WAIT by themselves), a
vCPU of a VM that has never run is turned on, the only vCPU of a UP endpoint comes from another PE
if no call chain holds it there, one that has suspended itself wakes, and then the scheduler of the
normal world gives it the PE, with FFA_RUN if it is an SP's. What cannot be so is no call: the line
is answered with an error.

A call that does not return leaves its vCPU *pending*: BLOCKED on whoever has the PE now, WAITING
for a message or for FFA_RUN, suspended. It is resumed by a later call of somebody, and its answer
follows the answer to that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.hypervisor.vms import lifetime
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.endpoints import sp_of, vm_of
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.lab.calls.refusals import Refusals
from ffabric.machine.access import DataAbort
from ffabric.machine.context import PE, REGISTERS
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.machine import OutOfExits, Stalled

if TYPE_CHECKING:
    from ffabric.lab.calls.lines import Call
    from ffabric.machine.events import Tracer
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.system import System

Answer = dict[str, Any]
"""A line of output."""
_ZEROS = [0] * REGISTERS
_SHOWN = 8
"""x0 to x7 are always shown, what is behind them if any of it is not zero."""
_NOT_SUPPORTED = (MASK32, 0xFFFFFFFFFFFFFFFF)
_SUSPENDS = (psci.CPU_SUSPEND_32, psci.CPU_SUSPEND_64)
_REGISTER = (fid.FFA_SECONDARY_EP_REGISTER_32, fid.FFA_SECONDARY_EP_REGISTER_64)


class Unable(Exception):  # noqa: N818 - an answer
    """The line asks for what cannot be now."""


class _Vcpu:
    """A vCPU that is driven: what it does when nobody says so, and the call it is in."""

    def __init__(self, endpoint: Endpoint, ctx: ExecutionContext, runner: DrivenRunner) -> None:
        self.endpoint = endpoint
        self.ctx = ctx
        self.runner = runner
        self.conduit = endpoint.vcpu(ctx).conduit
        self.startup_calls, runner.startup_calls = runner.startup_calls, ()
        self.kernel = endpoint.partition.stage2 is None
        """It is a vCPU of the OS kernel of a system without a hypervisor."""
        self.by_itself = False
        """The call it is in is the FFA_MSG_WAIT that no line asked for."""
        self.line: Call | None = None
        """The line of the call it is in."""
        self.suspended = False


class Player:
    """Plays calls in ``system``, which is booted but has not run; ``tracer`` listens as well.

    The driven partitions among ``names`` are played, others that are driven do nothing.
    """

    def __init__(self, system: System, names: list[str], tracer: Tracer | None = None) -> None:
        self.system = system
        self.spent = False
        """The run has used up the exits that it was allowed: nothing more can be played."""
        self._refusals = Refusals(system, tracer)
        system.attach(self._refusals)
        self._vcpus: dict[str, list[_Vcpu]] = {}
        for name in names:
            endpoint = system.endpoint(name)
            self._vcpus[name] = [
                _Vcpu(endpoint, ctx, ctx.runner)
                for ctx in endpoint.partition.contexts
                if isinstance(ctx.runner, DrivenRunner)
            ]
        self._all = [each for vcpus in self._vcpus.values() for each in vcpus]
        self._pending: list[_Vcpu] = []
        """Those that are in a call, in the order in which they made it."""
        system.run()

    def play(self, call: Call) -> Iterator[Answer]:
        """Do what a line says: its answer, then the answers to the calls that it has resumed."""
        vcpu = self._vcpu(call)
        answer: Answer = {"line": call.line, "endpoint": call.endpoint}
        before: list[Answer] = []
        try:
            if call.x is None:
                self._store(vcpu, call)
                self._load(vcpu, call, answer)
            else:
                self._take(vcpu, call, before)
                self._store(vcpu, call)
                self._call(vcpu, call, answer)
        except (Unable, DataAbort) as error:
            answer["error"] = str(error)
        except OutOfExits as spent:
            self.spent = True
            answer["error"] = str(spent)
        yield from before
        yield answer
        if self._pending:
            yield from self._resumed(call)

    def _vcpu(self, call: Call) -> _Vcpu:
        vcpus = self._vcpus[call.endpoint]
        if len(vcpus) == 1:
            return vcpus[0]
        return vcpus[call.vcpu if call.vcpu is not None else call.pe or 0]

    # Memory.

    def _store(self, vcpu: _Vcpu, call: Call) -> None:
        if call.write or call.read:
            self._check_alive(vcpu)
        for address, data in call.write:
            vcpu.endpoint.memory.write(address, data)

    def _load(self, vcpu: _Vcpu, call: Call, answer: Answer) -> None:
        """The bytes that the line asks for, null for those that cannot be read."""
        if not call.read:
            return
        found: list[str | None] = []
        for address, length in call.read:
            try:
                self._check_alive(vcpu)
                found.append(vcpu.endpoint.memory.read(address, length).hex())
            except (DataAbort, Unable) as error:
                found.append(None)
                answer.setdefault("error", str(error))
        answer["read"] = found

    # Calls.

    def _call(self, vcpu: _Vcpu, call: Call, answer: Answer) -> None:
        assert call.x is not None
        returned = self._make(vcpu, call.x)
        answer["pe"] = vcpu.ctx.pe.index if vcpu.ctx.pe else None
        if returned:
            self._returned(vcpu, call, answer)
            return
        answer |= self._whereabouts(vcpu)
        if "ended" not in answer:
            vcpu.line, vcpu.by_itself = call, False
            self._pending.append(vcpu)

    def _make(self, vcpu: _Vcpu, registers: list[int]) -> bool:
        ctx = vcpu.ctx
        ctx.x[:] = registers + _ZEROS[len(registers) :]
        self._refusals.begin(ctx)
        returned = vcpu.runner.call(vcpu.conduit)
        vcpu.suspended = not returned and registers[0] & MASK32 in _SUSPENDS
        return returned

    def _returned(self, vcpu: _Vcpu, call: Call | None, answer: Answer) -> None:
        x = vcpu.ctx.x
        count = REGISTERS if any(x[_SHOWN:]) else _SHOWN
        while count > _SHOWN and not x[count - 1]:
            count -= 1
        answer["x"] = [f"{each:#x}" for each in x[:count]]
        if call is not None:
            self._load(vcpu, call, answer)
        if x[0] & MASK32 == fid.FFA_ERROR or x[0] in _NOT_SUPPORTED:
            refused = self._refusals.take(vcpu.ctx)
            if refused is not None:
                answer["refused"] = refused

    def _whereabouts(self, vcpu: _Vcpu) -> Answer:
        """Where a vCPU is whose call has not returned."""
        ctx = vcpu.ctx
        end = self._fate(vcpu) or self._off(vcpu)
        if end:
            return {"ended": end}
        current = ctx.pe.current if ctx.pe is not None else None
        has = current.name if current is not None else None
        blocked = ctx.state is State.BLOCKED and not ctx.yielded
        if blocked or (vcpu.kernel and not vcpu.suspended):
            return {"blocked": has}
        if ctx.state is State.PREEMPTED:
            return {"preempted": has}
        return {"waiting": True}

    def _fate(self, vcpu: _Vcpu) -> str:
        """Why a vCPU makes no call ever again; "" if it may."""
        state = self.system.firmware.monitor.power_state
        if state != "on":
            return f"the system is powered off ({state})"
        partition = vcpu.endpoint.partition
        if not partition.alive or vcpu.ctx.state is State.ABORTED:
            return f"{partition.name} has ended: {partition.fate}"
        return ""

    def _off(self, vcpu: _Vcpu) -> str:
        """Why a vCPU makes no call until somebody turns it or its PE on; "" if it may."""
        ctx = vcpu.ctx
        pe = ctx.pe
        if pe is None or (pe.on and vcpu.kernel):
            return ""
        pinned = vcpu.kernel or not vcpu.endpoint.partition.up
        return f"{ctx.name} is off" if ctx.state is State.OFF or (pinned and not pe.on) else ""

    def _resumed(self, by: Call) -> Iterator[Answer]:
        """The answers to calls that are not pending any more."""
        still: list[_Vcpu] = []
        answers: list[Answer] = []
        for vcpu in self._pending:
            if vcpu.runner.in_control:
                answers.append(self._resume(vcpu, by))
            elif fate := self._fate(vcpu):
                if not vcpu.by_itself:
                    answers.append({**self._about(vcpu, by), "ended": fate})
                vcpu.line = None
            else:
                still.append(vcpu)
        self._pending = still
        yield from answers

    def _resume(self, vcpu: _Vcpu, by: Call) -> Answer:
        answer = self._about(vcpu, by)
        call, vcpu.line, vcpu.suspended = vcpu.line, None, False
        self._returned(vcpu, call, answer)
        return answer

    def _about(self, vcpu: _Vcpu, by: Call) -> Answer:
        ctx = vcpu.ctx
        return {
            "line": None if vcpu.line is None else vcpu.line.line,
            "endpoint": vcpu.endpoint.name,
            "pe": ctx.pe.index if ctx.pe else None,
            "resumed": by.line,
        }

    # Who has the PE.

    def _take(self, vcpu: _Vcpu, call: Call, before: list[Answer]) -> None:
        """Give its PE to ``vcpu``; what that resumes of it is answered in ``before``."""
        if not vcpu.runner.in_control:
            self._finish_initialisation(vcpu)
        self._check_alive(vcpu)
        if off := self._off(vcpu):
            raise Unable(off)
        self._turn_on(vcpu)
        self._move(vcpu, call)
        if not vcpu.runner.in_control:
            self._wake(vcpu)
            self._dispatch(vcpu)
        if vcpu in self._pending:
            self._pending.remove(vcpu)
            answer = self._resume(vcpu, call)
            if not vcpu.by_itself:
                before.append(answer)

    def _dispatch(self, vcpu: _Vcpu) -> None:
        """Let the scheduler give it the PE."""
        try:
            self.system.dispatch(vcpu.ctx)
        except Stalled:
            raise Unable(self._why(vcpu)) from None

    def _check_alive(self, vcpu: _Vcpu) -> None:
        fate = self._fate(vcpu)
        if fate:
            raise Unable(fate)

    def _why(self, vcpu: _Vcpu) -> str:
        ctx = vcpu.ctx
        since = f" since line {vcpu.line.line}" if vcpu.line is not None else ""
        current = ctx.pe.current if ctx.pe is not None else None
        has = f"; PE {ctx.pe.index} runs {current.name}" if ctx.pe and current else ""
        yielded = ": it has yielded, and FFA_RUN continues it"
        return f"{ctx.name} is {ctx.state.value}{since}{has}{yielded if ctx.yielded else ''}"

    def _finish_initialisation(self, vcpu: _Vcpu) -> None:
        """SPs that are still initialising make way: on its PE, or anywhere if it is not on yet."""
        while not vcpu.runner.in_control:
            ctx = vcpu.ctx
            other = next(
                (
                    each
                    for each in self._all
                    if each.ctx.model is Model.SP_INIT
                    and each.runner.in_control
                    and (ctx.pe is None or each.ctx.pe is ctx.pe)
                ),
                None,
            )
            if other is None:
                return
            self._make_startup_calls(other)

    def _make_startup_calls(self, sp: _Vcpu) -> None:
        """The calls with which an SP ends its initialisation, unless it has made them."""
        for registers in sp.startup_calls:
            registered = sp_of(sp.endpoint.partition).secondary_entry is not None
            if registers[0] in _REGISTER and registered:
                continue
            if self._make(sp, list(registers)):
                continue
            sp.by_itself = True
            self._pending.append(sp)

    def _turn_on(self, vcpu: _Vcpu) -> None:
        """A vCPU of a VM that nobody has turned on yet."""
        ctx, partition = vcpu.ctx, vcpu.endpoint.partition
        if ctx.state is not State.OFF or ctx.pe is not None or partition.secure:
            return
        firmware = self.system.firmware
        if firmware.hypervisor is not None:
            vm = vm_of(partition)
            lifetime.start(firmware.hypervisor, vm, ctx.index, vm.entry, 0)
        elif not self.system.machine.pes[ctx.index].on:
            firmware.monitor.power_on(self.system.machine.pes[ctx.index])
            self.system.run()
            self._finish_initialisation(vcpu)

    def _move(self, vcpu: _Vcpu, call: Call) -> None:
        """Bring the only vCPU of a UP endpoint to the PE that the line names."""
        ctx, partition = vcpu.ctx, vcpu.endpoint.partition
        if call.pe is None or vcpu.kernel or not partition.up:
            return
        pe = self.system.machine.pes[call.pe]
        if ctx.pe is None or ctx.pe is pe:
            return
        free = ctx.state is State.WAITING
        if not partition.secure and ctx.caller is None and not free:
            free = self._leave(vcpu, ctx.pe)
        if not free or not pe.on:
            why = "" if pe.on else f", which is off; {ctx.name} is on PE {ctx.pe.index}"
            raise Unable(f"{self._why(vcpu)}{why}: it cannot move to PE {pe.index}")
        ctx.pe = pe
        hypervisor = self.system.firmware.hypervisor
        if ctx.state is State.RUNNING and hypervisor is not None:
            hypervisor.wake(ctx)

    def _leave(self, vcpu: _Vcpu, pe: PE) -> bool:
        """Take the vCPU of a VM off its PE, which then runs another one; False: it cannot."""
        hypervisor = self.system.firmware.hypervisor
        assert hypervisor is not None
        ctx = vcpu.ctx
        queue = hypervisor.cpus[pe.index].ready
        if ctx in queue:
            queue.remove(ctx)
        elif vcpu.runner.in_control:
            self.system.machine.schedule(pe, hypervisor.schedule(pe))
        else:
            return False
        return True

    def _wake(self, vcpu: _Vcpu) -> None:
        """An interrupt comes for a vCPU that has suspended itself."""
        if not vcpu.suspended:
            return
        vcpu.suspended = False
        hypervisor = self.system.firmware.hypervisor
        if hypervisor is not None:
            hypervisor.wake(vcpu.ctx)
        elif vcpu.ctx.pe is not None:
            self.system.firmware.wake(vcpu.ctx.pe)
