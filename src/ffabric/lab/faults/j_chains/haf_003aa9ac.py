"""FFA_RUN takes a context out of its call chain to another PE."""

from __future__ import annotations

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import cycles
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import vm


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=["b"], vms=[vm("a", vcpus=2)], hypervisor=False, pes=2)
    a, b = stage.side(system, "a"), stage.side(system, "b")
    b.wait()
    a.ask(b, 1)
    b.leave(fid.FFA_YIELD)
    mpidr = system.system.machine.pes[1].mpidr
    assert a.ffa.call(psci.CPU_ON_64, mpidr, a.handle.endpoint.partition.entry, 0)[0] == 0
    x = a.handle.vcpu(1).call(fid.FFA_RUN, b.id << 16)
    assert x[0] == fid.FFA_ERROR


FAULT = Fault(
    __name__,
    "Hafnium, commit 003aa9ac",
    scenario,
    Edit(
        cycles.judge_run,
        "_judge_pe(pe, ctx)",
        "pass",
        ("if requester is not caller and", "if False and"),
    ),
)
