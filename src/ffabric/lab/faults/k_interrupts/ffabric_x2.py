"""Two PEs run one vCPU: it was interrupted on the one, and FFA_RUN takes it to the other."""

from __future__ import annotations

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager import cycles
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, device, let_go
from ffabric.system.description.python import sp, vm


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(
        sps=[sp("h", device_regions=(device(40),)), "u"],
        vms=[vm("a", vcpus=2)],
        hypervisor=False,
        pes=2,
    )
    a, h, u = (stage.side(system, name) for name in "ahu")
    h.call(hafnium.HF_INTERRUPT_ENABLE, 40, 1, 0)
    h.wait()
    u.wait()
    mpidr = system.system.machine.pes[1].mpidr
    a.ffa.call(psci.CPU_ON_64, mpidr, a.handle.endpoint.partition.entry, 0)
    a.leave(fid.FFA_RUN, u.id << 16)
    system.interrupt(40)
    let_go(lambda: u.call(fid.FFA_ID_GET))
    x = a.handle.vcpu(1).call(fid.FFA_RUN, u.id << 16)
    assert (x[0], x[2]) == (fid.FFA_ERROR, Status.BUSY.register)


FAULT = Fault(
    __name__,
    "ffabric, November 2026 (field fault X2)",
    scenario,
    Edit(cycles.judge_run, "if ctx.handler is not None:", "if False:"),
)
