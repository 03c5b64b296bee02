"""A chain as long as the virtqueue is taken to be one too long."""

from __future__ import annotations

from ffabric.abi.virtio import ring
from ffabric.guests.virtio.device_queue import DeviceQueue
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.rings import Rings
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    rings = Rings(size=2)
    rings.describe(0, 8, ring.DESC_NEXT, 1)
    rings.describe(1, 8)
    rings.offer(0)
    assert rings.queue.pop()


FAULT = Fault(
    __name__,
    "tgoskits, issue 1979",
    scenario,
    Edit(DeviceQueue._follow, "if pieces > self.size:", "if pieces >= self.size:"),
)
