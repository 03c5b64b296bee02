"""How a driver side and a device side exchange messages: direct or indirect FF-A messages."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import notifications
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, build_header, parse_header
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa

BUSY_TRIES: Final = 100_000
"""How often a device side may say that it is busy."""
START_TRIES: Final = 100
"""How often a message is tried while the device side may not have its RX yet."""
PATIENCE: Final = 100_000
"""Looks for an answer before a driver side gives up."""
RX_FULL: Final = notifications.RX_BUFFER_FULL_SPM | notifications.RX_BUFFER_FULL_HYPERVISOR
_ALL = (
    notifications.GET_FROM_SP
    | notifications.GET_FROM_VM
    | notifications.GET_FROM_SPM
    | notifications.GET_FROM_HYPERVISOR
)


class BusError(Exception):
    """The device side refused a message, or does not answer."""


class Attention:
    """What notifications have told the partition, until somebody has seen to it.

    With `by_interrupt` the partition's interrupt handler calls `notified`, and waiting is WFI;
    without, waiting gives others their turn and looks.
    """

    def __init__(self, ffa: Ffa, *, by_interrupt: bool) -> None:
        self.by_interrupt = by_interrupt
        self.bits: int = 0
        self.rx_full: bool = False
        self._ffa = ffa

    def notified(self, from_sps: int, from_vms: int, framework: int) -> None:
        """The three bitmaps of FFA_NOTIFICATION_GET."""
        self.bits |= from_sps | from_vms
        self.rx_full |= bool(framework & RX_FULL)

    async def wait(self) -> None:
        """Until something may have happened."""
        if self.by_interrupt:
            await self._ffa.idle()
        else:
            await self._ffa.yield_()
            await self.look()

    async def look(self) -> None:
        """Fetch what is pending, if no interrupt does so."""
        if not self.by_interrupt:
            ffa = self._ffa
            self.notified(*await ffa.notification_get(_ALL, ffa.vcpu.index))


class Link(Protocol):
    """The way to one device side."""

    async def request(self, message: bytes) -> bytes:
        """Send a request: the response. Raises BusError if there is none."""

    async def event(self, message: bytes) -> None:
        """Send an event."""

    async def fetch(self, poll: bytes) -> bytes | None:
        """An event of the device side, if there is one; `poll` is the EVENT_POLL to ask for it."""

    async def rest(self) -> None:
        """Wait until there may be an event."""


class DirectLink:
    """By FFA_MSG_SEND_DIRECT_REQ2. With `notification`, events are fetched when it has come."""

    def __init__(self, ffa: Ffa, peer: int, attention: Attention) -> None:
        self.notification: int | None = None
        self._ffa = ffa
        self._peer = peer
        self._attention = attention

    async def request(self, message: bytes) -> bytes:
        """One round trip; a device side that is busy is asked again."""
        registers = abi.to_registers(message)
        tries = 0
        for _ in range(PATIENCE):
            try:
                answer = await self._ffa.direct_request2(
                    self._peer, *registers, uuid=abi.DEVICE_UUID
                )
            except FfaError as error:  # BUSY: it serves another endpoint
                if error.status is not Status.BUSY:
                    raise BusError(str(error)) from error
            else:
                if answer.payload != abi.BUSY:
                    return abi.from_registers(answer.payload)
                tries += 1
                if tries == BUSY_TRIES:
                    break
            await self._ffa.yield_()
        raise BusError("the device side is busy")

    async def event(self, message: bytes) -> None:
        """An event is a request too, whose response says that it came."""
        await self.request(message)

    async def fetch(self, poll: bytes) -> bytes | None:
        """Ask for it."""
        return await self.request(poll)

    async def rest(self) -> None:
        """Until the notification, if there is to be one."""
        if self.notification is None:
            await self._ffa.yield_()
            return
        bit = 1 << self.notification
        for _ in range(PATIENCE):
            if self._attention.bits & bit:
                self._attention.bits &= ~bit
                return
            await self._attention.wait()
        raise BusError("no notification comes")


class IndirectLink:
    """By FFA_MSG_SEND2, both ways: events come unasked.

    RX holds one message. A device side that finds it full keeps what it has to say until it next
    gets cycles, and any message gives it some: whoever finds an event in the place of a response,
    or wants to sleep, sends EVENT_POLL.
    """

    def __init__(self, ffa: Ffa, peer: int, attention: Attention) -> None:
        self._ffa = ffa
        self._peer = peer
        self._attention = attention
        self._events: deque[bytes] = deque()

    async def request(self, message: bytes) -> bytes:
        """Send it, then wait for the response to this device and token."""
        await self.event(message)
        sent = parse_header(message)
        for _ in range(PATIENCE):
            data = await self._receive()
            if data is None:
                await self._attention.wait()
                continue
            header = parse_header(data)
            if not header.type & RESPONSE:
                self._events.append(data)
                await self._send(_NUDGE)
            elif (header.device, header.token) == (sent.device, sent.token):
                return data
        raise BusError("no response comes")

    async def event(self, message: bytes) -> None:
        """Make room for what may come back, then send it."""
        await self._attention.look()
        await self._take()
        await self._send(message)

    async def fetch(self, poll: bytes) -> bytes | None:
        """One that has come, or that waits at the device side."""
        await self._attention.look()
        await self._take()
        if not self._events:
            await self._send(poll)
            for _ in range(PATIENCE):
                data = await self._receive()
                if data is not None:
                    return data
                await self._attention.wait()
            raise BusError("the device side does not answer")
        return self._events.popleft()

    async def rest(self) -> None:
        """Until something comes."""
        if not self._events and not self._attention.rx_full:
            await self._attention.wait()

    async def _send(self, message: bytes) -> None:
        for tries in range(PATIENCE):
            try:
                await self._ffa.send2(self._peer, message, uuid=abi.DEVICE_UUID)
            except FfaError as error:
                early = error.status is Status.DENIED and tries < START_TRIES
                if error.status is not Status.BUSY and not early:
                    raise BusError(str(error)) from error
                await self._ffa.yield_()
            else:
                return
        raise BusError("the device side does not read its messages")

    async def _take(self) -> None:
        """Keep an event that is in RX; a response there is to nothing any more."""
        data = await self._receive()
        if data is not None and not parse_header(data).type & RESPONSE:
            self._events.append(data)

    async def _receive(self) -> bytes | None:
        """The message of the device side in RX, if there is one."""
        if not self._attention.rx_full:
            return None
        self._attention.rx_full = False
        message = await self._ffa.receive()
        try:
            parse_header(message.payload)
        except DecodeError:
            return None
        return message.payload if message.sender == self._peer else None


_NUDGE = build_header(BUS, abi.EVENT_POLL.id, 0, 1)
"""An EVENT_POLL whose answer nobody waits for."""
