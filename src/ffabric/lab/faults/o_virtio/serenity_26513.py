"""A driver takes chains to be used in the order in which it made them available."""

from __future__ import annotations

from ffabric.abi.virtio import ring
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.dma import Coherent
from ffabric.guests.virtio.driver_queue import DriverQueue
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.rings import FlatMemory
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    memory = FlatMemory()
    driver = DriverQueue[str](memory, Coherent(0, 0, 2 * PAGE), 4)
    heads: list[int] = []
    for token in ("first", "second"):
        driver.add([(PAGE, 8, True)], token)
        heads.append(memory.read16(driver.place.avail + ring.RING_OFFSET + 2 * len(heads)))
    memory.write(driver.place.used + ring.RING_OFFSET, ring.USED_ENTRY.pack(heads[1], 8))
    memory.write16(driver.place.used + ring.INDEX_OFFSET, 1)
    assert driver.collect() == [("second", 8)]


FAULT = Fault(
    __name__,
    "SerenityOS, issue 26513",
    scenario,
    Edit(
        DriverQueue.collect,
        "done.append((self._back(head), written))",
        "done.append((self._back(next(iter(self._under_way))), written))",
    ),
)
