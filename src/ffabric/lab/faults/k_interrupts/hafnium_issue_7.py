"""After a level-triggered interrupt no other comes: it is never deactivated."""

from __future__ import annotations

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.spmc import interrupts
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, device, let_go
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", device_regions=(device(40, level=True),))], vms=["a"])
    a, b = stage.side(system, "a"), stage.side(system, "b")
    b.call(hafnium.HF_INTERRUPT_ENABLE, 40, 1, 0)
    b.wait()
    for _ in range(2):
        a.ffa.ready()
        system.interrupt(40)
        let_go(lambda: a.call(fid.FFA_ID_GET))
        assert b.call(hafnium.HF_INTERRUPT_GET)[0] == 40
        b.wait()


FAULT = Fault(
    __name__,
    "Hafnium, issues 7 and 10",
    scenario,
    Edit(interrupts.deactivated, "if not gic.is_edge(intid, ctx.pe.index):", "if False:"),
)
