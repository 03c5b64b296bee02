"""An SP is known by a range of ids, not by bit 15 of its id."""

from __future__ import annotations

from ffabric.firmware.hypervisor.spmc_link.peer import SecureWorldPeer
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, let_go
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", id=0x8123)], vms=["a"])
    a, b = stage.side(system, "a"), stage.side(system, "b")
    b.ffa.notification_bind(a.id, 1)
    let_go(lambda: a.ffa.notification_set(b.id, 1))


FAULT = Fault(
    __name__,
    "Xen, commit 2833aa172f",
    scenario,
    Edit(
        SecureWorldPeer.keeps_notifications,
        "bool(endpoint & SECURE_BIT)",
        "0x8000 <= endpoint < 0x8080",
    ),
)
