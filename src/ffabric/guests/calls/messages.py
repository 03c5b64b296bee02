"""Messages and cycles: direct requests, indirect messages, FFA_RUN (DEN0077A 1.2, 14 and 15)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import coroutine
from uuid import UUID

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import messages
from ffabric.abi.ffa.accessors import writer
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.uuids import NIL, as_uuid, from_pair, to_pair
from ffabric.abi.words import MASK16, MASK32, PAGE, pack_ids
from ffabric.guests.calls.both_ways import both_ways
from ffabric.guests.calls.channel import ZEROS
from ffabric.guests.calls.setup import SetupCalls
from ffabric.guests.errors import error_of, status_of
from ffabric.machine import exits
from ffabric.system.vcpu import Peer

REQUEST_WORDS = 5
"""Payload of FFA_MSG_SEND_DIRECT_REQ: w3 to w7."""
REQUEST2_WORDS = 14
"""Payload of FFA_MSG_SEND_DIRECT_REQ2: x4 to x17."""
_run = writer(fid.FFA_RUN, "target", "target_vcpu")
_send2 = writer(fid.FFA_MSG_SEND2, "flags")
_REQUESTS = {32: fid.FFA_MSG_SEND_DIRECT_REQ_32, 64: fid.FFA_MSG_SEND_DIRECT_REQ_64}
"""By the bits of a word of payload."""
_REQ2 = fid.FFA_MSG_SEND_DIRECT_REQ2
_PAUSED = (fid.FFA_INTERRUPT, fid.FFA_YIELD)
_TO_SERVICES = (fid.FFA_MSG_SEND_DIRECT_REQ2, fid.FFA_MSG_SEND_DIRECT_RESP2)
_LOGGED_AT_ONCE = 48


class DirectMessage(msgspec.Struct, frozen=True, gc=False):
    """A direct request or response: its ids and payload words (w3-w7, or x4-x17 for REQ2)."""

    function: int
    sender: int
    receiver: int
    payload: tuple[int, ...]
    uuid: UUID = NIL

    def respond(self, *payload: int) -> list[int]:
        """The registers that answer this request with ``payload``."""
        ids = self.receiver << 16 | self.sender
        if self.function == _REQ2:
            _check_payload(payload, REQUEST2_WORDS)
            return [fid.FFA_MSG_SEND_DIRECT_RESP2, ids, 0, 0, *payload]
        if len(payload) > REQUEST_WORDS:
            _check_payload(payload, REQUEST_WORDS)
        return [self.function + 1, ids, 0, *payload]

    def __repr__(self) -> str:
        known = fid.FUNCTIONS.get(self.function)
        name = f"{self.function:#x}" if known is None else known.name
        words = ", ".join(f"{word:#x}" for word in self.payload)
        to = f" {self.uuid}" if self.uuid.int else ""
        return f"<{name} {self.sender:#06x} -> {self.receiver:#06x}{to}: {words}>"


def direct_message(x: Sequence[int]) -> DirectMessage:
    """The direct message in the registers of a vCPU."""
    function, ids = x[0] & MASK32, x[1] & MASK32
    if function in _TO_SERVICES:
        uuid = from_pair(x[2], x[3])
        return DirectMessage(function, ids >> 16, ids & MASK16, tuple(x[4:18]), uuid)
    payload = (x[3], x[4], x[5], x[6], x[7])
    return DirectMessage(function, ids >> 16, ids & MASK16, payload)


def _check_payload(payload: Sequence[int], most: int) -> None:
    if len(payload) > most:
        raise ValueError(f"{len(payload)} words of payload: this message carries {most}")


class MessageCalls(SetupCalls):
    """The calls by which a partition sends messages and lends cycles."""

    @both_ways
    async def direct_request(self, to: Peer, *payload: int, bits: int = 64) -> DirectMessage:
        """FFA_MSG_SEND_DIRECT_REQ with up to five words of 32 or 64 ``bits``: the response.

        A request that is interrupted, or whose receiver yields, is resumed with FFA_RUN.
        """
        function = _REQUESTS.get(bits)
        if function is None:
            raise ValueError(f"bits: {bits!r}: words of payload have 32 or 64")
        if len(payload) > REQUEST_WORDS:
            _check_payload(payload, REQUEST_WORDS)
        receiver = self.resolve(to)
        x = self.x
        x[:] = (
            *(function, self.vcpu.endpoint << 16 | receiver, 0, *payload),
            *ZEROS[3 + len(payload)],
        )
        self.unawaited.made = None
        await self.trap  # not by another coroutine: nothing is called as often
        answer = x[0] & MASK32
        if answer == fid.FFA_ERROR:
            raise error_of(self.vcpu, x[2], function)
        if answer in _PAUSED:
            x = await self._answer(receiver, x)
        return direct_message(x)

    @both_ways
    async def direct_request2(
        self, to: Peer, *payload: int, uuid: UUID | str = NIL
    ) -> DirectMessage:
        """FFA_MSG_SEND_DIRECT_REQ2 with up to 14 words to the service ``uuid``: the response."""
        _check_payload(payload, REQUEST2_WORDS)
        receiver = self.resolve(to)
        ids = self.vcpu.endpoint << 16 | receiver
        service = to_pair(as_uuid(uuid))
        x = await self._ffa(fid.FFA_MSG_SEND_DIRECT_REQ2, ids, *service, *payload)
        if x[0] & MASK32 in _PAUSED:
            x = await self._answer(receiver, x)
        return direct_message(x)

    async def _answer(self, receiver: int, x: list[int]) -> list[int]:
        """What ``receiver`` answers in the end, after cycles for who was interrupted or yields."""
        while x[0] & MASK32 in _PAUSED:
            x = await self.resume(receiver, x[1])
            if x[0] & MASK32 == fid.FFA_ERROR:
                raise error_of(self.vcpu, x[2], fid.FFA_RUN)
        return x

    async def resume(self, receiver: int, word: int) -> list[int]:
        """FFA_RUN of the context that an answer of ``receiver`` names in w1. Returns all registers.

        If the caller itself was interrupted, w1 names nobody (0). The call then runs the receiver's
        context on the caller's PE, or the only context that the receiver has.
        """
        here = self.vcpu.index
        x = await self._exit(fid.FFA_RUN, word or pack_ids(receiver, here))
        if word or not here or x[0] & MASK32 != fid.FFA_ERROR:
            return x
        if status_of(x[2]) is Status.INVALID_PARAMETERS:
            x = await self._exit(fid.FFA_RUN, pack_ids(receiver, 0))
        return x

    @both_ways
    async def run(self, endpoint: Peer, vcpu: int = 0) -> tuple[int, ...]:
        """FFA_RUN: the registers that it returns with (FFA_MSG_WAIT, FFA_YIELD ...)."""
        return tuple(await self._ffa(*_run(self.resolve(endpoint), vcpu)))

    @both_ways
    async def msg_wait(self, *, retain_rx: bool = False) -> tuple[int, ...]:
        """FFA_MSG_WAIT: the registers of whatever ends the wait."""
        return tuple(await self._ffa(fid.FFA_MSG_WAIT, 0, int(retain_rx)))

    @both_ways
    async def yield_(self) -> None:
        """FFA_YIELD: give up the PE; the scheduler decides when the caller runs again."""
        await self._bare(fid.FFA_YIELD)

    @both_ways
    async def idle(self) -> None:
        """WFI: do nothing until an interrupt arrives."""
        await self._idle()

    @coroutine
    def _idle(self) -> Generator[int, None, None]:
        self.unawaited.made = None
        yield exits.IDLE

    @both_ways
    async def send2(
        self, to: Peer, data: bytes, *, uuid: UUID | str = NIL, delay_sri: bool = False
    ) -> None:
        """FFA_MSG_SEND2: send an indirect message."""
        receiver, service = self.resolve(to), as_uuid(uuid)
        await self._need_buffers()
        message = messages.Message(
            sender=self.endpoint, receiver=receiver, payload=data, uuid=service
        )
        self.memory.write(self.buffers.tx, messages.build_message(message, self.version))
        flags = messages.DELAY_SCHEDULE_RECEIVER if delay_sri else 0
        await self._ffa(*_send2(flags))

    @both_ways
    async def receive(self) -> messages.Message:
        """Read the indirect message in RX, and release RX."""
        data = self.memory.read(self.buffers.rx, self.buffers.pages * PAGE)
        message = messages.parse_message(data, self.version, older=True)
        await self._bare(fid.FFA_RX_RELEASE)
        return message

    @both_ways
    async def console_log(self, text: str) -> None:
        """FFA_CONSOLE_LOG: print a text, in as many calls as its length needs."""
        data = text.encode()
        for at in range(0, len(data), _LOGGED_AT_ONCE):
            part = data[at : at + _LOGGED_AT_ONCE]
            words = [int.from_bytes(part[i : i + 8], "little") for i in range(0, len(part), 8)]
            await self._ffa(fid.FFA_CONSOLE_LOG_64, len(part), *words)
