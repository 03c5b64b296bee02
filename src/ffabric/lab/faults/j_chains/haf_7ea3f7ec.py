"""A request to an endpoint that takes none is answered BUSY, as if it were worth trying again."""

from __future__ import annotations

from ffabric.firmware.manager.messages import direct
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, REQ, Stage, message
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", messaging_method=2)], vms=["a"])
    a, b = stage.side(system, "a"), stage.side(system, "b")
    assert a.refused(*message(a, b, [1], REQ)) is DENIED


FAULT = Fault(
    __name__,
    "Hafnium, commit 7ea3f7ec",
    scenario,
    Edit(
        direct.request,
        "if not mine.properties & _SENDS:",
        "_receiver_context(pe, target)\nif not mine.properties & _SENDS:",
    ),
)
