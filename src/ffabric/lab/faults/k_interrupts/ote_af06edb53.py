"""The normal world gets back from a secure interrupt as if its call had been answered."""

from __future__ import annotations

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.spmc import interrupts
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, device, let_go
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", device_regions=(device(40),))], vms=["a"], hypervisor=False)
    a, b = stage.side(system, "a"), stage.side(system, "b")
    b.call(hafnium.HF_INTERRUPT_ENABLE, 40, 1, 0)
    b.wait()
    a.ffa.ready()
    system.interrupt(40)
    let_go(lambda: a.call(fid.FFA_FEATURES, fid.FFA_VERSION))
    before = list(a.x)
    b.call(hafnium.HF_INTERRUPT_GET)
    b.call(hafnium.HF_INTERRUPT_DEACTIVATE, 40, 40)
    b.wait()
    assert a.x == before


FAULT = Fault(
    __name__,
    "OP-TEE, commit af06edb53",
    scenario,
    Edit(interrupts._take_over, "fid.FFA_NORMAL_WORLD_RESUME", "fid.FFA_MSG_WAIT"),
)
