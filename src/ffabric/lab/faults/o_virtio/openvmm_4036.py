"""Descriptors that lead in a circle keep the device busy for ever."""

from __future__ import annotations

from ffabric.abi.virtio import ring
from ffabric.guests.virtio.device_queue import DeviceQueue
from ffabric.guests.virtio.dma import QueueError
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.rings import Rings
from ffabric.lab.faults.stage import Stage, raises


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    rings = Rings()
    rings.describe(0, 8, ring.DESC_NEXT, 1)
    rings.describe(1, 8, ring.DESC_NEXT, 0)
    rings.offer(0)
    raises(QueueError, rings.queue.pop)


FAULT = Fault(
    __name__,
    "openvmm, issue 4036",
    scenario,
    Edit(DeviceQueue._follow, "if pieces > self.size:", "if False:"),
)
