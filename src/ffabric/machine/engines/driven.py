"""The driven engine: a vCPU whose software is whoever holds the machine (a test, a file of calls).

Such a vCPU, once its PE runs it, *has control* and keeps it until somebody makes its next call with
:meth:`DrivenRunner.call`. The machine then runs until the vCPU has control again, or until nothing
else can run: the call is blocked in whoever has control instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ffabric.machine import exits
from ffabric.machine.context import NO_REGISTERS

if TYPE_CHECKING:
    from ffabric.machine.context import Context, Trap
    from ffabric.machine.machine import Machine


class DrivenRunner:
    """One vCPU driven from outside; ``startup_calls``: the calls it makes by itself when it starts.

    Whoever drives may take the startup_calls away before the vCPU runs, to make these calls itself.
    """

    def __init__(
        self, ctx: Context, machine: Machine, startup_calls: Sequence[Sequence[int]] = ()
    ) -> None:
        self.ctx = ctx
        self.machine = machine
        self.instructions = 0
        self.lines = 0
        self._taken = False
        self.startup_calls = startup_calls
        self._startup_made = 0
        self._awaited = False

    def start(self, entry: int, x0: int, others: Mapping[int, int] = NO_REGISTERS) -> None:
        """Begin: make the startup_calls calls, if there are any."""
        self._startup_made = 0
        self._taken = False

    @property
    def in_control(self) -> bool:
        """Whether whoever drives can make the next call: the vCPU has its PE, and waits for that.

        A vCPU that is scheduled out meanwhile takes control again when it gets its PE back.
        """
        pe = self.ctx.pe
        return self._taken and pe is not None and pe.current is self.ctx

    def run(self, ctx: Context, trap: Trap) -> None:
        """Take control, and take the PE out of the machine's loop until the next call."""
        if self._startup_made < len(self.startup_calls):
            call = self.startup_calls[self._startup_made]
            self._startup_made += 1
            ctx.x[:] = [*call, *[0] * (18 - len(call))]
            trap(ctx, exits.SMC)
            return
        self._taken = True
        assert ctx.pe is not None
        self.machine.park(ctx.pe)
        if self._awaited:
            self.machine.stop()

    go_on = run

    def call(self, exit_: int = exits.SMC) -> bool:
        """Make the call in ``ctx.x``; True when the vCPU has control again, with the answer there.

        False: it is blocked, and nothing runs any more; see ``wait``.
        """
        pe = self.ctx.pe
        assert pe is not None
        assert self.in_control
        self._taken = False
        self.machine.unpark(pe)
        self.machine.trap(self.ctx, exit_)
        return self.wait()

    def wait(self) -> bool:
        """Run the machine until the vCPU has control (True) or nothing runs (False)."""
        if not self.in_control:
            self._awaited = True
            try:
                self.machine.run()
            finally:
                self._awaited = False
        return self.in_control

    def kick(self) -> None:
        """Nothing to do: nothing executes."""

    def interrupt(self, kind: int, asserted: bool) -> None:
        """Drive the IRQ or FIQ line; ``lines`` shows them to whoever drives."""
        if asserted:
            self.lines |= 1 << kind
        else:
            self.lines &= ~(1 << kind)

    def inject_abort(self, syndrome: int, far: int) -> None:
        """Aborts reach whoever drives as the exception its load or store raises."""

    def where(self) -> str:
        """Nothing executes."""
        return ""

    def close(self) -> None:
        """Nothing to give back."""
