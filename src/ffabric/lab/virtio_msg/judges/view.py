"""What one side knows of the bus between it and its peer: from what it has sent and received.

A side is judged by what it could know. If messages are lost or changed on the way the two sides
know different things, and each of them has a view of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct, field

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.ffa import Result
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.message import Message
from ffabric.abi.words import PAGE

VERSIONS: Final = ("bus_version", "revision")


class DeviceView(Struct):
    """What is known of a device; None: nothing yet."""

    info: dict[str, Any] | None = None
    offered: dict[int, int] = field(default_factory=dict)
    """Blocks of feature bits that the device has told, by index."""
    chosen: dict[int, int] = field(default_factory=dict)
    status: int = 0
    """As it was last told."""
    written: int = 0
    """As it was last written."""
    resetting: bool = False
    """Status 0 was written, and has not been read."""
    maxima: dict[int, int] = field(default_factory=dict)
    """Largest size of a virtqueue, by index."""
    queues: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What virtqueues were set up with, by index."""
    confirmed: set[int] = field(default_factory=set)
    """Virtqueues that were looked at after they were set up."""
    config_generation: int | None = None
    config: dict[int, int] = field(default_factory=dict)
    """Bytes of the configuration that were told with that generation, by offset."""
    refused_features: bool = False
    """FEATURES_OK was set, and was not there in the answer."""

    @property
    def features(self) -> int:
        """All bits that the driver has chosen."""
        return sum(block << 32 * index for index, block in self.chosen.items())

    def unoffered(self) -> int | None:
        """Chosen bits that were not offered; None if some blocks have not been asked for."""
        if any(index not in self.offered for index, block in self.chosen.items() if block):
            return None
        return sum(
            (block & ~self.offered.get(index, 0)) << 32 * index
            for index, block in self.chosen.items()
        )

    def forget_driver(self) -> None:
        """The device was reset."""
        self.status = self.written = 0
        self.resetting = self.refused_features = False
        self.chosen.clear()
        self.queues.clear()
        self.confirmed.clear()

    def tell_config(self, generation: int, offset: int, data: bytes) -> None:
        """Part of the configuration was told."""
        if generation != self.config_generation:
            self.config_generation = generation
            self.config.clear()
        self.config.update(enumerate(data, offset))


class View:
    """A side's knowledge of one bus."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.agreed = False
        self.bus_features: int | None = None
        self.max_areas: int | None = None
        self.configured = False
        """EVENT_CONFIGURE has succeeded."""
        self.areas: dict[int, int] = {}
        """Bytes of each area that is shared."""
        self.unsure: set[int] = set()
        """Areas that the driver side may not know: it has asked to share or to unshare them, and no
        answer says that they are shared since. It need not believe one that says that they are not:
        whether memory is back it asks FF-A.
        """
        self.devices: dict[int, DeviceView] = {}
        self.removed: set[int] = set()
        self.announced: dict[int, int] = {}
        """The last state that EVENT_DEVICE told, by device."""
        self.pending: dict[tuple[int, int], Message] = {}
        """Requests without a response, by device and token."""

    def device(self, number: int) -> DeviceView:
        """What is known of a device."""
        return self.devices.setdefault(number, DeviceView())

    def asked(self, request: Message) -> None:
        """A request is under way: what it is about is in doubt until it is answered."""
        self.pending[request.device, request.token] = request
        if request.kind in (ffa.AREA_SHARE, ffa.AREA_UNSHARE):
            self.unsure.add(request["area"])
        elif request.kind is abi.SET_DEVICE_STATUS:
            device = self.device(request.device)
            device.written = request["status"]
            device.resetting |= not device.written

    def answered(self, asked: Message, answer: Message) -> None:
        """A request was answered."""
        if answer.kind is not asked.kind:
            return  # ERROR: nothing has changed
        learn = _LEARNED.get((asked.kind.bus, asked.kind.id))
        if learn is not None:
            learn(self, asked, answer)

    def happened(self, event: Message) -> None:
        """The device side has sent an event."""
        if event.kind is bus_abi.EVENT_DEVICE:
            number, state = event["number"], event["state"]
            self.announced[number] = state
            if state == DeviceState.REMOVED:
                self.devices.pop(number, None)
                self.removed.add(number)
            else:
                self.removed.discard(number)
        elif event.kind is ffa.EVENT_AREA_RELEASE:
            self.areas.pop(event["area"], None)
        elif event.kind is abi.EVENT_CONFIG:
            device = self.device(event.device)
            device.status = event["status"]
            device.tell_config(event["generation"], event["offset"], event["data"])

    def area_of(self, address: int) -> int:
        """The number of the area that an address is in."""
        return address >> self.generation.area_shift

    def area_users(self, area: int) -> Iterator[tuple[int, int]]:
        """(device, virtqueue) of the virtqueues in an area, unless the device is being reset."""
        for number, device in self.devices.items():
            if device.resetting:
                continue
            for index, place in device.queues.items():
                parts = (place["desc_area"], place["driver_area"], place["device_area"])
                if any(self.area_of(each) == area for each in parts):
                    yield number, index

    # What is learned from answers.

    def _version(self, asked: Message, answer: Message) -> None:
        same = all(answer[name] == asked[name] for name in VERSIONS)
        if same and asked["bus_version"]:
            self.agreed = True
        if answer["bus_version"]:
            self.bus_features = answer["bus_features"]
            self.max_areas = answer["max_areas"]

    def _reset(self, _: Message, answer: Message) -> None:
        self.agreed = self.configured = False
        if answer["result"] != Result.OK:
            return
        self.areas.clear()
        self.unsure.clear()
        for device in self.devices.values():
            device.forget_driver()

    def _area_share(self, asked: Message, answer: Message) -> None:
        if answer["result"] == Result.OK and answer["area"] == asked["area"]:
            self.unsure.discard(asked["area"])
            self.areas[asked["area"]] = asked["pages"] * PAGE

    def _area_unshare(self, asked: Message, answer: Message) -> None:
        if answer["result"] == Result.OK and answer["area"] == asked["area"]:
            self.areas.pop(asked["area"], None)

    def _event_configure(self, _: Message, answer: Message) -> None:
        self.configured |= answer["result"] == Result.OK

    def _get_devices(self, _: Message, answer: Message) -> None:
        self.removed -= bus_abi.unpack_bitmap(answer["bitmap"], answer["offset"])

    def _info(self, asked: Message, answer: Message) -> None:
        self.device(asked.device).info = answer.fields

    def _get_features(self, asked: Message, answer: Message) -> None:
        device, blocks = self.device(asked.device), answer["blocks"]
        for at in range(0, len(blocks), 4):
            block = int.from_bytes(blocks[at : at + 4], "little")
            device.offered[answer["index"] + at // 4] = block

    def _set_features(self, asked: Message, _: Message) -> None:
        device, blocks = self.device(asked.device), asked["blocks"]
        for at in range(0, len(blocks), 4):
            block = int.from_bytes(blocks[at : at + 4], "little")
            device.chosen[asked["index"] + at // 4] = block

    def _get_config(self, asked: Message, answer: Message) -> None:
        self.device(asked.device).tell_config(
            answer["generation"], answer["offset"], answer["data"]
        )

    def _set_config(self, asked: Message, answer: Message) -> None:
        device = self.device(asked.device)
        if answer["length"]:
            device.config.clear()
        device.tell_config(answer["generation"], answer["offset"], b"")

    def _get_status(self, asked: Message, answer: Message) -> None:
        self._told_status(self.device(asked.device), answer["status"])

    def _set_status(self, asked: Message, answer: Message) -> None:
        device = self.device(asked.device)
        wanted, status = asked["status"], answer["status"]
        if not wanted:
            device.resetting = True
        elif device.resetting and status not in (0, device.status):
            device.forget_driver()  # it was over
        elif wanted & bits.FEATURES_OK:
            device.refused_features = not status & bits.FEATURES_OK
        self._told_status(device, status)

    @staticmethod
    def _told_status(device: DeviceView, status: int) -> None:
        if device.resetting and not status:
            device.forget_driver()
        device.status = status

    def _get_vqueue(self, asked: Message, answer: Message) -> None:
        device = self.device(asked.device)
        device.maxima[asked["index"]] = answer["max_size"]
        device.confirmed.add(asked["index"])

    def _set_vqueue(self, asked: Message, _: Message) -> None:
        device = self.device(asked.device)
        device.queues[asked["index"]] = asked.fields
        device.confirmed.discard(asked["index"])

    def _reset_vqueue(self, asked: Message, _: Message) -> None:
        self.device(asked.device).queues.pop(asked["index"], None)


_LEARNED: Final = {
    (True, ffa.VERSION.id): View._version,
    (True, ffa.RESET.id): View._reset,
    (True, ffa.AREA_SHARE.id): View._area_share,
    (True, ffa.AREA_UNSHARE.id): View._area_unshare,
    (True, ffa.EVENT_CONFIGURE.id): View._event_configure,
    (True, bus_abi.GET_DEVICES.id): View._get_devices,
    (False, abi.GET_DEVICE_INFO.id): View._info,
    (False, abi.GET_DEVICE_FEATURES.id): View._get_features,
    (False, abi.SET_DRIVER_FEATURES.id): View._set_features,
    (False, abi.GET_CONFIG.id): View._get_config,
    (False, abi.SET_CONFIG.id): View._set_config,
    (False, abi.GET_DEVICE_STATUS.id): View._get_status,
    (False, abi.SET_DEVICE_STATUS.id): View._set_status,
    (False, abi.GET_VQUEUE.id): View._get_vqueue,
    (False, abi.SET_VQUEUE.id): View._set_vqueue,
    (False, abi.RESET_VQUEUE.id): View._reset_vqueue,
}
