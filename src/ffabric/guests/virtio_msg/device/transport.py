"""The device's end of the transport: a device model behind messages (virtio-msg pr28 and v2).

The driver brings the device up by setting status bits in order: ACKNOWLEDGE, DRIVER, FEATURES_OK if
the features that it chose are acceptable, DRIVER_OK once the virtqueues are set up; only then are
rings looked at. Status 0 is a reset and forgets everything but the configuration generation, which
goes up before each change is visible and is never 0. Whatever a driver breaks, its rings above all,
ends in DEVICE_NEEDS_RESET and an EVENT_CONFIG that says so. A request that cannot be done is
refused and changes nothing: nothing is answered as done that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.header import HEADER_SIZE
from ffabric.abi.virtio_msg.message import Message, encode
from ffabric.abi.words import MASK32
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio.dma import Dma, QueueError
from ffabric.guests.virtio.rings import device_queue, is_possible
from ffabric.guests.virtio_msg.device.end import ACCEPTED, NotYet, Refused
from ffabric.guests.virtio_msg.device.events import Events, Range

OFFERED: Final = (
    bits.VERSION_1 | bits.ACCESS_PLATFORM | bits.EVENT_IDX | bits.INDIRECT_DESC | bits.RING_RESET
)
"""What every device here can do, whatever it is."""
REQUIRED: Final = bits.VERSION_1 | bits.ACCESS_PLATFORM
FEATURE_BLOCKS: Final = 2
_LAST_BLOCK = 63
"""Feature blocks from here on are one: no device has any of them."""
_FIRST_GENERATION = 1


class DeviceEnd:
    """The device with a `number`, for one driver, for whom `events` wait.

    ``dma`` is what the device can reach, `max_size` the largest message of the bus, in bytes.
    ``on_due`` is called when it has to be polled.
    """

    def __init__(
        self,
        device: Device,
        number: int,
        *,
        generation: Generation,
        dma: Dma,
        max_size: int,
        events: Events,
        on_due: Callable[[DeviceEnd], object],
    ) -> None:
        self.device = device
        self.number = number
        self.generation = generation
        self.status: int = 0
        self.known: bool = False
        """The driver has been told of it, or has asked for it."""
        self.brought_up: bool = False
        """It was driven once at least (DRIVER_OK), whatever its status is now."""
        self.complaint: str = ""
        """What is to be said of the device, until somebody has said so."""
        self.resetting: bool = False
        """A reset has begun, and the device is not quiet: the status does not read 0 yet."""
        self._dma = dma
        self._max_size = max_size
        self._events = events
        self._on_due = on_due
        self._features = 0
        self._places: list[Place | None] = [None] * len(device.queue_sizes)
        self._config_generation = _FIRST_GENERATION
        device.host = self

    @property
    def offered(self) -> int:
        """The feature bits that the device has."""
        return self.device.features | OFFERED | self.device.rings

    def handle(self, message: Message) -> dict[str, Any] | None:
        """Serve a message of the driver: the fields of the response, None for an event.

        Raises NotYet if there is no response yet: the message is to be served again; Refused if it
        cannot be done.
        """
        self.known = True
        if self.resetting:
            self.go_on()
        self._leftovers()
        fields = _HANDLERS[message.kind.id](self, message)
        if self.restless:
            self.due()
        return fields

    def serve(self, message: Message, data: bytes) -> bytes | None:
        """`handle`, and the response as it is sent; ``data`` is the message as it came."""
        fields = self.handle(message)
        if fields is None:
            return None
        kind, device, token = message.kind, message.device, message.token
        return encode(kind, self.generation, device, token, fields, response=True)

    @property
    def queue_count(self) -> int:
        """How many virtqueues it has."""
        return len(self._places)

    @property
    def is_gone(self) -> bool:
        """Whether nobody outside has anything of the driver's."""
        return self.device.settled and self.go_on()

    def poll(self) -> None:
        """Look after what was left over, and after what happens outside."""
        self.go_on()
        self._leftovers()
        if self._running:
            self._poll_device()

    @property
    def restless(self) -> bool:
        """Whether it wants to be polled, though nothing has happened."""
        if self.resetting or self.device.polls:
            return True
        for queue in self.device.queues:
            if queue is not None and queue.more and self._running:
                return True
        return False

    def due(self) -> None:
        """It wants to be polled."""
        self._on_due(self)

    def _poll_device(self) -> None:
        try:
            self.device.poll()
        except QueueError as error:
            self.broken(str(error))

    # What the device model tells.

    def used(self, queue: int) -> None:
        """There are used buffers."""
        self._events.used(self.number, queue)

    def config_changed(self, offset: int, length: int) -> None:
        """Bytes of the configuration have changed."""
        self._bump()
        self._events.config(self.number, (offset, length))

    def broken(self, reason: str) -> None:
        """The device cannot go on."""
        if self.status & bits.NEEDS_RESET:
            return
        self.complaint = f"needs a reset: {reason}"
        self.status |= bits.NEEDS_RESET
        self._events.config(self.number)
        self.due()

    def config_event(self, changed: Range) -> dict[str, Any]:
        """EVENT_CONFIG of what has changed, as it is now; nothing of it if it does not fit."""
        offset, length = changed
        record = abi.EVENT_CONFIG.request.record(self.generation.number)
        data = self.device.config[offset : offset + length]
        if HEADER_SIZE + record.size + length > self._max_size:
            offset, data = 0, b""  # the driver reads all of it again
        generation = self._config_generation
        return {"status": self.status, "generation": generation, "offset": offset, "data": data}

    def reset(self) -> bool:
        """Forget the driver: whether that is done, as the device is quiet."""
        if not self.resetting:
            self.resetting = True
            self.device.stop()
        return self.go_on()

    def go_on(self) -> bool:
        """Go on with a reset, if one has begun: whether none is under way."""
        if not self.resetting:
            return True
        if not self.device.quiet:
            self._poll_device()
        if self.device.quiet:
            self.resetting = False
            self.status = self._features = 0
            for index in range(len(self._places)):
                self._places[index] = self.device.queues[index] = None
                self._events.unused(self.number, index)
        return not self.resetting

    def _bump(self) -> None:
        self._config_generation = self._config_generation + 1 & MASK32 or _FIRST_GENERATION

    @property
    def _running(self) -> bool:
        up = self.status & (bits.DRIVER_OK | bits.NEEDS_RESET) == bits.DRIVER_OK
        return up and not self.resetting

    def _leftovers(self) -> None:
        for index, queue in enumerate(self.device.queues):
            if queue is not None and queue.more and self._running:
                self.device.kick(index)

    # The messages.

    def _get_device_info(self, _: Message) -> dict[str, Any]:
        device, generation = self.device, self.generation
        fields: dict[str, Any] = {
            "device_id": device.id,
            "vendor_id": device.vendor,
            "num_features": 32 * FEATURE_BLOCKS // generation.feature_unit,
            "config_size": len(device.config),
            "max_virtqueues": len(device.queue_sizes),
        }
        if generation.device_uuid:
            name = f"ffabric.device.{device.id}.{device.vendor}"
            fields["device_uuid"] = uuid5(NAMESPACE_OID, name).bytes
        return fields

    def _get_device_features(self, message: Message) -> dict[str, Any]:
        index, count = message["index"], message["num"]
        record = abi.GET_DEVICE_FEATURES.request.record(self.generation.number)
        room = (self._max_size - HEADER_SIZE - record.size) // 4
        count = min(count, room)
        blocks = b"".join(
            (self.offered >> 32 * at & MASK32 if at < FEATURE_BLOCKS else 0).to_bytes(4, "little")
            for at in range(index, index + count)
        )
        return {"index": index, "num": count, "blocks": blocks}

    def _set_driver_features(self, message: Message) -> dict[str, Any]:
        if self.status & bits.FEATURES_OK:
            raise Refused("the features are chosen")
        chosen = int.from_bytes(message["blocks"], "little")
        shift = 32 * min(message["index"], _LAST_BLOCK)
        mask = (1 << 32 * message["num"]) - 1 << shift
        self._features = self._features & ~mask | chosen << shift
        return {}

    def _get_config(self, message: Message) -> dict[str, Any]:
        offset, length = message["offset"], message["length"]
        record = abi.GET_CONFIG.response.record(self.generation.number)  # type: ignore[union-attr]
        config = self.device.config
        if offset + length > len(config) or HEADER_SIZE + record.size + length > self._max_size:
            length = 0
        data = config[offset : offset + length]
        return {"generation": self._config_generation, "offset": offset, "data": data}

    def _set_config(self, message: Message) -> dict[str, Any]:
        """All of it or nothing: what is stale, outside, or read-only is not applied."""
        offset, data = message["offset"], message["data"]
        current = message["generation"] == self._config_generation
        if (self.generation.strict_config and not current) or not self._writable(offset, len(data)):
            return {"generation": self._config_generation, "offset": offset}
        self._bump()
        self.device.write_config(offset, data)
        return {"generation": self._config_generation, "offset": offset, "length": len(data)}

    def _writable(self, offset: int, length: int) -> bool:
        end, chosen = offset + length, self._features
        return any(
            first <= offset and end <= first + size and chosen & needed == needed
            for first, size, needed in self.device.writable
        )

    def _get_device_status(self, _: Message) -> dict[str, Any]:
        return {"status": self.status}

    def _set_device_status(self, message: Message) -> dict[str, Any]:
        wanted = message["status"]
        if wanted == 0:
            self.reset()
        if wanted == 0 or self.resetting:
            return {"status": self.status}
        added = wanted & ~self.status
        if added & bits.FEATURES_OK and not self._acceptable():
            wanted &= ~bits.FEATURES_OK
        if added & bits.DRIVER_OK and not wanted & bits.FEATURES_OK:
            wanted &= ~bits.DRIVER_OK
        self.status |= wanted & 0xFF & ~bits.NEEDS_RESET
        if added & self.status & bits.DRIVER_OK:
            self._start()
        return {"status": self.status}

    def _acceptable(self) -> bool:
        chosen = self._features
        return not chosen & ~self.offered and chosen & REQUIRED == REQUIRED

    def _start(self) -> None:
        device = self.device
        self.brought_up = True
        device.driver_features = self._features
        try:
            for index, place in enumerate(self._places):
                if place is not None:
                    device.queues[index] = device_queue(self._dma, place, self._features)
        except QueueError as error:
            self.broken(str(error))
            return
        device.start()
        for index, place in enumerate(self._places):
            if place is not None and self._running:
                device.start_queue(index)
                device.kick(index)

    def _get_vqueue(self, message: Message) -> dict[str, Any]:
        index = message["index"]
        if index >= len(self._places):
            return {"index": index}
        fields = {"index": index, "max_size": self.device.queue_sizes[index]}
        place = self._places[index]
        if place is not None:
            fields |= {
                "size": place.size,
                "desc_area": place.desc,
                "driver_area": place.avail,
                "device_area": place.used,
            }
            if self.generation.queue_flags:
                fields["flags"] = abi.QUEUE_ENABLED
        return fields

    def _set_vqueue(self, message: Message) -> dict[str, Any]:
        index, size = message["index"], message["size"]
        place = Place(size, message["desc_area"], message["driver_area"], message["device_area"])
        if index >= len(self._places) or not 0 < size <= self.device.queue_sizes[index]:
            raise Refused(f"virtqueue {index} has no {size} descriptors")
        if self._places[index] is not None or self.resetting:
            raise Refused(f"virtqueue {index} is set up")
        if not self.status & bits.FEATURES_OK:
            raise Refused("the features are not chosen")
        if self.generation.queue_flags and message["flags"] != abi.QUEUE_ENABLED:
            raise Refused(f"virtqueue {index} is not enabled")
        if not is_possible(place, self._features):
            raise Refused(f"virtqueue {index}: {place} is not aligned")
        self._places[index] = place
        if self._running:  # set up again after RESET_VQUEUE
            try:
                queue = device_queue(self._dma, place, self._features)
            except QueueError as error:
                self.broken(str(error))
            else:
                self.device.queues[index] = queue
                self.device.start_queue(index)
                self.device.kick(index)
        return {}

    def _reset_vqueue(self, message: Message) -> dict[str, Any]:
        index = message["index"]
        if index >= len(self._places) or not self._features & bits.RING_RESET:
            raise Refused(f"virtqueue {index} cannot be reset for itself")
        self.device.stop_queue(index)
        if not self.device.queue_is_quiet(index):
            self._poll_device()
        if not self.device.queue_is_quiet(index):
            raise NotYet
        self._places[index] = self.device.queues[index] = None
        self._events.unused(self.number, index)
        return {}

    def _get_shm(self, message: Message) -> dict[str, Any]:
        index = message["index"]
        address, length = self.device.shared_memory.get(index, (0, 0))
        if self.generation.narrow_shm and (address | length) >> 32:
            address = length = 0  # it cannot be said
        return {"index": index, "length": length, "address": address}

    def _event_avail(self, message: Message) -> None:
        index = message["index"]
        if self._running and index < len(self._places):
            self.device.kick(index)


_HANDLERS: Final[dict[int, Callable[[DeviceEnd, Message], dict[str, Any] | None]]] = {
    abi.GET_DEVICE_INFO.id: DeviceEnd._get_device_info,
    abi.GET_DEVICE_FEATURES.id: DeviceEnd._get_device_features,
    abi.SET_DRIVER_FEATURES.id: DeviceEnd._set_driver_features,
    abi.GET_CONFIG.id: DeviceEnd._get_config,
    abi.SET_CONFIG.id: DeviceEnd._set_config,
    abi.GET_DEVICE_STATUS.id: DeviceEnd._get_device_status,
    abi.SET_DEVICE_STATUS.id: DeviceEnd._set_device_status,
    abi.GET_VQUEUE.id: DeviceEnd._get_vqueue,
    abi.SET_VQUEUE.id: DeviceEnd._set_vqueue,
    abi.RESET_VQUEUE.id: DeviceEnd._reset_vqueue,
    abi.GET_SHM.id: DeviceEnd._get_shm,
    abi.EVENT_AVAIL.id: DeviceEnd._event_avail,
}
assert frozenset(_HANDLERS) == ACCEPTED
