"""A driver believes a device that says to have used what it has not got."""

from __future__ import annotations

from ffabric.abi.virtio import ring
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.dma import Coherent, QueueError
from ffabric.guests.virtio.driver_queue import DriverQueue
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.rings import FlatMemory
from ffabric.lab.faults.stage import Stage, raises


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    memory = FlatMemory()
    driver = DriverQueue[str](memory, Coherent(0, 0, 2 * PAGE), 4)
    driver.add([(PAGE, 8, True)], "mine")
    used = driver.place.used
    memory.write(used + ring.RING_OFFSET, ring.USED_ENTRY.pack(0x77, 8))
    memory.write16(used + ring.INDEX_OFFSET, 1)
    raises(QueueError, driver.collect)


FAULT = Fault(
    __name__,
    "MigTD, issues 986 and 935",
    scenario,
    Edit(DriverQueue.collect, "if head not in self._under_way:", "if False:"),
)
