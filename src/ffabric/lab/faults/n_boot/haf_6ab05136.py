"""An SP that fails in its initialisation ends the boot of all others."""

from __future__ import annotations

from ffabric.firmware.spmc.scheduler import SecureScheduler
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import REQ, Stage, let_go


class Failing(Partition):
    """It does not get far."""

    name = "failing"

    async def on_boot(self, ffa: Ffa) -> None:
        """Fail."""
        raise RuntimeError("no device")


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[Failing(), "b"], vms=["a"], stop_on_crash=False)
    a, b = system.vm("a").ffa, system.sp("b")
    let_go(lambda: a.call(REQ, a.id_get() << 16 | b.id, 0, 1))
    assert b.endpoint.partition.contexts[0].request


FAULT = Fault(
    __name__,
    "Hafnium, commit 6ab05136",
    scenario,
    Edit(SecureScheduler.unrequested, "or self.boot(pe)", "or self.gates[pe.index]"),
)
