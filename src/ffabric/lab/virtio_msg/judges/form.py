"""The form of a message, whoever sends it: header, size, reserved bits, padding."""

from __future__ import annotations

from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.header import (
    BUS,
    EVENT,
    HEADER_SIZE,
    RESPONSE,
    Header,
    parse_header,
    peek_header,
)
from ffabric.abi.virtio_msg.message import Message, kind_of, parse
from ffabric.lab.virtio_msg.judges.rules import BOTH, TRANSPORT, Report, Rule, Side, rule

SIZE = rule(
    BOTH,
    "message.size",
    f"{TRANSPORT}, l. 187",
    "msg_size counts the header, and is not above the maximum message size.",
    rfc2="l. 135",
)
TYPE = rule(
    BOTH,
    "message.type",
    f"{TRANSPORT}, common message format",
    "Bits 7:2 of the type are sent as zero.",
    rfc2="l. 310",
)
KNOWN = rule(
    BOTH,
    "message.id",
    f"{TRANSPORT}, message ids",
    "The id is that of a message of the generation, or in the range of implementations.",
    rfc2="l. 722, l. 1087",
)
DIRECTION = rule(
    BOTH,
    "message.direction",
    f"{TRANSPORT}, message ids",
    "Each side sends its own: requests and EVENT_AVAIL are the driver's, responses and all other"
    " events the device's.",
    rfc2="l. 722, l. 1087",
)
EXACT = rule(
    BOTH,
    "message.exact",
    f"{TRANSPORT}, common message format",
    "The payload has all fields of the message, and nothing behind them.",
    rfc2="l. 320",
)
RESERVED = rule(
    BOTH,
    "message.reserved",
    f"{TRANSPORT}, common message format",
    "Reserved fields are sent as zero.",
    rfc2="l. 959",
)
PADDING = rule(
    BOTH,
    "message.padding",
    f"{TRANSPORT}, common message format",
    "What the carrier has behind the message is zero.",
)
BUS_DEVICE = rule(
    BOTH,
    "message.bus_device",
    f"{TRANSPORT}, common message format",
    "The device number of a bus message is 0, except in ERROR, which has that of the request.",
    rfc2="l. 319",
)

_IMPLEMENTATION: Final = 0x80
_DRIVERS_EVENTS: Final = frozenset({(0, 0x41)})


class Judged:
    """A message that a side has sent, judged by its form; `message` is None if it is unreadable."""

    def __init__(self, data: bytes, side: Side, report: Report, max_size: int) -> None:
        self.data = data
        self.header: Header = peek_header(data)
        self.message: Message | None = None
        self._side = side
        self._report = report
        text = data.hex(" ", 4)
        try:
            self.header = parse_header(data)
            sound = self.header.size <= max_size
        except DecodeError:
            sound = False
        if not self._judge(SIZE, sound, text):
            return
        self._judge(TYPE, not data[0] & ~(BUS | RESPONSE), text)
        self._judge(PADDING, not any(data[self.header.size :]), text)
        self._read(report.generation, text)

    def _judge(self, judged: Rule, holds: object, text: str) -> bool:
        return self._report.judge(judged, self._side, holds, text)

    @property
    def is_taken(self) -> bool:
        """The header that says that a message came which has no response.

        That is a direct message; in rfc2, where Linux waits for an answer whatever it sends, an
        indirect one, whose id it has then.
        """
        header = self.header
        if header.size != HEADER_SIZE:
            return False
        if self._report.generation.narrow and header.type == RESPONSE and header.id & EVENT:
            return True
        return (header.type, header.id) == (BUS | RESPONSE, 0)

    def _read(self, generation: Generation, text: str) -> None:
        header = self.header
        if self.is_taken:
            return
        kind = kind_of(header)
        own = header.id >= _IMPLEMENTATION
        if not self._judge(KNOWN, kind is not None or own, text) or kind is None:
            return
        driver = self._side is Side.DRIVER
        if header.type & RESPONSE or not header.id & EVENT:
            fits = driver is not bool(header.type & RESPONSE)
        else:
            fits = driver is ((header.type & BUS, header.id) in _DRIVERS_EVENTS)
        self._judge(DIRECTION, fits, text)
        if header.type & BUS:
            zero = header.id == ffa.ERROR.id or not header.device
            self._judge(BUS_DEVICE, zero, text)
        try:
            message = parse(self.data, generation)
        except DecodeError as error:
            self._judge(EXACT, False, f"{text}: {error}")  # noqa: FBT003 - the verdict
            return
        self._judge(EXACT, not message.excess, text)
        body = kind.response if message.response else kind.request
        if body is not None:
            dirty = body.record(generation.number).dirty(self.data, HEADER_SIZE)
            self._judge(RESERVED, not dirty, str(message))
        self.message = message
