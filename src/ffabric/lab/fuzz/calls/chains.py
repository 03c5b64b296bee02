"""Calls that pass cycles and signals around: requests, FFA_RUN, yields and notifications.

Most name endpoints that exist and may be asked, so that chains grow, break and cross each other.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import pack_ids
from ffabric.lab.fuzz.actors import ASKED, REQUESTS, RESPONSES
from ffabric.lab.fuzz.calls.registers import BOUNDARIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.lab.fuzz.actors import Actor

BITMAPS = (1, 2, 4, 5, 1 << 31, 0xFF)


class Chains:
    """Calls of one actor about cycles and signals."""

    def __init__(self, random: Random, actor: Actor, ids: list[int]) -> None:
        self._random = random
        self._actor = actor
        self._ids = [each for each in ids if each != actor.id]
        self._calls: list[Callable[[], list[int]]] = [
            *[self._request] * 4,
            *[self._response] * 2,
            *[self._run] * 3,
            self._yield,
            self._bind,
            self._set,
            self._get,
            self._info,
        ]

    def call(self) -> list[int]:
        """A call; now and then something is wrong with it."""
        call = self._random.choice(self._calls)()
        if self._random.random() < 0.1:
            at = self._random.randrange(1, len(call)) if len(call) > 1 else 0
            call[at] = self._random.choice(BOUNDARIES)
        return call

    def _other(self) -> int:
        return self._random.choice(self._ids or [0])

    def _payload(self) -> list[int]:
        return [self._random.getrandbits(64) for _ in range(self._random.choice((0, 1, 4)))]

    def _request(self) -> list[int]:
        function = self._random.choice([*REQUESTS])
        ids = pack_ids(self._actor.id, self._other())
        unused = [0, 0] if function == fid.FFA_MSG_SEND_DIRECT_REQ2 else [0]
        nonce = ASKED | self._random.randrange(1, 1 << 16)
        return [function, ids, *unused, nonce, *self._payload()]

    def _response(self) -> list[int]:
        if self._actor.serves and self._random.random() < 0.7:
            return self._actor.response
        ids = pack_ids(self._actor.id, self._other())
        return [self._random.choice([*RESPONSES]), ids, 0, *self._payload()]

    def _run(self) -> list[int]:
        return [fid.FFA_RUN, pack_ids(self._other(), self._random.choice((0, 0, 0, 1)))]

    def _yield(self) -> list[int]:
        return [fid.FFA_YIELD, 0, self._random.getrandbits(8)]

    def _bind(self) -> list[int]:
        function = self._random.choice((fid.FFA_NOTIFICATION_BIND, fid.FFA_NOTIFICATION_UNBIND))
        ids = pack_ids(self._other(), self._actor.id)
        flags = self._random.choice((0, 0, 1)) if function == fid.FFA_NOTIFICATION_BIND else 0
        return [function, ids, flags, self._random.choice(BITMAPS), 0]

    def _set(self) -> list[int]:
        flags = self._random.choice((0, 0, 2, 1, 1 << 16))
        ids = pack_ids(self._actor.id, self._other())
        return [fid.FFA_NOTIFICATION_SET, ids, flags, self._random.choice(BITMAPS), 0]

    def _get(self) -> list[int]:
        return [fid.FFA_NOTIFICATION_GET, self._actor.id, self._random.choice((1, 2, 3, 4, 15))]

    def _info(self) -> list[int]:
        return [fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, self._random.choice((0, 0, 1))]
