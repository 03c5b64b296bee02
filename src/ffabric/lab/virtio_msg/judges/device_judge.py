"""A device side, judged by what it sends to one driver side, with what it has received.

Here are what answers what, and the bus; `transport_judge` has what is said of devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.ffa import Method, Result
from ffabric.abi.virtio_msg.header import BUS, EVENT, RESPONSE, Header
from ffabric.abi.virtio_msg.message import Message
from ffabric.guests.virtio_msg.device.retrieved_areas import acceptable
from ffabric.lab.virtio_msg.judges import device_rules as rules
from ffabric.lab.virtio_msg.judges.driver_judge import NOTIFICATIONS
from ffabric.lab.virtio_msg.judges.form import Judged
from ffabric.lab.virtio_msg.judges.rules import Report, Rule, Side
from ffabric.lab.virtio_msg.judges.transport_judge import TransportJudge
from ffabric.lab.virtio_msg.judges.view import VERSIONS, View

_BEFORE_AGREEMENT: Final = frozenset({ffa.VERSION.id, ffa.RESET.id})
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
        self._devices = TransportJudge(self.view, report)

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
        """The run is over: what is unanswered remains so.

        A driver side that polls for events, or probes, may have done before it has read the answer.
        """
        for asked in self.view.pending.values():
            probes = asked.kind is ffa.VERSION and not any(asked[name] for name in VERSIONS)
            if asked.kind is not ffa.EVENT_POLL and not probes:
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
        if answer.kind is asked.kind or (error and key in _MAY_FAIL):
            check = _CHECKS.get(asked.kind.id) if asked.kind.bus else None
            if check is not None:
                check(self, asked, answer, not error)
            elif not asked.kind.bus:
                self._devices.answered(asked, answer, done=not error)
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
        else:
            self._devices.happened(event)


def _is_of_poll(answer: Message) -> bool:
    error = answer.kind is ffa.ERROR and answer["msg_id"] == ffa.EVENT_POLL.id
    return error or answer.kind is ffa.EVENT_POLL


_Check = Callable[[DeviceJudge, Message, Message, bool], None]
_CHECKS: Final[dict[int, _Check]] = {
    ffa.VERSION.id: DeviceJudge._version,
    ffa.RESET.id: DeviceJudge._reset,
    ffa.AREA_SHARE.id: DeviceJudge._area_share,
    ffa.AREA_UNSHARE.id: DeviceJudge._area_unshare,
    ffa.EVENT_CONFIGURE.id: DeviceJudge._event_configure,
    bus_abi.GET_DEVICES.id: DeviceJudge._get_devices,
    bus_abi.PING.id: DeviceJudge._ping,
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
