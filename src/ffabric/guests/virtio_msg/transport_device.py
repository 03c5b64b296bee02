"""The device's end of the transport: a device model behind messages (virtio-msg pr28 and v2).

The driver brings the device up by setting status bits in order: ACKNOWLEDGE, DRIVER, FEATURES_OK if
the features that it chose are acceptable, DRIVER_OK once the virtqueues are set up; only then are
rings looked at. Status 0 is a reset and forgets everything but the configuration generation, which
goes up before each change is visible and is never 0. Whatever a driver breaks, its rings above all,
ends in DEVICE_NEEDS_RESET and an EVENT_CONFIG that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.message import Message
from ffabric.abi.words import MASK32
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import DeviceQueue, Place, QueueError
from ffabric.guests.virtio.dma import Dma

OFFERED: Final = (
    bits.VERSION_1 | bits.ACCESS_PLATFORM | bits.EVENT_IDX | bits.INDIRECT_DESC | bits.RING_RESET
)
"""What every device here can do, whatever it is."""
REQUIRED: Final = bits.VERSION_1 | bits.ACCESS_PLATFORM
FEATURE_BLOCKS: Final = 2
_LAST_BLOCK = 63
"""Feature blocks from here on are one: no device has any of them."""
_FIRST_GENERATION = 1


class NotYet(Exception):  # noqa: N818 - an answer that takes time
    """A request is being served, and cannot be answered yet."""


Emit = Callable[[MessageType, dict[str, Any]], None]


class DeviceEnd:
    """A device for one driver. ``emit`` sends events; ``dma`` is what the device can reach.

    `max_size` is the largest message of the bus, in bytes.
    """

    def __init__(
        self, device: Device, generation: Generation, dma: Dma, max_size: int, emit: Emit
    ) -> None:
        self.device = device
        self.generation = generation
        self.status: int = 0
        self.complaint: str = ""
        """Why the device needs a reset, until somebody has said so."""
        self.resetting: bool = False
        """A reset has begun, and the device is not quiet: the status does not read 0 yet."""
        self._dma = dma
        self._max_size = max_size
        self._emit = emit
        self._features = 0
        self._places: list[Place | None] = [None] * len(device.queue_sizes)
        self._config_generation = _FIRST_GENERATION
        device.host = self

    @property
    def offered(self) -> int:
        """The feature bits that the device has."""
        return self.device.features | OFFERED

    def handle(self, message: Message) -> dict[str, Any] | None:
        """Serve a message of the driver: the fields of the response, None for an event.

        Raises NotYet if there is no response yet: the message is to be served again.
        """
        self._go_on()
        self._leftovers()
        return _HANDLERS[message.kind.id](self, message)

    def poll(self) -> None:
        """Look after what was left over, and after what happens outside."""
        self._go_on()
        self._leftovers()
        if self._running:
            self._poll_device()

    def _poll_device(self) -> None:
        try:
            self.device.poll()
        except QueueError as error:
            self.broken(str(error))

    def due(self) -> None:
        """The device wants to be polled."""

    # What the device model tells.

    def used(self, queue: int) -> None:
        """There are used buffers."""
        self._emit(abi.EVENT_USED, {"index": queue})

    def config_changed(self, offset: int, length: int) -> None:
        """Bytes of the configuration have changed."""
        self._bump()
        record = abi.EVENT_CONFIG.request.record(self.generation.number)
        data = self.device.config[offset : offset + length]
        if 8 + record.size + length > self._max_size:
            offset, data = 0, b""  # the driver reads all of it again
        self._emit(abi.EVENT_CONFIG, self._event(offset, data))

    def broken(self, reason: str) -> None:
        """The device cannot go on."""
        if self.status & bits.NEEDS_RESET:
            return
        self.complaint = reason
        self.status |= bits.NEEDS_RESET
        self._emit(abi.EVENT_CONFIG, self._event(0, b""))

    def reset(self) -> bool:
        """Forget the driver: whether that is done, as the device is quiet."""
        if not self.resetting:
            self.resetting = True
            self.device.stop()
        self._go_on()
        return not self.resetting

    def _go_on(self) -> None:
        """Go on with a reset that has begun."""
        if not self.resetting:
            return
        if not self.device.quiet:
            self._poll_device()
        if self.device.quiet:
            self.resetting = False
            self.status = self._features = 0
            for index in range(len(self._places)):
                self._places[index] = self.device.queues[index] = None

    def _event(self, offset: int, data: bytes) -> dict[str, Any]:
        generation = self._config_generation
        return {"status": self.status, "generation": generation, "offset": offset, "data": data}

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
        room = (self._max_size - 8 - record.size) // 4
        count = min(count, room)
        blocks = b"".join(
            (self.offered >> 32 * at & MASK32 if at < FEATURE_BLOCKS else 0).to_bytes(4, "little")
            for at in range(index, index + count)
        )
        return {"index": index, "num": count, "blocks": blocks}

    def _set_driver_features(self, message: Message) -> dict[str, Any]:
        if not self.status & bits.FEATURES_OK:
            chosen = int.from_bytes(message["blocks"], "little")
            shift = 32 * min(message["index"], _LAST_BLOCK)
            mask = (1 << 32 * message["num"]) - 1 << shift
            self._features = self._features & ~mask | chosen << shift
        return {}

    def _get_config(self, message: Message) -> dict[str, Any]:
        offset, length = message["offset"], message["length"]
        record = abi.GET_CONFIG.response.record(self.generation.number)  # type: ignore[union-attr]
        config = self.device.config
        if offset + length > len(config) or 8 + record.size + length > self._max_size:
            length = 0
        data = config[offset : offset + length]
        return {"generation": self._config_generation, "offset": offset, "data": data}

    def _set_config(self, message: Message) -> dict[str, Any]:
        offset, data = message["offset"], message["data"]
        current = message["generation"] == self._config_generation
        if self.generation.strict_config and not current:
            return {"generation": self._config_generation, "offset": offset}
        if offset + len(data) > len(self.device.config):
            return {"generation": self._config_generation, "offset": offset}
        self._bump()
        self.device.write_config(offset, data)
        return {"generation": self._config_generation, "offset": offset, "length": len(data)}

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
        device.driver_features = self._features
        try:
            for index, place in enumerate(self._places):
                if place is not None:
                    device.queues[index] = DeviceQueue(self._dma, place, self._features)
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
        usable = index < len(self._places) and 0 < size <= self.device.queue_sizes[index]
        if usable and self._places[index] is None and not self.resetting:
            areas = (message["desc_area"], message["driver_area"], message["device_area"])
            place = self._places[index] = Place(size, *areas)
            if self._running:  # set up again after RESET_VQUEUE
                try:
                    queue = DeviceQueue(self._dma, place, self._features)
                except QueueError as error:
                    self.broken(str(error))
                else:
                    self.device.queues[index] = queue
                    self.device.start_queue(index)
                    self.device.kick(index)
        return {}

    def _reset_vqueue(self, message: Message) -> dict[str, Any]:
        index = message["index"]
        if index < len(self._places) and self._features & bits.RING_RESET:
            self.device.stop_queue(index)
            if not self.device.queue_is_quiet(index):
                self._poll_device()
            if not self.device.queue_is_quiet(index):
                raise NotYet
            self._places[index] = self.device.queues[index] = None
        return {}

    def _get_shm(self, message: Message) -> dict[str, Any]:
        return {"index": message["index"]}

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
ACCEPTED: Final = frozenset(_HANDLERS)
"""Ids of the messages that a device takes."""
