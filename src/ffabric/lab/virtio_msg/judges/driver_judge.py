"""A driver side, judged by what it sends, with what it has received."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.ffa import Method
from ffabric.abi.virtio_msg.message import Message
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio_msg.device.retrieved_areas import acceptable
from ffabric.lab.virtio_msg.judges import driver_rules as rules
from ffabric.lab.virtio_msg.judges.form import Judged
from ffabric.lab.virtio_msg.judges.rules import Report, Rule, Side
from ffabric.lab.virtio_msg.judges.view import DeviceView, View

NOTIFICATIONS: Final = 64
_ORDER: Final = (bits.ACKNOWLEDGE, bits.DRIVER, bits.FEATURES_OK, bits.DRIVER_OK)
_CHECKED: Final = bits.FEATURES_OK | bits.DRIVER_OK
_DRIVERS_BITS: Final = bits.FAILED | sum(_ORDER)
_BEFORE_AGREEMENT: Final = frozenset({ffa.VERSION.id, ffa.RESET.id})
_BEFORE_INFO: Final = frozenset(
    {abi.GET_DEVICE_INFO.id, abi.GET_DEVICE_STATUS.id, abi.SET_DEVICE_STATUS.id}
)
_QUEUE_MESSAGES: Final = frozenset({abi.SET_VQUEUE.id, abi.RESET_VQUEUE.id})
_WHILE_RESETTING: Final = _BEFORE_INFO


class DriverJudge:
    """Judges the driver side with the endpoint id `peer`, whose messages may have `max_size`."""

    def __init__(self, peer: int, report: Report, max_size: int = ffa.MAX_DIRECT) -> None:
        self.peer = peer
        self.view = View(report.generation)
        self._report = report
        self._max_size = max_size

    def _judge(
        self, rule: Rule, holds: object, message: Message, *, got: Any = None, expected: Any = None
    ) -> bool:
        return self._report.judge(rule, Side.DRIVER, holds, message, got=got, expected=expected)

    def received(self, data: bytes) -> None:
        """The driver side has got a message."""
        message = Judged(data, Side.DEVICE, Report(self.view.generation), len(data)).message
        if message is None:
            return
        if not message.response:
            self._poll_is_answered(message)
            self.view.happened(message)
            return
        asked = self.view.pending.pop((message.device, message.token), None)
        if asked is not None:
            self.view.answered(asked, message)

    def settled(self) -> None:
        """A direct message was answered, whatever with: nothing is under way."""
        self.view.pending.clear()

    def _poll_is_answered(self, _: Message) -> None:
        for key, asked in self.view.pending.items():
            if asked.kind is ffa.EVENT_POLL:
                del self.view.pending[key]
                return

    def sent(self, data: bytes) -> None:
        """The driver side has sent a message."""
        message = Judged(data, Side.DRIVER, self._report, self._max_size).message
        if message is None or message.response:
            return
        agreed = self.view.agreed or (message.kind.bus and message.kind.id in _BEFORE_AGREEMENT)
        self._judge(rules.VERSION_FIRST, agreed, message)
        if message.kind.response is not None:
            self._judge_token(message)
        check = _BUS.get(message.kind.id) if message.kind.bus else None
        if check is not None:
            check(self, message)
        elif not message.kind.bus:
            self._transport(message)
        if message.kind.response is not None:
            self.view.asked(message)

    def _judge_token(self, message: Message) -> None:
        before = self.view.pending.get((message.device, message.token))
        again = before is not None and before == message  # sent again, as no answer came
        self._judge(rules.TOKEN, before is None or again, message)
        self._judge(rules.EVENT_TOKEN, message.token, message)

    # Bus messages.

    def _get_devices(self, message: Message) -> None:
        offset, count = message["offset"], message["count"]
        self._judge(rules.WINDOW, not offset % 8 and not count % 8 and count, message)

    def _event_configure(self, message: Message) -> None:
        method, features = message["method"], self.view.bus_features
        if features is not None:
            has = ffa.BusFeatures(features)
            possible = {
                Method.POLL: 1,
                Method.NOTIFICATION: has.NOTIFICATION_TX,
                Method.INDIRECT: has.INDIRECT_TX,
                Method.FIFO: has.FIFO,
            }
            self._judge(rules.CONFIGURE_METHOD, possible.get(method), message)
        number = message["notification"]
        self._judge(rules.CONFIGURE_NUMBER, number < NOTIFICATIONS, message)
        self._judge(rules.CONFIGURE_ONCE, not self.view.configured, message)

    def _area_share(self, message: Message) -> None:
        number, most = message["area"], self.view.max_areas
        free = number not in self.view.areas or number in self.view.unsure
        fits = number and (most is None or number <= most)
        self._judge(rules.AREA_NUMBER, free and fits, message)
        self._judge(rules.AREA_SIZE, message["pages"], message)
        attributes = ffa.AreaAttributes(message["attributes"])
        self._judge(rules.AREA_ATTRIBUTES, acceptable(attributes, self.peer), message)

    def _area_unshare(self, message: Message) -> None:
        number = message["area"]
        if number in self.view.unsure:
            return
        self._judge(rules.UNSHARE_KNOWN, number in self.view.areas, message)
        users = list(self.view.area_users(number))
        self._judge(rules.UNSHARE_FREE, not users, message, got=users or None, expected=[])

    # Messages to a device.

    def _transport(self, message: Message) -> None:
        number, id_ = message.device, message.kind.id
        self._judge(rules.REMOVED, number not in self.view.removed, message)
        device = self.view.device(number)
        if id_ not in _BEFORE_INFO:
            self._judge(rules.INFO_FIRST, device.info is not None, message)
        if device.resetting:
            self._judge(rules.RESET_AWAITED, id_ in _WHILE_RESETTING, message)
        if id_ in _QUEUE_MESSAGES and device.info is not None:
            most = device.info["max_virtqueues"]
            self._judge(
                rules.QUEUE_INDEX,
                message["index"] < most,
                message,
                got=message["index"],
                expected=most,
            )
        check = _TRANSPORT.get(id_)
        if check is not None:
            check(self, message, device)

    def _set_features(self, message: Message, device: DeviceView) -> None:
        self._judge(rules.FEATURES_ONCE, not device.status & bits.FEATURES_OK, message)
        blocks = message["blocks"]
        for at in range(0, len(blocks), 4):
            block = int.from_bytes(blocks[at : at + 4], "little")
            offered = device.offered.get(message["index"] + at // 4, 0)
            good = not block & ~offered
            self._judge(rules.FEATURES_OFFERED, good, message, got=block, expected=offered)

    def _set_status(self, message: Message, device: DeviceView) -> None:
        wanted, status = message["status"], device.written
        if device.refused_features:
            status &= ~bits.FEATURES_OK
        if not wanted:
            return
        self._judge(rules.STATUS_BITS, not wanted & ~(_DRIVERS_BITS | bits.NEEDS_RESET), message)
        kept = not status & ~wanted & _DRIVERS_BITS
        self._judge(rules.STATUS_KEPT, kept, message, got=wanted, expected=status)
        present = [bool(wanted & bit) for bit in _ORDER]
        at_once = wanted & ~status & _CHECKED == _CHECKED
        ordered = present == sorted(present, reverse=True) and not at_once
        self._judge(rules.STATUS_ORDER, ordered, message, got=wanted, expected=status)
        if wanted & bits.DRIVER_OK:
            self._judge(rules.FEATURES_CHECKED, not device.refused_features, message)
            for index in device.queues:
                self._judge(rules.QUEUE_CONFIRMED, index in device.confirmed, message)

    def _config(self, message: Message, device: DeviceView) -> None:
        if device.info is None:
            return
        end, size = message["offset"] + message["length"], device.info["config_size"]
        self._judge(rules.CONFIG_INSIDE, end <= size, message, got=end, expected=size)

    def _set_config(self, message: Message, device: DeviceView) -> None:
        self._config(message, device)
        generation, last = message["generation"], device.config_generation
        self._judge(
            rules.CONFIG_GENERATION, generation == last, message, got=generation, expected=last
        )
        self._judge(rules.CONFIG_ZERO, not generation, message, got=generation, expected=0)

    def _set_vqueue(self, message: Message, device: DeviceView) -> None:
        index, size = message["index"], message["size"]
        most = device.maxima.get(index, 0)
        power = size and not size & size - 1
        self._judge(rules.QUEUE_SIZE, power and size <= most, message, got=size, expected=most)
        place = Place(size, message["desc_area"], message["driver_area"], message["device_area"])
        self._judge(rules.QUEUE_ALIGNED, place._replace(size=1).is_aligned, message)
        known = all(self.view.area_of(each) in self.view.areas for each in place[1:])
        self._judge(rules.QUEUE_SHARED, known, message, got=place[1:], expected="shared areas")
        self._judge(rules.QUEUE_ONCE, index not in device.queues, message)
        chosen = device.status & bits.FEATURES_OK
        self._judge(rules.QUEUE_FEATURES, chosen, message)
        self._judge(rules.FEATURES_CHECKED, not device.refused_features, message)
        if "flags" in message.fields:
            enabled = message["flags"] == abi.QUEUE_ENABLED
            self._judge(rules.QUEUE_FLAGS, enabled, message)

    def _reset_vqueue(self, message: Message, device: DeviceView) -> None:
        self._judge(rules.QUEUE_RESET, device.features & bits.RING_RESET, message)

    def _avail(self, message: Message, device: DeviceView) -> None:
        self._judge(rules.AVAIL_RUNNING, device.status & bits.DRIVER_OK, message)
        self._judge(rules.AVAIL_QUEUE, message["index"] in device.queues, message)
        data = device.features & bits.NOTIFICATION_DATA
        self._judge(rules.AVAIL_NEXT, data or not message["next"], message)


_BUS: Final[dict[int, Callable[[DriverJudge, Message], None]]] = {
    bus_abi.GET_DEVICES.id: DriverJudge._get_devices,
    ffa.EVENT_CONFIGURE.id: DriverJudge._event_configure,
    ffa.AREA_SHARE.id: DriverJudge._area_share,
    ffa.AREA_UNSHARE.id: DriverJudge._area_unshare,
}
_TRANSPORT: Final[dict[int, Callable[[DriverJudge, Message, DeviceView], None]]] = {
    abi.SET_DRIVER_FEATURES.id: DriverJudge._set_features,
    abi.SET_DEVICE_STATUS.id: DriverJudge._set_status,
    abi.GET_CONFIG.id: DriverJudge._config,
    abi.SET_CONFIG.id: DriverJudge._set_config,
    abi.SET_VQUEUE.id: DriverJudge._set_vqueue,
    abi.RESET_VQUEUE.id: DriverJudge._reset_vqueue,
    abi.EVENT_AVAIL.id: DriverJudge._avail,
}
