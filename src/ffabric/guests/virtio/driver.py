"""What all drivers have: how a device is brought up, and how a request is made and waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from ffabric.abi.virtio import features as bits
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio.dma import Mapped, Mapping
from ffabric.guests.virtio.driver_queue import Buffer, DriverQueue, queue_size

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.system.vcpu import Ram

RING_FEATURES = bits.EVENT_IDX | bits.INDIRECT_DESC | bits.RING_RESET


class DeviceLost(Exception):  # noqa: N818 - what happened
    """The device was removed, or needs a reset: what was under way will not be answered."""

    __module__ = "ffabric.virtio"


class Transport(Protocol):
    """A device as a driver reaches it. All that is awaited raises what the transport raises."""

    memory: GuestAccess
    ram: Ram
    mapping: Mapping

    async def begin(self, device_id: int, wanted: int) -> int:
        """Reset the device and choose of the `wanted` features those it has: these."""

    async def max_queue_size(self, index: int) -> int:
        """The largest size of a virtqueue; 0: there is none."""

    async def set_queue(self, index: int, place: Place) -> None:
        """Set a virtqueue up."""

    async def reset_queue(self, index: int) -> None:
        """Take a virtqueue away from the device."""

    async def ready(self) -> None:
        """The driver is ready (DRIVER_OK)."""

    async def read_config(self, offset: int, length: int) -> bytes:
        """Bytes of the configuration, all of one generation."""

    async def write_config(self, offset: int, data: bytes) -> None:
        """Write bytes of the configuration."""

    async def notify(self, index: int) -> None:
        """There are new buffers in a virtqueue."""

    async def wait(self, until: Callable[[], bool]) -> None:
        """Take events of the device until that is true. Raises DeviceLost."""

    async def reset(self) -> None:
        """Stop the device."""


class Driver:
    """A driver of the devices with an `id`; `features` of its type that it can use."""

    id: ClassVar[int]
    features: ClassVar[int] = 0
    queue_count: ClassVar[int] = 1
    queue_size: ClassVar[int] = 64

    def __init__(self, device: Transport) -> None:
        self.device = device
        self.queues: list[DriverQueue[int]] = []
        self.negotiated = 0
        self._done: list[dict[int, int]] = [{} for _ in range(self.queue_count)]
        """Per virtqueue: number of a request that is done -> bytes written."""
        self._next = 0

    @classmethod
    async def probe(cls, device: Transport) -> Self:
        """Bring a device up."""
        driver = cls(device)
        wanted = cls.features | RING_FEATURES | bits.VERSION_1 | bits.ACCESS_PLATFORM
        driver.negotiated = await device.begin(cls.id, wanted)
        for index in range(cls.queue_count):
            driver.queues.append(await driver._set_up(index))
        await device.ready()
        await driver.start()
        return driver

    async def _set_up(self, index: int) -> DriverQueue[int]:
        device = self.device
        size = min(self.queue_size, await device.max_queue_size(index))
        coherent = await device.mapping.allocate(queue_size(size, self.negotiated))
        queue: DriverQueue[int] = DriverQueue(device.memory, coherent, size, self.negotiated)
        await device.set_queue(index, queue.place)
        return queue

    async def restart_queue(self, index: int) -> None:
        """Reset a virtqueue and set it up anew; what was under way will not be answered.

        ValueError if the device cannot (RING_RESET).
        """
        if not self.negotiated & bits.RING_RESET:
            raise ValueError(f"{self.device}: a virtqueue cannot be reset for itself")
        await self.device.reset_queue(index)
        await self.device.mapping.free(self.queues[index].coherent)
        self.queues[index] = await self._set_up(index)

    async def start(self) -> None:
        """The device is ready."""

    async def remove(self) -> None:
        """Stop the device and take back what it was given; it may be gone already."""
        with suppress(DeviceLost):
            await self.device.reset()
        for queue in self.queues:
            await self.device.mapping.free(queue.coherent)
        self.queues.clear()

    async def submit(self, index: int, buffers: Iterable[Buffer]) -> int:
        """Put a request into a virtqueue, when there is room: a number for `finish`."""
        queue, pieces = self.queues[index], list(buffers)
        number = self._next
        self._next += 1
        while not queue.add(pieces, number):
            await self.device.wait(lambda: self.collect(index) > 0)
        if queue.must_notify():
            await self.device.notify(index)
        return number

    def collect(self, index: int) -> int:
        """Take what the device has used from a virtqueue: how many requests."""
        done = self.queues[index].collect()
        self._done[index].update(done)
        return len(done)

    def taken(self, index: int) -> list[tuple[int, int]]:
        """Every request that is done: its number, the bytes that the device says it has written."""
        self.collect(index)
        done = list(self._done[index].items())
        self._done[index].clear()
        return done

    async def finish(self, index: int, number: int) -> int:
        """Wait for a request: the bytes that the device says it has written."""
        results = self._done[index]

        def is_done() -> bool:
            return number in results or (self.collect(index) > 0 and number in results)

        if not is_done():
            await self.device.wait(is_done)
        return results.pop(number)

    async def request(self, index: int, buffers: Iterable[Buffer]) -> int:
        """Make a request and wait for it."""
        return await self.finish(index, await self.submit(index, buffers))

    async def map(self, ipa: int, size: int, *, from_device: bool = False) -> Mapped:
        """Let the device use a buffer."""
        return await self.device.mapping.map(ipa, size, from_device=from_device)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.device}>"
