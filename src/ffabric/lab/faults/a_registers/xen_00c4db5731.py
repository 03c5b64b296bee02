"""A status of 32 bits, zero-extended, is compared as one of 64: no error is recognized."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import status
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import vm


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=["b"], vms=[vm("a", has_primary_scheduler=True), "c"])
    a, c = stage.side(system, "a"), stage.side(system, "c")
    a.ffa.notification_bind(c.id, 1)
    c.ffa.notification_set(a.id, 1)
    x = a.ffa.call(fid.FFA_NOTIFICATION_INFO_GET_64)
    assert x[0] == fid.FFA_SUCCESS_64


FAULT = Fault(
    __name__,
    "Xen, commit 00c4db5731",
    scenario,
    Edit(
        status.from_register,
        "_BY_REGISTER.get(value & MASK32)",
        "next((each for each in Status if each == value), None)",
    ),
)
