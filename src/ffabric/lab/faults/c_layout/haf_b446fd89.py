"""A retrieve response has the layout of its sender's version, not the borrower's."""

from __future__ import annotations

from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", ffa_version="1.0", messaging_method=3)], vms=["a"])
    a, b = stage.side(system, "a"), stage.side(system, "b")
    handle = a.send(SHARE, [b], [(a.page(), 1)], tag=0x77)
    got = b.retrieve(handle, a, tag=0x77)
    assert (got.handle, got.receivers[0].endpoint, got.tag) == (handle, b.id, 0x77)


FAULT = Fault(
    __name__,
    "Hafnium, commit b446fd89",
    scenario,
    Edit(retrieve._response, "        me.version,", "        region.version,"),
)
