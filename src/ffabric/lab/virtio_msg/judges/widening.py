"""Messages of rfc2 as one end of a bus sends and gets them, with the tokens that they have not."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

from ffabric.abi.virtio_msg.ffa import ERROR
from ffabric.abi.virtio_msg.header import BUS, EVENT, RESPONSE
from ffabric.abi.virtio_msg.narrow import NARROW, widen

EVENT_TOKEN: Final = 0
UNASKED: Final = 0xFFFF
"""The token of a response to nothing that was asked."""
_Key = tuple[int, int, bytes]
"""Bus bit, id and device of a request."""


class Widening:
    """Gives each request a token of its own, and its response the same.

    A response is to a request of its kind to its device: to the first that has none if messages
    come in ``order``, as a device side gets them; else to the last, as older ones may be lost.
    """

    def __init__(self, *, order: bool) -> None:
        self._order = order
        self._token = 0
        self._asked: dict[_Key, deque[int]] = defaultdict(deque)
        """Tokens of requests without a response."""
        self._last: _Key | None = None

    def __call__(self, data: bytes) -> bytes:
        """The message with a header of 8 bytes."""
        if len(data) < NARROW:
            return widen(data, UNASKED)
        type_, id_, device = data[0], data[1], data[2:4]
        if type_ & RESPONSE:
            return widen(data, self._answered((type_ & BUS, id_, device), data))
        if id_ & EVENT:
            return widen(data, EVENT_TOKEN)
        if not NARROW <= int.from_bytes(data[4:NARROW], "little") <= len(data):
            return widen(data, UNASKED)
        self._token = self._token % (UNASKED - 1) + 1
        self._last = (type_ & BUS, id_, device)
        self._asked[self._last].append(self._token)
        return widen(data, self._token)

    def busy(self) -> None:
        """The last request was not served: it comes again."""
        if self._last is not None and self._asked[self._last]:
            self._asked[self._last].pop()

    def _answered(self, key: _Key, data: bytes) -> int:
        bus, id_, device = key
        if bus and id_ == ERROR.id and len(data) > NARROW:
            failed = [(each, data[NARROW], device) for each in (BUS, 0)]
            key = max(failed, key=lambda each: max(self._asked[each], default=0))
        asked = self._asked[key]
        if not asked:
            return UNASKED
        if self._order:
            return asked.popleft()
        token = asked.pop()
        asked.clear()
        return token
