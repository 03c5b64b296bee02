"""What all device models have: identity, virtqueues, and what they tell their driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from ffabric.guests.virtio.device_queue import Chain, DeviceQueue
from ffabric.guests.virtio.dma import QueueError
from ffabric.guests.virtio.rings import RingFeature, ring_features

if TYPE_CHECKING:
    from ffabric.guests.ffa import Ffa
    from ffabric.system.vcpu import Vcpu


class Host(Protocol):
    """What a device can tell: the transport it is behind."""

    def used(self, queue: int) -> None:
        """There are used buffers that the driver wants to be told of."""

    def config_changed(self, offset: int, length: int) -> None:
        """Bytes of the configuration have changed."""

    def broken(self, reason: str) -> None:
        """The device cannot go on: it needs a reset."""

    def due(self) -> None:
        """Something has happened outside: the device wants to be polled."""


Work = Callable[["Ffa", int | None], Coroutine[Any, Any, None]]
"""What a device does by calls of its partition; it gets the endpoint that drives it, if any."""


class Device:
    """A device. A subclass overrides what it needs, at least `handle` or `process`.

    `features` are the bits of its own type, `queue_sizes` the largest size of each virtqueue.
    """

    id: int
    vendor = 0x6666_6162
    features = 0
    queue_sizes: Sequence[int] = (64,)
    writable: Sequence[tuple[int, int, int]] = ()
    """What a driver may write of the configuration: offset, bytes, and with which feature bits."""

    in_order: bool = False
    """It serves each virtqueue in order, whatever happens."""

    def __init__(self) -> None:
        self.rings: int = 0
        """Feature bits of virtqueues that it offers beside the usual ones."""
        self.shared_memory: dict[int, tuple[int, int]] = {}
        """Its shared memory regions: by number address and bytes, as the bus has them (GET_SHM)."""
        self.host: Host | None = None
        self.queues: list[DeviceQueue | None] = [None] * len(self.queue_sizes)
        self.driver_features = 0
        self.work: deque[tuple[Device, Work]] = deque()
        """What takes calls: the partition does it when it has served a message."""

    def offer(self, *names: RingFeature) -> Self:
        """Offer features of virtqueues: "packed", "in_order", "notification_data"; the device.

        ValueError for what it cannot: a device that serves out of order has no "in_order".
        """
        if "in_order" in names and not self.in_order:
            raise ValueError(f"{self} does not serve in order")
        self.rings = ring_features(names)
        return self

    def attach(self, vcpu: Vcpu) -> None:
        """The partition that has the device has booted: its memory is there."""

    @property
    def config(self) -> bytes:
        """The configuration as it is now."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver has written a part of the configuration, all of it within."""

    def start(self) -> None:
        """The driver is ready: `queues` and `driver_features` are set."""

    def stop(self) -> None:
        """A reset: nothing of the driver's may be used any more, once the device is `quiet`."""

    def start_queue(self, index: int) -> None:
        """A virtqueue is there: when the driver is ready, or again after it was reset."""

    def stop_queue(self, index: int) -> None:
        """A virtqueue is being reset: it is not there any more, once it `queue_is_quiet`."""

    @property
    def quiet(self) -> bool:
        """Whether nobody uses any virtqueue: a device that was stopped has stopped."""
        return True

    def queue_is_quiet(self, index: int) -> bool:
        """Whether nobody uses a virtqueue that was stopped."""
        return True

    def mapped(self, address: int, pieces: Sequence[tuple[int, int]]) -> None:
        """The device can reach memory from `address` on: `pieces` of (IPA, bytes)."""

    def unmapped(self, address: int) -> None:
        """Let go of the memory that was mapped at ``address``: `holds` says when that is done."""

    def holds(self, address: int) -> bool:
        """Whether somebody outside may still use the memory that was mapped at `address`."""
        return False

    @property
    def polls(self) -> bool:
        """Whether it has to be polled all the time, as nobody says that something has happened."""
        return False

    @property
    def settled(self) -> bool:
        """Whether nobody outside has anything of a former driver's."""
        return True

    def poll(self) -> None:
        """See what has happened outside. Raises QueueError for a broken virtqueue."""

    def process(self, index: int) -> None:
        """The driver has made buffers available. Raises QueueError for a broken virtqueue."""
        queue = self.queues[index]
        if queue is None:
            return
        for chain in queue.chains():
            queue.push(chain.head, self.handle(queue, chain))
        self.signal(index)

    def kick(self, index: int) -> None:
        """The driver has made buffers available; a broken virtqueue breaks the device, too."""
        try:
            self.process(index)
        except QueueError as error:
            if self.host is not None:
                self.host.broken(f"virtqueue {index}: {error}")
        queue = self.queues[index]
        if queue is not None and queue.more and self.host is not None:
            self.host.due()

    def handle(self, queue: DeviceQueue, chain: Chain) -> int:
        """Serve one chain: the bytes written into it."""
        raise NotImplementedError

    def signal(self, index: int) -> None:
        """Tell the driver of used buffers, if it wants to know."""
        queue = self.queues[index]
        if queue is not None and self.host is not None and queue.must_signal():
            self.host.used(index)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.queue_sizes)} virtqueues>"
