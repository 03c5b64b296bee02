"""The upper halves of a 32-bit answer are taken for data."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as bits
from ffabric.firmware.hypervisor import notifications as hypervisor_notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import vm


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=["b", "c", "d"], vms=[vm("a", has_primary_scheduler=True)])
    a = stage.side(system, "a")
    for name in "bcd":
        receiver = stage.side(system, name)
        receiver.ffa.notification_bind(a.id, 1)
        a.ffa.notification_set(receiver.id, 1)
    x = a.call(fid.FFA_NOTIFICATION_INFO_GET_32)
    listed = bits.parse_pending(x[2:8], smc64=False).lists
    assert [each.endpoint for each in listed] == [0x8001, 0x8002, 0x8003]


FAULT = Fault(
    __name__,
    "Linux, commit be4d4543f780",
    scenario,
    Edit(
        hypervisor_notifications._join_info,
        "smc64=function == fid.FFA_SUCCESS_64",
        "smc64=True",
    ),
)
