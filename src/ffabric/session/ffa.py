"""FF-A for whoever drives a vCPU from outside: the calls of a partition, blocking."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.guests.calls.both_ways import Blocking
from ffabric.guests.ffa import Calls, Ffa
from ffabric.machine.context import check_registers
from ffabric.system.options.problems import did_you_mean

if TYPE_CHECKING:
    from ffabric.machine.engines.driven import DrivenRunner
    from ffabric.system.vcpu import Vcpu


class Blocked(Exception):  # noqa: N818 - a state of the call, not an error
    """The call has not returned: the partition that has control now must act first."""

    __module__ = "ffabric.testing"


class BlockingFfa(Blocking, Calls):
    """FF-A for a test that drives a vCPU: each call returns when the vCPU has control again.

    Raises `Blocked` if the vCPU does not get control back because another partition must act first.
    """

    calls: Ffa

    def __init__(self, vcpu: Vcpu, take: Callable[[], DrivenRunner]) -> None:
        super().__init__(vcpu)
        self.calls = Ffa(vcpu)
        self._take = take

    if not TYPE_CHECKING:  # for whom any name would be there

        def __getattr__(self, name: str) -> object:
            """A call that is misspelt is told with the one that may have been meant.

            Partitions' own `Ffa` has none: with it, Python looks up all attributes the slow way.
            """
            known = [each for each in dir(type(self)) if not each.startswith("_")]
            raise AttributeError(f"there is no call {name!r}{did_you_mean(name, known)}")

    def ready(self) -> None:
        """Have the PE. Raises Stalled if the vCPU does not get it."""
        self._take()

    def exit(self, kind: int) -> None:
        """Make an exit; raises Blocked if the vCPU does not get control back.

        Raises ValueError, and nothing has happened, if the registers are no integers of 64 bits.
        """
        check_registers(self.x)
        if not self._take().call(kind):
            failure = self.vcpu.failure
            if failure is not None:
                raise failure
            who = f"{self.vcpu.name}.{self.vcpu.index}"
            raise Blocked(f"{who}'s call has not returned; {self.vcpu.stalled}")
