"""An interrupt for a vCPU that is blocked in a call is lost."""

from __future__ import annotations

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.spmc import interrupts
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, device, let_go
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", device_regions=(device(40),)), "c"], vms=["a"])
    a, b, c = (stage.side(system, name) for name in "abc")
    b.call(hafnium.HF_INTERRUPT_ENABLE, 40, 1, 0)
    c.wait()
    b.wait()
    a.ask(b)
    b.ask(c)
    system.interrupt(40)
    let_go(lambda: c.call(fid.FFA_ID_GET))
    assert b.call(hafnium.HF_INTERRUPT_GET)[0] == 40


FAULT = Fault(
    __name__,
    "Hafnium, commit eda971da",
    scenario,
    Edit(
        interrupts._signal,
        "virtual_interrupts.pend(target, intid)",
        "if target.state is not State.BLOCKED:\n    virtual_interrupts.pend(target, intid)",
    ),
)
