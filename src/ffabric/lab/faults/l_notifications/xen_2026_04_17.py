"""FFA_NOTIFICATION_INFO_GET clears what it should only tell of."""

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
    a.ffa.notification_info_get()
    assert a.ffa.notification_get()[1] == 1


FAULT = Fault(
    __name__,
    "xen-devel, 17 April 2026 (Preserve secure notification state)",
    scenario,
    Edit(
        state_notifications.NotificationState.report,
        "kind.reported[key] = kind.pending.get(key, 0)",
        "kind.pending.pop(key, None)",
    ),
)
