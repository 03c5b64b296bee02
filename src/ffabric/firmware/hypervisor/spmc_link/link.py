"""The hypervisor as the monitor sees it: it makes the SMCs of the normal world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.spmc_link import sequences, unfinished
from ffabric.firmware.state.partition import ExecutionContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

_RUN = fid.FFA_RUN


class SpmcLink:
    """The monitor's normal world; ``begin`` starts it on a PE."""

    def __init__(self, hypervisor: Hypervisor, begin: Callable[[Hypervisor, PE], Next]) -> None:
        self._hypervisor = hypervisor
        self._begin = begin
        self.gates = hypervisor.gates

    def boot(self, pe: PE) -> Next:
        """The normal world of ``pe`` starts."""
        return self._begin(self._hypervisor, pe)

    def returned(self, pe: PE, gate: ExecutionContext) -> Next:
        """The SMC under way on ``pe`` has its answer in the gate's registers."""
        hypervisor = self._hypervisor
        cpu = hypervisor.cpus[pe.index]
        if cpu.sequence is not None:
            return sequences.advance(hypervisor, pe, list(gate.x))
        caller, cpu.caller = cpu.caller, None
        if caller is None:
            return self.resumed(pe)
        finish = cpu.finish
        if finish is None:
            x = caller.x
            x[:] = gate.x
            if x[0] & MASK32 in unfinished.PAUSED or cpu.forwarded[0] == _RUN:
                unfinished.note(hypervisor, pe, caller)
                interrupts.tell(caller)
        else:
            cpu.finish = None
            finish(hypervisor, caller, gate.x)
        retried = hypervisor.retried
        if retried.messages or retried.receivers or retried.orphans:
            hypervisor.after_sp(pe)
        nxt = sequences.resume(hypervisor, pe, caller)
        return sequences.go_on(hypervisor, pe, nxt) if hypervisor.deferred else nxt

    def resumed(self, pe: PE) -> Next:
        """The secure world took ``pe`` for its own purposes and gives it back: an SP has run."""
        hypervisor = self._hypervisor
        hypervisor.after_sp(pe)
        return sequences.go_on(hypervisor, pe, sequences.resumed(hypervisor, pe))

    def leave(self, pe: PE) -> None:
        """The PE goes to an SP that nobody has called: remember the vCPU that it is taken from."""
        current = pe.current
        if isinstance(current, ExecutionContext) and not current.secure:
            self._hypervisor.cpus[pe.index].preempted = current
