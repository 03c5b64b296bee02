"""How messages go over FF-A in Linux: direct requests, or indirect messages both ways."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.words import MASK32, pack_ids
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.lab.virtio_msg.linux import wire
from ffabric.lab.virtio_msg.linux.wire import LinuxError

DEVICE_UUID: Final = UUID("c66028b5-2498-4aa1-9de7-77da6122abf0")
DRIVER_UUID: Final = UUID("bd7fd089-6795-472b-b47f-db0c5d9a719d")
BUSY_TRIES: Final = 3
"""How often Linux asks again for an answer of zeros alone."""
LOOKS: Final = 20_000
"""How often it is looked for an indirect response, in place of 5 s."""
_WORDS = struct.Struct("<14Q")
_RUNS = frozenset({fid.FFA_YIELD, fid.FFA_INTERRUPT})
ALL: Final = (
    notifications.GET_FROM_SP
    | notifications.GET_FROM_VM
    | notifications.GET_FROM_SPM
    | notifications.GET_FROM_HYPERVISOR
)
RX_FULL: Final = notifications.RX_BUFFER_FULL_SPM | notifications.RX_BUFFER_FULL_HYPERVISOR


class Carrier(Protocol):
    """The way to one peer."""

    async def request(self, message: bytes) -> bytes:
        """The response to a request, as it has come."""

    async def event(self, message: bytes) -> None:
        """Send an event."""

    def arrived(self) -> list[bytes]:
        """Events that have come unasked."""


class Direct:
    """FFA_MSG_SEND_DIRECT_REQ2: the message in x4 to x17, padded with zeros."""

    def __init__(self, ffa: Ffa, peer: int) -> None:
        self._ffa = ffa
        self._head = (fid.FFA_MSG_SEND_DIRECT_REQ2, pack_ids(ffa.endpoint, peer))
        self._uuid = to_pair(DEVICE_UUID)

    async def request(self, message: bytes) -> bytes:
        """One round trip; zeros alone are asked again."""
        words = _WORDS.unpack(message.ljust(wire.CARRIER, b"\0"))
        for _ in range(BUSY_TRIES):
            x = await self._ffa.call(*self._head, *self._uuid, *words)
            while x[0] & MASK32 in _RUNS:
                x = await self._ffa.call(fid.FFA_RUN, x[1])
            if x[0] & MASK32 != fid.FFA_MSG_SEND_DIRECT_RESP2:
                raise LinuxError(wire.EIO, f"no response but {x[0]:#x} {x[2]:#x}")
            if any(x[4:18]):
                return _WORDS.pack(*x[4:18])
        raise LinuxError(wire.EBUSY, "the device side is busy")

    async def event(self, message: bytes) -> None:
        """An event is acknowledged by a header alone, with its token (DEN0153, direct messages)."""
        answer = wire.parse(await self.request(message), "the acknowledgement of an event")
        token = wire.HEADER.unpack_from(message)[3]
        expected = wire.Got(wire.BUS | wire.RESPONSE, 0, 0, token, b"")
        if answer != expected:
            raise LinuxError(wire.EPROTO, f"an event was acknowledged with {answer}")

    def arrived(self) -> list[bytes]:
        """None: they are polled for."""
        return []


class Indirect:
    """FFA_MSG_SEND2 both ways, the message as the payload; responses by device and token.

    ``look`` waits until something may have come.
    """

    def __init__(
        self, ffa: Ffa, peer: int, uuid: UUID, look: Callable[[], Awaitable[object]]
    ) -> None:
        self._ffa, self._peer, self._uuid, self._look = ffa, peer, uuid, look
        self._events: deque[bytes] = deque()

    async def request(self, message: bytes) -> bytes:
        """Send it, then take what comes until it is the response."""
        await self.event(message)
        _, number, device, token, _ = wire.HEADER.unpack_from(message)
        for _ in range(LOOKS):
            for data in await self.take():
                type_, _, of, with_, _ = wire.head(data, "an indirect message")
                if not type_ & wire.RESPONSE and not (number == wire.EVENT_POLL.id and of == 0):
                    self._events.append(data)
                elif (of, with_) == (device, token) or number == wire.EVENT_POLL.id:
                    return data
            await self._look()
        raise LinuxError(wire.ETIMEDOUT, f"no response to message {number:#x}")

    async def event(self, message: bytes) -> None:
        """Send it, when the receiver has read what is in its RX."""
        for _ in range(LOOKS):
            self._events.extend(await self.take())
            try:
                await self._ffa.send2(self._peer, message, uuid=self._uuid)
            except FfaError as error:
                if error.status not in (Status.BUSY, Status.DENIED):
                    raise LinuxError(wire.EIO, str(error)) from error
                await self._look()
            else:
                return
        raise LinuxError(wire.ETIMEDOUT, "the peer does not read its messages")

    async def take(self) -> list[bytes]:
        """The message of the peer that is in RX, if there is one."""
        return [data for sender, data in await receive(self._ffa) if sender == self._peer]

    def arrived(self) -> list[bytes]:
        """What has come in the place of responses."""
        events, self._events = list(self._events), deque()
        return events


async def receive(ffa: Ffa) -> list[tuple[int, bytes]]:
    """(sender, message) of what is in RX, if anything is."""
    _, _, framework = await ffa.notification_get(ALL, ffa.vcpu.index)
    if not framework & RX_FULL:
        return []
    message = await ffa.receive()
    return [(message.sender, message.payload)]
