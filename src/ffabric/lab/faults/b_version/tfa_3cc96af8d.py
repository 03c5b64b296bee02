"""A version that is refused as incompatible is kept all the same."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager.setup import version
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import vm


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=["b"], vms=[vm("a", ffa_version="1.1", messaging_method=7)])
    a = stage.side(system, "a")
    assert a.ffa.call(fid.FFA_VERSION, 0x20000)[0] == 0xFFFF_FFFF
    assert a.call(fid.FFA_PARTITION_INFO_GET)[3] == 24


FAULT = Fault(
    __name__,
    "TF-A, commit 3cc96af8d",
    scenario,
    Edit(
        version._negotiate,
        "if major(asked) != major(pm.version):",
        "partition.allow(partition.calls, min(asked, pm.version))\n"
        "if major(asked) != major(pm.version):",
    ),
)
