"""An assertion holds only while interrupts come in the order of their numbers."""

from __future__ import annotations

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import virtual_interrupts
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, device
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", device_regions=(device(40), device(41)))], vms=["a"])
    b = stage.side(system, "b")
    for intid in (40, 41):
        b.call(hafnium.HF_INTERRUPT_ENABLE, intid, 1, 0)
    for intid in (41, 40):
        system.interrupt(intid)
        b.call(fid.FFA_ID_GET)
    assert [b.call(hafnium.HF_INTERRUPT_GET)[0] for _ in range(2)] == [41, 40]


FAULT = Fault(
    __name__,
    "Hafnium, commit cab82997",
    scenario,
    Edit(
        virtual_interrupts.pend,
        "if intid not in pending:",
        "assert not pending or pending[-1] <= intid\nif intid not in pending:",
    ),
)
