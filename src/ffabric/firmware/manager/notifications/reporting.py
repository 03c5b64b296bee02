"""What FFA_NOTIFICATION_INFO_GET has to tell the scheduler: receivers, and SPs with interrupts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa.notifications import PendingList
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import Sp
from ffabric.firmware.state.notifications import NotificationState, pending_lists

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.state.partition import Partition


class Interrupted:
    """The vCPUs of an SP that wait with interrupts pending until the scheduler runs them."""

    __slots__ = ("partition",)

    def __init__(self, partition: Partition) -> None:
        self.partition = partition

    def unreported(self) -> list[PendingList]:
        """What INFO_GET has still to tell of them: a list for every three."""
        vcpus = [
            ctx.index
            for ctx in self.partition.contexts
            if ctx.state is State.WAITING and ctx.virq.pends() and not ctx.virq.reported
        ]
        return pending_lists(self.partition.id, vcpus)

    def report(self, listed: PendingList) -> None:
        """INFO_GET tells of ``listed``."""
        for vcpu in listed.vcpus:
            self.partition.contexts[vcpu].virq.reported = True


def to_report(pm: Manager) -> list[tuple[NotificationState | Interrupted, PendingList]]:
    """The lists that FFA_NOTIFICATION_INFO_GET has still to tell, and whom it reports them to."""
    return [(state, listed) for state in _reporting(pm) for listed in state.unreported()]


def _reporting(pm: Manager) -> list[NotificationState | Interrupted]:
    """Whoever may have something pending, by endpoint ID."""
    found: list[NotificationState | Interrupted] = []
    for _, partition in sorted(pm.partitions.items()):
        if partition.notifications is not None:
            found.append(partition.notifications)
        if isinstance(partition, Sp) and partition.waits_with_interrupts:
            found.append(Interrupted(partition))
    for _, state in sorted(pm.remote_notifications.items()):
        found.append(state)
    return found
