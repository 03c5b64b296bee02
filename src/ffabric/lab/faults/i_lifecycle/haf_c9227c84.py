"""Memory for several borrowers reaches no SP if one of them is a VM."""

from __future__ import annotations

from ffabric.firmware.hypervisor.spmc_link.peer import SecureWorldPeer
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=["b"], vms=["a", "c"])
    a, b, c = (stage.side(system, name) for name in "abc")
    handle = a.send(SHARE, [c, b], [(a.page(), 1)])
    b.retrieve(handle, a, others=[c])


FAULT = Fault(
    __name__,
    "Hafnium, commit c9227c84",
    scenario,
    Edit(SecureWorldPeer.relays, "in region.borrowers:", "in region.borrowers[:1]:"),
)
