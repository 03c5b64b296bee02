"""The socket at which peers arrive, as a partition has it: one peer at a time."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from ffabric.guests.virtio_msg.outside.peer import Hello, Owner, Peer
from ffabric.machine.host.message_socket import Listener, MessageSocket

if TYPE_CHECKING:
    from ffabric.machine.host.outside import Outside

PATIENCE: Final = 30.0
"""Seconds that the start of a partition waits for its peer."""
ANSWERED: Final = 10.0
"""Seconds within which a peer answers: one that does not is lost."""
LOOK_EVERY: Final = 0.1
"""Seconds between two looks at whether it is in time."""


class Keeper(Owner, Protocol):
    """Whose door it is."""

    @property
    def has_news(self) -> bool:
        """Whether the partition has something to do."""

    def expect(self) -> None:
        """What the peer has said is no news: say anew whether it is to be waited for."""


class Door:
    """A socket, by its `address` or as it listens, and the peer that has come; others wait.

    What a peer says is taken in as it comes; the partition is rung for what it has to do itself.
    """

    def __init__(
        self, address: str | Listener, keeper: Keeper, mine: Hello, patience: float = ANSWERED
    ) -> None:
        self.patience = patience
        self.listener: Listener = Listener(address) if isinstance(address, str) else address
        self.peer: Peer | None = None
        self._mine = mine
        self._keeper = keeper
        self._outside: Outside | None = None
        self._ring: Callable[[], object] | None = None
        self._watched = -1
        self._stay = False
        self._next_look = 0.0

    @property
    def address(self) -> str:
        """Where peers connect."""
        return self.listener.address

    def open(self, outside: Outside, ring: Callable[[], object], *, stay: bool) -> None:
        """From now on call ``ring`` when there is something to do.

        `stay`: a machine that has nothing else to do waits for a peer.
        """
        if self._outside is None:
            self._outside, self._ring, self._stay = outside, ring, stay
            self._watch_listener()
            outside.join(self)

    def look(self) -> bool:
        """A turn of the machine: now and then, see whether the peer is in time."""
        now = monotonic()
        if now < self._next_look or self.peer is None or self._ring is None:
            return False
        self._next_look = now + LOOK_EVERY
        if not self.peer.lost:
            self.peer.judge(self.patience)
            if self.peer.lost:
                self._ring()
                return True
        return False

    def attend(self, *, awake: bool) -> None:
        """It is seen by its descriptors."""

    def accept(self, seconds: float = 0) -> Peer | None:
        """Who has connected within so many seconds, unless somebody is there."""
        if self.peer is not None:
            return None
        connection = self.listener.accept(seconds)
        if connection is None:
            return None
        stream = MessageSocket(connection)
        self.peer = Peer(stream, self.address, self._keeper, self._mine)
        if self._outside is not None:
            self._outside.unwatch(self.listener.fileno())
            self._watched = stream.fileno()
            self._outside.watch(self._watched, self._heard)
        return self.peer

    def expect(self, *, something: bool) -> None:
        """Whether a machine that has nothing else to do is to wait for the peer."""
        if self._outside is not None and self._watched >= 0:
            expect = something or self._stay
            (self._outside.expect_work if expect else self._outside.expect_none)(self._watched)

    def leave(self) -> None:
        """The peer is gone; the next may come."""
        if self._outside is not None and self._watched >= 0:
            self._outside.unwatch(self._watched)
        self._watched = -1
        if self.peer is not None:
            self.peer.close()
            self._watch_listener()
        self.peer = None

    def close(self) -> None:
        """Nobody may come any more."""
        self.leave()
        if self._outside is not None:
            self._outside.unwatch(self.listener.fileno())
            self._outside.part(self)
        self.listener.close()

    def _watch_listener(self) -> None:
        if self._outside is not None:
            self._outside.watch(self.listener.fileno(), self._connected)
            if not self._stay:
                self._outside.expect_none(self.listener.fileno())

    def _connected(self) -> None:
        """Somebody is at the door."""
        if self.peer is None and self._ring is not None:
            self._ring()

    def _heard(self) -> None:
        if self.peer is None or self._outside is None or self._ring is None:
            return
        if not self.peer.look():
            self._outside.unwatch(self._watched)
            self._watched = -1
        if self.peer.lost or self._keeper.has_news:
            self._ring()
        else:
            self._keeper.expect()
