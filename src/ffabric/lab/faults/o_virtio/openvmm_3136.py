"""A descriptor's index beyond the table is followed."""

from __future__ import annotations

from ffabric.guests.virtio.device_queue import DeviceQueue
from ffabric.guests.virtio.dma import QueueError
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.rings import Rings
from ffabric.lab.faults.stage import Stage, raises


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    rings = Rings()
    rings.offer(9)
    raises(QueueError, rings.queue.pop)


FAULT = Fault(
    __name__,
    "openvmm, issue 3136",
    scenario,
    Edit(DeviceQueue._follow, "if index >= entries:", "if False:"),
)
