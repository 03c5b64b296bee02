"""Which virtqueue the features that were negotiated make: split or packed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeVar

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import packed
from ffabric.abi.virtio.ring import DESC_ALIGN
from ffabric.guests.virtio.device_queue import DeviceQueue, Place
from ffabric.guests.virtio.dma import Coherent, Dma, Memory
from ffabric.guests.virtio.driver_queue import DriverQueue, queue_size
from ffabric.guests.virtio.packed_device_queue import PackedDeviceQueue
from ffabric.guests.virtio.packed_driver_queue import PackedDriverQueue, packed_queue_size

RingFeature = Literal["packed", "in_order", "notification_data"]
RING_FEATURES: Final[dict[str, int]] = {
    "packed": bits.RING_PACKED,
    "in_order": bits.IN_ORDER,
    "notification_data": bits.NOTIFICATION_DATA,
}
"""Those that are there for who asks for them."""
T = TypeVar("T")


def ring_features(names: Iterable[str]) -> int:
    """The bits of features by their names. ValueError for an unknown one."""
    several = set(names)
    if unknown := several - RING_FEATURES.keys():
        known = ", ".join(RING_FEATURES)
        raise ValueError(f"no features of virtqueues: {', '.join(sorted(unknown))}; {known} are")
    return sum(RING_FEATURES[name] for name in several)


def device_queue(dma: Dma, place: Place, features: int) -> DeviceQueue:
    """The device's side of a virtqueue. Raises QueueError if it cannot be one."""
    kind = PackedDeviceQueue if features & bits.RING_PACKED else DeviceQueue
    return kind(dma, place, features)


def driver_queue(memory: Memory, coherent: Coherent, size: int, features: int) -> DriverQueue[int]:
    """The driver's side, in memory of `bytes_of` bytes that are zero."""
    kind = PackedDriverQueue if features & bits.RING_PACKED else DriverQueue
    return kind(memory, coherent, size, features)


def bytes_of(size: int, features: int) -> int:
    """The bytes that a virtqueue of `size` descriptors takes."""
    return (packed_queue_size if features & bits.RING_PACKED else queue_size)(size, features)


def is_possible(place: Place, features: int) -> bool:
    """Whether a virtqueue can be there: its size and the alignment of its areas (2.7, 2.8)."""
    if not features & bits.RING_PACKED:
        return place.is_aligned
    events = (place.avail | place.used) % packed.EVENT_ALIGN
    aligned = not place.desc % DESC_ALIGN and not events
    return aligned and 0 < place.size <= packed.MAX_SIZE
