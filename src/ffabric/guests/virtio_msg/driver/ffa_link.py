"""How a driver side and a device side exchange messages: direct or indirect FF-A messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, build_header, parse_header, with_token
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.words import MASK32, pack_ids
from ffabric.guests.errors import FfaError, error_of, status_of
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio_msg.driver.attention import Attention, Wait
from ffabric.guests.virtio_msg.driver.bus import FIRST_NUDGE, BusError, Pauses, older_generation

_BUSY = "the device side is busy"
_UNREAD = "the device side does not read its messages"
_PAUSED = frozenset({fid.FFA_YIELD, fid.FFA_INTERRUPT})
_SERVICE = to_pair(abi.DEVICE_UUID)
START_TRIES: Final = 100
"""How often a message is tried while the device side may not have its RX yet."""


class DirectLink:
    """By FFA_MSG_SEND_DIRECT_REQ2. With `notification`, events are fetched when it has come.

    A device side that yields gets cycles again, but not for ever. A round trip that was given up
    is finished before the next one begins, and nobody looks at its response.
    """

    def __init__(self, ffa: Ffa, peer: int, attention: Attention) -> None:
        self.notification: int | None = None
        self.heard: deque[bytes] = deque()
        self._ffa = ffa
        self._peer = peer
        self._attention = attention
        self._head = (fid.FFA_MSG_SEND_DIRECT_REQ2, pack_ids(ffa.endpoint, peer), *_SERVICE)

    async def request(self, message: bytes) -> bytes:
        """One round trip; a device side that is busy is asked again."""
        registers = self._head + abi.to_registers(message)
        wait: Wait | None = None
        given_up = self._attention.given_up.get(self._peer)
        if given_up is not None:
            wait = Wait(self._attention, _BUSY, announced=False)
            await self._until_response((fid.FFA_YIELD, given_up), wait)
        while True:
            x: Sequence[int] = await self._ffa.exchange(registers)
            if x[0] & MASK32 != fid.FFA_MSG_SEND_DIRECT_RESP2:
                wait = wait or Wait(self._attention, _BUSY, announced=False)
                x = await self._until_response(x, wait)
            payload = x[4:18]
            if any(payload):
                return abi.from_registers(payload)
            wait = wait or Wait(self._attention, _BUSY, announced=False)
            await wait.pause()

    async def _until_response(self, x: Sequence[int], wait: Wait) -> Sequence[int]:
        """Give cycles to who has yielded or was interrupted, until it responds.

        A device side that serves another endpoint is taken for one that says that it is busy.
        """
        while (function := x[0] & MASK32) in _PAUSED:
            self._attention.given_up[self._peer] = whom = x[1]
            if function == fid.FFA_YIELD:
                await wait.pause()
            else:
                wait.check()
            x = tuple(await self._ffa.resume(self._peer, whom))
        self._attention.given_up.pop(self._peer, None)
        if function == fid.FFA_ERROR:
            if status_of(x[2]) is not Status.BUSY:
                raise BusError(str(error_of(self._ffa.vcpu, x[2], fid.FFA_MSG_SEND_DIRECT_REQ2)))
            return (0,) * 18
        return x

    async def event(self, message: bytes) -> None:
        """An event is a request too, whose response says that it came."""
        await self.request(message)

    async def listen(self) -> None:
        """Nothing comes unasked."""

    async def fetch(self, poll: bytes) -> bytes | None:
        """Ask for it."""
        return await self.request(poll)

    async def rest(self, wait: Pauses) -> None:
        """Until the notification, if there is to be one."""
        if self.notification is None:
            await wait.pause()
            return
        bit = 1 << self.notification
        while not self._attention.bits & bit:
            await wait.pause()
        self._attention.bits &= ~bit


_PROBE = build(abi.VERSION, PR28, token=1)
"""A VERSION that asks."""
_NUDGE = build_header(BUS, abi.EVENT_POLL.id, 0, 1)
"""An EVENT_POLL whose answer nobody waits for."""
_LAST_NUDGE = 0xFFFF
_BEFORE_AGREEMENT = frozenset({abi.VERSION.id, abi.RESET.id})


class IndirectLink:
    """By FFA_MSG_SEND2, both ways: events come unasked.

    RX holds one message. A device side that finds it full keeps what it has to say until it next
    gets cycles, and any message gives it some: whoever finds an event in the place of a response,
    or wants to sleep, sends EVENT_POLL; or `probe`, as long as no version is agreed on.
    """

    probe: bytes = _PROBE

    def __init__(self, ffa: Ffa, peer: int, attention: Attention) -> None:
        self._ffa = ffa
        self._peer = peer
        self._attention = attention
        attention.listening = True
        self._token = FIRST_NUDGE
        self.heard: deque[bytes] = deque()

    async def request(self, message: bytes) -> bytes:
        """Send it, then wait for the response to this device and token."""
        await self.event(message)
        sent = parse_header(message)
        wait = Wait(self._attention, "no response comes")
        while True:
            data = await self._receive()
            if data is None:
                await wait.pause()
                continue
            header = parse_header(data)
            if not header.type & RESPONSE:
                self.heard.append(data)
                await self._nudge(sent.id in _BEFORE_AGREEMENT)
            elif (header.device, header.token) == (sent.device, sent.token):
                return data

    async def _nudge(self, early: bool) -> None:
        """Give the device side cycles, by a token that no message has which may be unanswered."""
        token = self._token
        self._token = token + 1 if token < _LAST_NUDGE else FIRST_NUDGE
        await self._send(with_token(self.probe if early else _NUDGE, token))

    async def event(self, message: bytes) -> None:
        """Send it: `listen` has made room for what may come back."""
        await self._send(message)

    async def listen(self) -> None:
        """Take what is in RX; a response there is to nothing any more."""
        await self._attention.look()
        data = await self._receive()
        if data is not None and not data[0] & RESPONSE:
            self.heard.append(data)

    async def fetch(self, poll: bytes) -> bytes | None:
        """One that has come, or that waits at the device side."""
        await self.listen()
        if self.heard:
            return self.heard.popleft()
        await self._send(poll)
        wait = Wait(self._attention, "the device side does not answer")
        while (data := await self._receive()) is None:
            await wait.pause()
        return data

    async def rest(self, wait: Pauses) -> None:
        """Until something comes."""
        if not self.heard and not self._attention.has_message(self._peer):
            await wait.pause()

    async def _send(self, message: bytes) -> None:
        wait, tries = Wait(self._attention, _UNREAD, announced=False), 0
        while True:
            try:
                await self._ffa.send2(self._peer, message, uuid=abi.DEVICE_UUID)
            except FfaError as error:
                tries += 1
                early = error.status is Status.DENIED and tries < START_TRIES
                if error.status is not Status.BUSY and not early:
                    raise BusError(str(error)) from error
                await self._attention.give_way()
                if tries >= START_TRIES:
                    await wait.pause()
            else:
                return

    async def _receive(self) -> bytes | None:
        """The next message of the device side, if there is one; what is none is dropped."""
        data = await self._attention.receive(self._peer)
        if data is None:
            return None
        try:
            return self._read(data)
        except DecodeError:
            return None

    def _read(self, data: bytes) -> bytes:
        """A message that has come. Raises DecodeError for none, BusError for an older one."""
        try:
            parse_header(data)
        except DecodeError:
            if older := older_generation(data, PR28):
                raise BusError(f"the device side speaks {older}") from None
            raise
        return data
