"""Buffer space of a stream of a socket device, as both of its ends count it (virtio 1.3, 5.10.6.3).

Each end says how much room it has for the other's data and how much of that its program has taken,
modulo 2^32. So each knows how much it may send, and nothing is ever dropped.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ffabric.abi.virtio.vsock import Packet
from ffabric.abi.words import MASK32

BUFFER: Final = 64 << 10
"""Bytes that an end here has room for."""


class Flow(Struct):
    """What one end has sent, received and taken; and what it knows of the other."""

    sent: int = 0
    received: int = 0
    taken: int = 0
    told: int = 0
    """How much was taken when the other end was last told."""
    peer_room: int = 0
    peer_taken: int = 0

    @property
    def may_send(self) -> int:
        """Bytes for which the other end has room."""
        under_way = (self.sent - self.peer_taken) & MASK32
        return max(0, self.peer_room - under_way)

    def hears(self, packet: Packet) -> bool:
        """Note what a packet says, and its data; False if there is more of that than room."""
        self.peer_room, self.peer_taken = packet.buf_alloc, packet.fwd_cnt
        self.received += len(packet.data)
        return self.received - self.taken <= BUFFER

    def tells(self) -> dict[str, int]:
        """The fields of every packet that is sent."""
        self.told = self.taken
        return {"buf_alloc": BUFFER, "fwd_cnt": self.taken & MASK32}

    @property
    def wants_to_tell(self) -> bool:
        """Whether the other end believes that there is less than half of the room."""
        return self.taken != self.told and self.received - self.told > BUFFER // 2
