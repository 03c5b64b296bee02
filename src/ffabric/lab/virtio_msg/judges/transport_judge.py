"""What a device side says of its devices, judged: the answers and events of the transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.message import Message
from ffabric.lab.virtio_msg.judges import device_rules as rules
from ffabric.lab.virtio_msg.judges.rules import Report, Rule, Side
from ffabric.lab.virtio_msg.judges.view import DeviceView, View

_BLOCK_BITS: Final = 32
_HALF: Final = 1 << 31


class TransportJudge:
    """Judges answers and events of devices, with what the device side knows (`view`)."""

    def __init__(self, view: View, report: Report) -> None:
        self.view = view
        self._report = report
        self._config_events: set[tuple[int, int]] = set()
        self._taken: set[tuple[int, int, int]] = set()
        """(device, offset, length) of what was written to configurations."""
        self._was_reset: set[tuple[int, int]] = set()
        """Virtqueues that were reset for themselves, and not set up since."""

    def _judge(
        self, rule: Rule, holds: object, message: Message, *, got: Any = None, expected: Any = None
    ) -> None:
        self._report.judge(rule, Side.DEVICE, holds, message, got=got, expected=expected)

    def answered(self, asked: Message, answer: Message, *, done: bool) -> None:
        """A request was answered: ``done``, or with an ERROR."""
        check = _CHECKS.get(asked.kind.id)
        if check is not None:
            check(self, asked, answer, done)

    def happened(self, event: Message) -> None:
        """A device has told something."""
        if event.kind is abi.EVENT_USED:
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


_Check = Callable[[TransportJudge, Message, Message, bool], None]
_CHECKS: Final[dict[int, _Check]] = {
    abi.GET_DEVICE_INFO.id: TransportJudge._info,
    abi.GET_DEVICE_FEATURES.id: TransportJudge._get_features,
    abi.GET_DEVICE_STATUS.id: TransportJudge._get_status,
    abi.SET_DEVICE_STATUS.id: TransportJudge._set_status,
    abi.GET_CONFIG.id: TransportJudge._get_config,
    abi.SET_CONFIG.id: TransportJudge._set_config,
    abi.GET_VQUEUE.id: TransportJudge._get_vqueue,
    abi.SET_VQUEUE.id: TransportJudge._set_vqueue,
    abi.RESET_VQUEUE.id: TransportJudge._reset_vqueue,
}
