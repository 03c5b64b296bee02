"""The driver of an OP-TEE for whoever drives a vCPU from outside: its calls, blocking."""

from __future__ import annotations

from ffabric.guests.calls.both_ways import Blocking
from ffabric.guests.optee.normal_world.driver import Driver, DriverCalls, State
from ffabric.session.ffa import BlockingFfa


class BlockingDriver(Blocking, DriverCalls):
    """The driver of a vCPU that a test drives. It does not wait for what the test must do first."""

    ffa: BlockingFfa
    calls: Driver

    def __init__(self, ffa: BlockingFfa, state: State | None = None) -> None:
        super().__init__(ffa, state)
        self.calls = Driver(ffa.calls, self.state, patient=False)

    def ready(self) -> None:
        """Have the PE. Raises Stalled if the vCPU does not get it."""
        self.ffa.ready()

    def exit(self, kind: int) -> None:
        """Make an exit; raises Blocked if the vCPU does not get control back."""
        self.ffa.exit(kind)
