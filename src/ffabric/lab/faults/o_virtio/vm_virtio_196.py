"""An available index beyond the size of the virtqueue keeps the device busy."""

from __future__ import annotations

from ffabric.guests.virtio.device_queue import DeviceQueue
from ffabric.guests.virtio.dma import QueueError
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.rings import Rings
from ffabric.lab.faults.stage import Stage, raises


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    rings = Rings()
    rings.describe(0, 8)
    rings.claim(0x4000)
    raises(QueueError, rings.queue.pop)


FAULT = Fault(
    __name__,
    "rust-vmm, vm-virtio issue 196; firecracker issue 3149",
    scenario,
    Edit(DeviceQueue._pending, "if (index - self._next_used) & 0xFFFF > self.size:", "if False:"),
)
