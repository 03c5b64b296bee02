"""An SP answers a request, and the interrupt that came meanwhile is forgotten."""

from __future__ import annotations

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager.messages import direct
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import RESP, Stage, device, let_go, message
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", device_regions=(device(40),))], vms=["a"])
    a, b = stage.side(system, "a"), stage.side(system, "b")
    b.call(hafnium.HF_INTERRUPT_ENABLE, 40, 1, 0)
    b.wait()
    a.ask(b, 1)
    system.interrupt(40)
    b.call(fid.FFA_ID_GET)
    let_go(lambda: b.call(*message(b, a, [2], RESP)))
    assert b.x[0] == fid.FFA_INTERRUPT


FAULT = Fault(
    __name__,
    "Hafnium, commit 5fd32488",
    scenario,
    Edit(direct.response, "if caller.attention else nxt", "if False else nxt"),
)
