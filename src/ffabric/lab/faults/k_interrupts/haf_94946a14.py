"""The handler of an interrupt is pre-empted by the interrupt of another SP."""

from __future__ import annotations

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.spmc import interrupts
from ffabric.firmware.state.context import Model
from ffabric.lab.faults.fault import Entry, Fault
from ffabric.lab.faults.stage import Stage, device, let_go
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    names = {"b": 40, "c": 41}
    system = stage.boot(
        sps=[sp(name, device_regions=(device(intid),)) for name, intid in names.items()], vms=["a"]
    )
    a, b, c = (stage.side(system, name) for name in "abc")
    for side, intid in ((b, 40), (c, 41)):
        side.call(hafnium.HF_INTERRUPT_ENABLE, intid, 1, 0)
        side.wait()
    a.ffa.ready()
    system.interrupt(40)
    let_go(lambda: a.call(fid.FFA_ID_GET))
    system.interrupt(41)
    b.call(fid.FFA_ID_GET)


FAULT = Fault(
    __name__,
    "Hafnium, commit 94946a14",
    scenario,
    Entry(interrupts._MODEL_MASKS, Model.SEC_INTERRUPT, interrupts.Mask.NONE),
)
