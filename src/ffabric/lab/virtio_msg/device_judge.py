"""A device side, judged by what it sends to one driver side, with what it has received."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.ffa import Method, Result
from ffabric.abi.virtio_msg.header import BUS, EVENT, RESPONSE, Header
from ffabric.abi.virtio_msg.message import Message
from ffabric.guests.virtio_msg.device.retrieved_areas import acceptable
from ffabric.lab.virtio_msg import device_rules as rules
from ffabric.lab.virtio_msg.driver_judge import NOTIFICATIONS
from ffabric.lab.virtio_msg.form import Judged
from ffabric.lab.virtio_msg.rules import Report, Rule, Side
from ffabric.lab.virtio_msg.view import VERSIONS, DeviceView, View

_BEFORE_AGREEMENT: Final = frozenset({ffa.VERSION.id, ffa.RESET.id})
_BLOCK_BITS: Final = 32
_HALF: Final = 1 << 31
_RESULTS: Final = frozenset(Result)


class DeviceJudge:
    """Judges a device side for the driver side `peer`; messages may have `max_size` bytes."""

    def __init__(self, peer: int, report: Report, max_size: int = ffa.MAX_DIRECT) -> None:
        self.peer = peer
        self.view = View(report.generation)
        self._report = report
        self._max_size = max_size
        self._malformed: dict[tuple[int, int], Header] = {}
        """What the driver has sent that is no message, by device and token, until its answer."""
        self._latest: tuple[dict[tuple[int, int], Any], tuple[int, int]] | None = None
        """Where the last message of the driver is that is to be answered."""
        self._event = False
        """The last message of the driver was an event, or a response."""
        self._config_events: set[tuple[int, int]] = set()
        self._taken: set[tuple[int, int, int]] = set()
        """(device, offset, length) of what was written to configurations."""
        self._was_reset: set[tuple[int, int]] = set()
        """Virtqueues that were reset for themselves, and not set up since."""

    def _judge(
        self,
        rule: Rule,
        holds: object,
        message: Message | str,
        *,
        got: Any = None,
        expected: Any = None,
    ) -> bool:
        return self._report.judge(rule, Side.DEVICE, holds, message, got=got, expected=expected)

    def received(self, data: bytes) -> None:
        """The device side has got a message."""
        judged = Judged(data, Side.DRIVER, Report(self.view.generation), self._max_size)
        message, header = judged.message, judged.header
        self._event = bool(header.id & EVENT or header.type & RESPONSE)
        key = (header.device, header.token)
        self._latest = None
        if message is None:
            self._malformed[key] = header
            self._latest = self._malformed, key
        if message is not None and message.kind.response is not None and not message.response:
            self.view.asked(message)
            self._latest = self.view.pending, key

    def busy(self) -> None:
        """The device side has said that it is busy: it has not served the request."""
        if self._latest is not None:
            where, key = self._latest
            where.pop(key, None)

    def close(self) -> None:
        """The run is over: what is unanswered remains so."""
        for asked in self.view.pending.values():
            if asked.kind is not ffa.EVENT_POLL:
                self._judge(rules.ANSWERED, holds=False, message=asked)

    def sent(self, data: bytes) -> None:
        """The device side has sent a message."""
        judged = Judged(data, Side.DEVICE, self._report, self._max_size)
        message, key = judged.message, (judged.header.device, judged.header.token)
        malformed = self._malformed.pop(key, None) if judged.header.type & RESPONSE else None
        if malformed is not None:
            known = self.view.pending.pop(key, None)
            quiet = judged.is_taken or (message is not None and message.kind is ffa.ERROR)
            text = data.hex(" ", 4) if message is None else message
            if malformed.id & EVENT or malformed.type & RESPONSE:
                self._judge(rules.EVENT_UNANSWERED, judged.is_taken, text)
            elif known is None:
                self._judge(rules.MALFORMED, quiet, text)
            return
        if judged.is_taken:
            if self.view.generation.narrow:
                return
            if self._event:
                self._judge(rules.EVENT_UNANSWERED, holds=True, message="event taken")
            else:
                self._judge(rules.ANSWERED, holds=False, message="a request was taken for an event")
            return
        if message is None:
            return
        if not message.response:
            self._poll_is_answered()
            self._happened(message)
            self.view.happened(message)
            return
        asked = self.view.pending.pop((message.device, message.token), None)
        if asked is None and _is_of_poll(message):
            return  # an event that was sent meanwhile was taken for the answer
        if asked is None:
            rule = rules.EVENT_UNANSWERED if self._event else rules.ANSWERS
            self._judge(rule, holds=False, message=message)
            return
        self._judge(rules.ANSWERS, holds=True, message=message)
        self._judge(rules.ANSWERED, holds=True, message=message)
        self._answered(asked, message)

    def _poll_is_answered(self) -> None:
        for key, asked in self.view.pending.items():
            if asked.kind is ffa.EVENT_POLL:
                del self.view.pending[key]
                return

    def _answered(self, asked: Message, answer: Message) -> None:
        error = answer.kind is ffa.ERROR
        self._judge(rules.SAME, error or answer.kind is asked.kind, answer)
        if error:
            named = answer["msg_id"]
            self._judge(
                rules.ERROR_NAMES, named == asked.kind.id, answer, got=named, expected=asked.kind.id
            )
        if not self.view.agreed and not (asked.kind.bus and asked.kind.id in _BEFORE_AGREEMENT):
            self._judge(rules.BEFORE_AGREEMENT, error, answer)
            return
        key = (BUS if asked.kind.bus else 0, asked.kind.id)
        check = _CHECKS.get(key)
        if check is not None and (answer.kind is asked.kind or (error and key in _MAY_FAIL)):
            check(self, asked, answer, not error)
        self.view.answered(asked, answer)

    # The bus.

    def _version(self, asked: Message, answer: Message, _: bool) -> None:
        wanted = tuple(asked[name] for name in VERSIONS)
        told = tuple(answer[name] for name in VERSIONS)
        own = not any(wanted) or wanted > told
        self._judge(
            rules.VERSION_ECHO,
            told == wanted or own or not any(told),
            answer,
            got=told,
            expected=wanted,
        )
        if self.view.agreed and any(wanted):
            supported = (self.view.generation.bus_version, ffa.TRANSPORT_REVISION)
            kept = wanted == supported or not any(told)
            self._judge(rules.VERSION_KEPT, kept, answer, got=told, expected=0)

    def _result(self, answer: Message) -> int:
        result: int = answer["result"]
        self._judge(rules.RESULT, result in _RESULTS, answer, got=result, expected=tuple(_RESULTS))
        return result

    def _reset(self, _: Message, answer: Message, _ok: bool) -> None:
        self._result(answer)

    def _area_share(self, asked: Message, answer: Message, done: bool) -> None:
        number, most = asked["area"], self.view.max_areas
        bad = (
            not number
            or (most is not None and number > most)
            or number in self.view.areas
            or not asked["pages"]
            or not self._acceptable(asked["attributes"])
        )
        if done:
            self._judge(rules.AREA_ECHO, answer["area"] == number, answer)
            done = self._result(answer) == Result.OK
        if bad:
            self._judge(rules.AREA_REFUSED, not done, asked)

    def _acceptable(self, attributes: int) -> bool:
        """Whether these attributes may be; in rfc2 they mean nothing."""
        has = self.view.generation.configures_events
        return not has or acceptable(ffa.AreaAttributes(attributes), self.peer)

    def _area_unshare(self, asked: Message, answer: Message, done: bool) -> None:
        if done:
            self._judge(rules.AREA_ECHO, answer["area"] == asked["area"], answer)
            done = self._result(answer) == Result.OK
        if asked["area"] not in self.view.areas:
            number, most = asked["area"], self.view.max_areas
            if not number or (most is not None and number > most):
                self._judge(rules.UNSHARE_REFUSED, not done, asked)

    def _event_configure(self, asked: Message, answer: Message, done: bool) -> None:
        if done:
            done = self._result(answer) == Result.OK
        if self.view.configured:
            self._judge(rules.CONFIGURE_AGAIN, not done, asked)
        features = ffa.BusFeatures(self.view.bus_features or 0)
        possible = {
            Method.POLL: 1,
            Method.NOTIFICATION: features.NOTIFICATION_TX,
            Method.INDIRECT: features.INDIRECT_TX,
            Method.FIFO: features.FIFO,
        }
        if not possible.get(asked["method"]) or asked["notification"] >= NOTIFICATIONS:
            self._judge(rules.CONFIGURE_REFUSED, not done, asked)

    def _get_devices(self, asked: Message, answer: Message, _: bool) -> None:
        offset, count, following = answer["offset"], answer["count"], answer["next_offset"]
        fits = offset == asked["offset"] and count <= asked["count"] and not count % 8
        self._judge(rules.WINDOW_ECHO, fits, answer)
        later = not following or (not following % 8 and following >= offset + count > offset)
        self._judge(rules.WINDOW_NEXT, later, answer)

    def _ping(self, asked: Message, answer: Message, _: bool) -> None:
        same = answer["data"] == asked["data"]
        self._judge(rules.PING_ECHO, same, answer, got=answer["data"], expected=asked["data"])

    # Events.

    def _happened(self, event: Message) -> None:
        if event.kind is bus_abi.EVENT_DEVICE:
            before = self.view.announced.get(event["number"])
            self._judge(rules.DEVICE_EVENTS, event["state"] != before, event)
        elif event.kind is ffa.EVENT_AREA_RELEASE:
            number, most = event["area"], self.view.max_areas
            self._judge(rules.RELEASE, number and (most is None or number <= most), event)
        elif event.kind is abi.EVENT_USED:
            device = self.view.device(event.device)
            self._judge(rules.USED_RUNNING, device.status & bits.DRIVER_OK, event)
            self._judge(rules.USED_QUEUE, event["index"] in device.queues, event)
        elif event.kind is abi.EVENT_CONFIG:
            device = self.view.device(event.device)
            self._told_generation(event, device, event["generation"])
            if device.info is not None:
                end, size = event["offset"] + event["length"], device.info["config_size"]
                self._judge(rules.CONFIG_BOUND, end <= size, event, got=end, expected=size)
            if event["length"]:
                key = (event.device, event["generation"])
                self._judge(rules.CONFIG_EVENT, key not in self._config_events, event)
                self._config_events.add(key)
                self._told_bytes(event, device)

    # The devices.

    def _info(self, asked: Message, answer: Message, _: bool) -> None:
        before = self.view.device(asked.device).info
        if before is not None:
            self._judge(
                rules.INFO_SAME, before == answer.fields, answer, got=answer.fields, expected=before
            )
        self._judge(rules.INFO_ID, answer["device_id"], answer)
        unit = self.view.generation.feature_unit
        whole = not answer["num_features"] * unit % _BLOCK_BITS
        self._judge(rules.INFO_FEATURES, whole, answer)
        end = answer["admin_vq_start"] + answer["admin_vq_count"]
        admin = not answer["admin_vq_count"] or end <= answer["max_virtqueues"]
        self._judge(rules.INFO_ADMIN, admin, answer)

    def _get_features(self, asked: Message, answer: Message, _: bool) -> None:
        index, blocks = answer["index"], answer["blocks"]
        fits = index == asked["index"] and answer["num"] <= asked["num"]
        self._judge(rules.FEATURES_ECHO, fits, answer)
        device = self.view.device(asked.device)
        count = None
        if device.info is not None:
            bits_each = self.view.generation.feature_unit
            count = -(-device.info["num_features"] * bits_each // _BLOCK_BITS)
        for at in range(0, len(blocks), 4):
            block, which = int.from_bytes(blocks[at : at + 4], "little"), index + at // 4
            if which in device.offered:
                before = device.offered[which]
                self._judge(
                    rules.FEATURES_SAME, block == before, answer, got=block, expected=before
                )
            if count is not None and which >= count:
                self._judge(rules.FEATURES_ZERO, not block, answer, got=block, expected=0)

    def _get_status(self, asked: Message, answer: Message, _: bool) -> None:
        device, status = self.view.device(asked.device), answer["status"]
        if device.resetting:
            self._judge(rules.STATUS_RESET, status in (0, device.status), answer)
            return
        same = status | bits.NEEDS_RESET == device.status | bits.NEEDS_RESET
        self._judge(rules.STATUS_SAME, same, answer, got=status, expected=device.status)

    def _set_status(self, asked: Message, answer: Message, _: bool) -> None:
        device = self.view.device(asked.device)
        wanted, status, before = asked["status"], answer["status"], device.status
        if not wanted:
            ended = status in (0, before) or status == before | bits.NEEDS_RESET
            self._judge(rules.STATUS_RESET, ended, answer, got=status, expected=(0, before))
        if not wanted or device.resetting:
            return
        set_ = not status & ~(wanted | before | bits.NEEDS_RESET)
        self._judge(rules.STATUS_SET, set_, answer, got=status, expected=wanted)
        if wanted & ~before & bits.FEATURES_OK and device.unoffered():
            self._judge(rules.FEATURES_REFUSED, not status & bits.FEATURES_OK, answer)

    def _told_generation(self, message: Message, device: DeviceView, generation: int) -> None:
        self._judge(rules.CONFIG_NOT_ZERO, generation, message)
        before = device.config_generation
        if before is not None:
            forward = (generation - before) & 0xFFFF_FFFF < _HALF
            self._judge(rules.CONFIG_FORWARD, forward, message, got=generation, expected=before)

    def _told_bytes(self, message: Message, device: DeviceView) -> None:
        if message["generation"] == device.config_generation:
            told = enumerate(message["data"], message["offset"])
            same = all(device.config.get(at, byte) == byte for at, byte in told)
            self._judge(rules.CONFIG_CHANGES, same, message)

    def _get_config(self, asked: Message, answer: Message, _: bool) -> None:
        device = self.view.device(asked.device)
        fits = answer["length"] in (0, asked["length"]) and answer["offset"] == asked["offset"]
        self._judge(rules.CONFIG_ECHO, fits, answer)
        if device.info is not None and answer["length"]:
            end, size = answer["offset"] + answer["length"], device.info["config_size"]
            self._judge(rules.CONFIG_BOUND, end <= size, answer, got=end, expected=size)
        self._told_generation(answer, device, answer["generation"])
        self._told_bytes(answer, device)

    def _set_config(self, asked: Message, answer: Message, _: bool) -> None:
        device = self.view.device(asked.device)
        length = answer["length"]
        fits = length in (0, asked["length"]) and answer["offset"] == asked["offset"]
        self._judge(rules.CONFIG_LENGTH, fits, answer)
        if device.info is not None and length:
            end, size = asked["offset"] + length, device.info["config_size"]
            self._judge(rules.CONFIG_BOUND, end <= size, answer, got=end, expected=size)
        before = device.config_generation
        if before is not None and asked["generation"] != before and asked["length"]:
            self._judge(rules.CONFIG_STALE, not length, asked, got=length, expected=0)
        where = (asked.device, asked["offset"], asked["length"])
        if where in self._taken and asked["length"]:
            self._judge(rules.CONFIG_COALESCED, length, asked)
        elif length:
            self._taken.add(where)
        self._told_generation(answer, device, answer["generation"])

    def _get_vqueue(self, asked: Message, answer: Message, _: bool) -> None:
        device, index = self.view.device(asked.device), asked["index"]
        there = device.info is None or index < device.info["max_virtqueues"]
        told = answer["index"] == index and (there or not answer["max_size"])
        self._judge(rules.QUEUE_NONE, told, answer)
        size, most = answer["size"], answer["max_size"]
        same = device.maxima.get(index, most) == most
        self._judge(rules.QUEUE_MAXIMUM, size <= most and same, answer, got=size, expected=most)
        place = device.queues.get(index)
        names = ("size", "desc_area", "driver_area", "device_area")
        wanted = [0] * len(names) if place is None else [place[name] for name in names]
        got = [answer[name] for name in names]
        self._judge(rules.QUEUE_TOLD, got == wanted, answer, got=got, expected=wanted)
        if "flags" in answer.fields:
            flags = 0 if place is None else abi.QUEUE_ENABLED
            self._judge(
                rules.QUEUE_FLAGS,
                answer["flags"] == flags,
                answer,
                got=answer["flags"],
                expected=flags,
            )

    def _set_vqueue(self, asked: Message, _: Message, done: bool) -> None:
        device, index, size = self.view.device(asked.device), asked["index"], asked["size"]
        most = device.maxima.get(index)
        none = device.info is not None and index >= device.info["max_virtqueues"]
        if none or index in device.queues or not size or (most is not None and size > most):
            self._judge(rules.QUEUE_REFUSED, not done, asked)
        elif (asked.device, index) in self._was_reset:
            self._was_reset.discard((asked.device, index))
            self._judge(rules.QUEUE_AGAIN, done, asked)

    def _reset_vqueue(self, asked: Message, _: Message, done: bool) -> None:
        if done:
            self._was_reset.add((asked.device, asked["index"]))


def _is_of_poll(answer: Message) -> bool:
    error = answer.kind is ffa.ERROR and answer["msg_id"] == ffa.EVENT_POLL.id
    return error or answer.kind is ffa.EVENT_POLL


_Check = Callable[[DeviceJudge, Message, Message, bool], None]
_CHECKS: Final[dict[tuple[int, int], _Check]] = {
    (BUS, ffa.VERSION.id): DeviceJudge._version,
    (BUS, ffa.RESET.id): DeviceJudge._reset,
    (BUS, ffa.AREA_SHARE.id): DeviceJudge._area_share,
    (BUS, ffa.AREA_UNSHARE.id): DeviceJudge._area_unshare,
    (BUS, ffa.EVENT_CONFIGURE.id): DeviceJudge._event_configure,
    (BUS, bus_abi.GET_DEVICES.id): DeviceJudge._get_devices,
    (BUS, bus_abi.PING.id): DeviceJudge._ping,
    (0, abi.GET_DEVICE_INFO.id): DeviceJudge._info,
    (0, abi.GET_DEVICE_FEATURES.id): DeviceJudge._get_features,
    (0, abi.GET_DEVICE_STATUS.id): DeviceJudge._get_status,
    (0, abi.SET_DEVICE_STATUS.id): DeviceJudge._set_status,
    (0, abi.GET_CONFIG.id): DeviceJudge._get_config,
    (0, abi.SET_CONFIG.id): DeviceJudge._set_config,
    (0, abi.GET_VQUEUE.id): DeviceJudge._get_vqueue,
    (0, abi.SET_VQUEUE.id): DeviceJudge._set_vqueue,
    (0, abi.RESET_VQUEUE.id): DeviceJudge._reset_vqueue,
}
_MAY_FAIL: Final = frozenset(
    {
        (BUS, ffa.AREA_SHARE.id),
        (BUS, ffa.AREA_UNSHARE.id),
        (BUS, ffa.EVENT_CONFIGURE.id),
        (0, abi.SET_VQUEUE.id),
        (0, abi.RESET_VQUEUE.id),
    }
)
"""Requests whose ERROR is an answer to be judged."""
