"""The list of a global notification names a vCPU, where it has the endpoint alone."""

from __future__ import annotations

from ffabric.firmware.state import notifications as state_notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import vm


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[], vms=[vm("a", has_primary_scheduler=True), "c"])
    a, c = stage.side(system, "a"), stage.side(system, "c")
    a.ffa.notification_bind(c.id, 1)
    c.ffa.notification_set(a.id, 1)
    (listed,) = a.ffa.notification_info_get().lists
    assert (listed.endpoint, listed.vcpus) == (a.id, ())


FAULT = Fault(
    __name__,
    "Linux, J. Wiklander 2024 (lists of global notifications)",
    scenario,
    Edit(
        state_notifications.NotificationState.unreported,
        "(PendingList(self.endpoint),)",
        "(PendingList(self.endpoint, (0,)),)",
    ),
)
