"""Virtqueues over time, as the messages of virtio-msg in a trace tell of them.

What is in the rings is in memory, which a trace does not have. The messages tell when a virtqueue
is set up and taken away, and when one side tells the other that it has put something into it
(EVENT_AVAIL, EVENT_USED). A request counts when it is answered, and not with ERROR.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import messages
from ffabric.abi.ffa.uuids import from_pair
from ffabric.abi.ffa.version import LATEST
from ffabric.abi.virtio.ids import NAMES
from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg.message import Message
from ffabric.abi.words import MASK32, unpack_ids
from ffabric.machine.events import Call
from ffabric.observe.decoding import virtio_msg
from ffabric.observe.timeline import Timeline

_SETUP: Final = frozenset({transport.SET_VQUEUE, transport.RESET_VQUEUE})


class Queue(msgspec.Struct):
    """One virtqueue of a device, between two endpoints."""

    side: str
    """The partition that has the device."""
    driver: str
    """The partition that drives it."""
    device: int
    """The number of the device on its bus."""
    index: int
    """The number of the virtqueue."""
    what: str = "device"
    """What device it is, if the trace tells."""
    history: list[tuple[int, int]] = []
    """Since which moment it has which size; 0: it is not set up."""
    avail: list[int] = []
    """The moments at which the driver tells of available buffers."""
    used: list[int] = []
    """The moments at which the device tells of used buffers."""

    @property
    def name(self) -> str:
        """As in ``disks: block 0, queue 1``."""
        return f"{self.side}: {self.what} {self.device}, queue {self.index}"


class _Said(NamedTuple):
    """A message between the two sides of a bus."""

    number: int
    side: int
    driver: int
    message: Message


def virtqueues(timeline: Timeline) -> list[Queue]:
    """The virtqueues that the trace tells of, by device and number."""
    found = _Virtqueues()
    for said in _messages(timeline):
        found.take(said)
    names = timeline.names()
    for queue, (side, driver, device, _) in zip(found.queues.values(), found.queues, strict=True):
        queue.side = names.get(side, f"{side:#06x}")
        queue.driver = names.get(driver, f"{driver:#06x}")
        queue.what = NAMES.get(found.kinds.get((side, driver, device), 0), "device")
    return [found.queues[key] for key in sorted(found.queues)]


class _Virtqueues:
    def __init__(self) -> None:
        self.queues: dict[tuple[int, int, int, int], Queue] = {}
        self.kinds: dict[tuple[int, int, int], int] = {}
        """By device: its virtio device id."""
        self._asked: dict[tuple[int, int, int], Message] = {}
        """By device: the last request that sets up or resets a virtqueue."""

    def take(self, said: _Said) -> None:
        """Take one message in."""
        number, side, driver, message = said
        kind, fields, device = message.kind, message.fields, (side, driver, message.device)
        if kind is transport.EVENT_AVAIL:
            self._queue(device, fields["index"]).avail.append(number)
        elif kind is transport.EVENT_USED:
            self._queue(device, fields["index"]).used.append(number)
        elif not message.response:
            if kind in _SETUP:
                self._asked[device] = message
        elif kind in _SETUP:
            asked = self._asked.pop(device, None)
            if asked is not None and asked.kind is kind:
                queue = self._queue(device, asked["index"])
                queue.history.append((number, asked.fields.get("size", 0)))
        elif kind is transport.GET_DEVICE_INFO:
            self.kinds[device] = fields["device_id"]
        elif kind is ffa.RESET:
            self._gone(number, (side, driver))
        elif kind is transport.SET_DEVICE_STATUS and not fields["status"]:
            self._gone(number, device)

    def _queue(self, device: tuple[int, int, int], index: int) -> Queue:
        key = (*device, index)
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = Queue("", "", device[2], index)
        return queue

    def _gone(self, number: int, device: tuple[int, ...]) -> None:
        """The device, or all of a side, is reset: it has no virtqueues any more."""
        for key, queue in self.queues.items():
            if key[: len(device)] == device and queue.history and queue.history[-1][1]:
                queue.history.append((number, 0))


def _messages(timeline: Timeline) -> Iterator[_Said]:
    """The messages of virtio-msg in direct and indirect messages, as they are sent."""
    asked: dict[tuple[int, int, int], bool] = {}
    for number, moment in enumerate(timeline.moments):
        line = moment.line
        if not isinstance(line, Call):
            continue
        function = line.x[0] & MASK32
        if function == fid.FFA_MSG_SEND2:
            found = _indirect(line)
        elif function in {fid.FFA_MSG_SEND_DIRECT_REQ2, fid.FFA_MSG_SEND_DIRECT_RESP2}:
            found = _direct(line, asked)
        else:
            continue
        if found is not None:
            data, side, driver = found
            try:
                yield _Said(number, side, driver, virtio_msg.read(data))
            except DecodeError:
                continue


def _direct(line: Call, asked: dict[tuple[int, int, int], bool]) -> tuple[bytes, int, int] | None:
    """The bytes of a direct message, the device side and the driver side; None: of another service.

    ``asked`` holds by PE, sender and receiver of a request whether it went to a device side.
    """
    sender, receiver = unpack_ids(line.x[1])
    if line.x[0] & MASK32 == fid.FFA_MSG_SEND_DIRECT_REQ2:
        uuid = from_pair(line.x[2], line.x[3])
        if uuid not in virtio_msg.UUIDS:
            asked.pop((line.pe, sender, receiver), None)
            return None
        to_device = asked[line.pe, sender, receiver] = uuid == ffa.DEVICE_UUID
    else:
        answered = asked.get((line.pe, receiver, sender))
        if answered is None:
            return None
        to_device = not answered
    side, driver = (receiver, sender) if to_device else (sender, receiver)
    return ffa.from_registers(line.x[4:18]), side, driver


def _indirect(line: Call) -> tuple[bytes, int, int] | None:
    for _, data in line.write:
        try:
            sent = messages.parse_message(data, LATEST)
        except DecodeError:
            continue
        if sent.uuid == ffa.DEVICE_UUID:
            return sent.payload, sent.receiver, sent.sender
        if sent.uuid == ffa.DRIVER_UUID:
            return sent.payload, sent.sender, sent.receiver
    return None
