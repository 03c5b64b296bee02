"""What all drivers have: how a device is brought up, and how a request is made and waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from msgspec import Struct

from ffabric.abi.virtio import features as bits
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio.dma import Coherent, Mapped, Mapping, Memory, NoRoom
from ffabric.guests.virtio.driver_queue import Buffer, DriverQueue
from ffabric.guests.virtio.rings import RingFeature, bytes_of, driver_queue, ring_features

if TYPE_CHECKING:
    from ffabric.system.vcpu import Ram

RING_FEATURES = bits.EVENT_IDX | bits.INDIRECT_DESC | bits.RING_RESET


class DeviceLost(Exception):  # noqa: N818 - what happened
    """The device was removed, or needs a reset: requests under way will not be answered."""

    __module__ = "ffabric.virtio"


class Transport(Protocol):
    """A device as a driver reaches it. All that is awaited raises what the transport raises."""

    memory: Memory
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

    async def notify(self, index: int, position: int = 0) -> None:
        """There are new buffers in a virtqueue; `position`: how far, with NOTIFICATION_DATA."""

    async def wait(self, until: Callable[[], bool], *, for_ever: bool = False) -> None:
        """Take events of the device until that is true. Raises DeviceLost.

        `for_ever`: it may take as long as it takes; else it is to be so within a while.
        """

    async def reset(self) -> None:
        """Stop the device. It uses nothing of the driver's any more if this returns."""


class _Held(Struct):
    """What a request that is under way uses: `memory`, and what ``forget`` gives back."""

    queue: int
    memory: list[Mapped]
    forget: Callable[[], object] | None
    given_up: bool = False
    """Nobody waits for it any more; the device may use it all the same."""


class Driver:
    """A driver of the devices with an `id`; `features` of its type that it can use.

    What a device was given is its until it says that it has done: memory of a request that nobody
    waits for any more comes back with the request, or with the reset of the device.
    """

    id: ClassVar[int]
    features: ClassVar[int] = 0
    queue_count: ClassVar[int] = 1
    queue_size: ClassVar[int] = 64

    def __init__(self, device: Transport) -> None:
        self.device = device
        self.queues: list[DriverQueue[int]] = []
        self.negotiated = 0
        self._memory: list[Coherent] = []
        self._done: list[dict[int, int]] = [{} for _ in range(self.queue_count)]
        """Per virtqueue: number of a request that is done -> bytes written."""
        self._held: dict[int, _Held] = {}
        """By number of a request that is under way, or done and not finished."""
        self._back: list[Mapped] = []
        """Memory of requests that have come back when nobody waited for them any more."""
        self._next = 0

    @classmethod
    async def probe(cls, device: Transport, *, rings: Iterable[RingFeature] = ()) -> Self:
        """Bring a device up, with those features of virtqueues beside the usual ones that it has.

        "packed": a packed virtqueue; "in_order": requests come back in order; "notification_data":
        notifications say how far the driver is.
        """
        driver = cls(device)
        more = ring_features(rings)
        wanted = cls.features | RING_FEATURES | bits.VERSION_1 | bits.ACCESS_PLATFORM | more
        driver.negotiated = await device.begin(cls.id, wanted)
        for index in range(driver.needed_queues):
            driver.queues.append(await driver._set_up(index))
        await device.ready()
        await driver.start()
        return driver

    @property
    def needed_queues(self) -> int:
        """How many virtqueues it uses, with the features that were `negotiated`."""
        return self.queue_count

    async def _set_up(self, index: int) -> DriverQueue[int]:
        device = self.device
        most = await device.max_queue_size(index)
        size = min(self.queue_size, 1 << most.bit_length() - 1)
        coherent = await device.mapping.allocate(bytes_of(size, self.negotiated))
        queue = driver_queue(device.memory, coherent, size, self.negotiated)
        await device.set_queue(index, queue.place)
        return queue

    async def restart_queue(self, index: int) -> None:
        """Reset a virtqueue and set it up again; requests under way will not be answered.

        ValueError if the device does not support it (RING_RESET).
        """
        if not self.negotiated & bits.RING_RESET:
            raise ValueError(f"{self.device}: a virtqueue cannot be reset for itself")
        await self.device.reset_queue(index)
        await self._take_back(index)
        await self.device.mapping.free(self.queues[index].coherent)
        self.queues[index] = await self._set_up(index)

    async def start(self) -> None:
        """The device is ready."""

    async def allocate(self, size: int) -> Coherent:
        """Memory for the driver and the device, until the driver is removed."""
        memory = await self.device.mapping.allocate(size)
        self._memory.append(memory)
        return memory

    async def remove(self) -> None:
        """Stop the device and take back what it was given; it may be gone already.

        Raises what the transport raises if the device does not stop: what it may use stays out of
        use then.
        """
        mapping, stopped = self.device.mapping, False
        try:
            with suppress(DeviceLost):
                await self.device.reset()
            stopped = True
        finally:
            for index in range(self.queue_count):
                await self._take_back(index, stopped=stopped)
            for coherent in [*(queue.coherent for queue in self.queues), *self._memory]:
                await (mapping.free(coherent) if stopped else mapping.abandon(coherent))
            self.queues.clear()
            self._memory.clear()

    async def _take_back(self, index: int, *, stopped: bool = True) -> None:
        """Nothing of a virtqueue will be answered any more."""
        mapping = self.device.mapping
        for number, held in list(self._held.items()):
            if held.queue == index:
                del self._held[number]
                for mapped in held.memory:
                    await (mapping.unmap(mapped) if stopped else mapping.abandon(mapped))
                if stopped and held.forget is not None:
                    held.forget()
        self._done[index].clear()

    async def submit(
        self,
        index: int,
        buffers: Iterable[Buffer],
        memory: Iterable[Mapped] = (),
        *,
        forget: Callable[[], object] | None = None,
        notify: bool = True,
    ) -> int:
        """Put a request into a virtqueue, when there is room: a number for `finish`.

        `memory` is unmapped when the request is finished, and ``forget`` is called if it comes back
        when nobody waits for it any more. Without `notify`, `notify` tells the device of several.
        """
        queue, pieces = self.queues[index], list(buffers)
        number = self._next
        self._next += 1
        held = _Held(index, list(memory), forget)
        try:
            while not queue.add(pieces, number):
                await self.wait_for_some(index)
        except BaseException:
            self._back += held.memory
            raise
        self._held[number] = held
        if notify:
            try:
                await self.notify(index)
            except BaseException:
                held.given_up = True
                raise
        return number

    async def notify(self, index: int) -> None:
        """Notify the device of the requests in a virtqueue, if it wants notifications."""
        if self.queues[index].must_notify():
            data = self.negotiated & bits.NOTIFICATION_DATA
            await self.device.notify(index, self.queues[index].position if data else 0)

    async def wait_for_some(self, index: int) -> None:
        """Wait until some request of a virtqueue is done."""
        await self.notify(index)
        await self.device.wait(lambda: self.collect(index) > 0)

    def collect(self, index: int) -> int:
        """Collect the used buffers of a virtqueue. Returns how many requests are done."""
        done = self.queues[index].collect()
        for number, written in done:
            held = self._held.get(number)
            if held is None or not held.given_up:
                self._done[index][number] = written
                continue
            del self._held[number]
            self._back += held.memory
            if held.forget is not None:
                held.forget()
        return len(done)

    def taken(self, index: int) -> list[tuple[int, int]]:
        """Every request that is done: its number, the bytes that the device says it has written."""
        self.collect(index)
        done = list(self._done[index].items())
        self._done[index].clear()
        for number, _ in done:
            self._held.pop(number, None)
        return done

    async def finish(self, index: int, number: int, *, for_ever: bool = False) -> int:
        """Wait for a request: the bytes that the device says it has written.

        `for_ever`: it may take as long as it takes, as it waits for something to happen.
        """
        results = self._done[index]

        def is_done() -> bool:
            return number in results or (self.collect(index) > 0 and number in results)

        if not is_done():
            try:
                await self.device.wait(is_done, for_ever=for_ever)
            except BaseException:
                if number in self._held:
                    self._held[number].given_up = True
                raise
        held = self._held.pop(number, None)
        if held is not None:
            for mapped in held.memory:
                await self.device.mapping.unmap(mapped)
        return results.pop(number)

    async def request(
        self, index: int, buffers: Iterable[Buffer], memory: Iterable[Mapped] = ()
    ) -> int:
        """Make a request and wait for it."""
        return await self.finish(index, await self.submit(index, buffers, memory))

    async def map(self, ipa: int, size: int, *, from_device: bool = False) -> Mapped:
        """Let the device use a buffer. Waits for room if requests under way have it."""
        mapping = self.device.mapping
        while True:
            try:
                return await mapping.map(ipa, size, from_device=from_device)
            except NoRoom:
                if not await self._make_room():
                    raise

    async def _make_room(self) -> bool:
        """Take back memory that the device does not use any more: whether there was any."""
        mapping, back = self.device.mapping, self._back
        self._back = []
        for results in self._done:
            for number in results:
                held = self._held.get(number)
                if held is not None:
                    back += held.memory
                    held.memory = []
        for mapped in back:
            await mapping.unmap(mapped)
        if not back:
            for index, queue in enumerate(self.queues):
                if queue.under_way and any(each.queue == index for each in self._held.values()):
                    await self.wait_for_some(index)
                    return True
        return bool(back)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.device}>"
