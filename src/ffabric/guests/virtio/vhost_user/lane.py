"""A virtqueue of a driver and its shadow, which the back end serves.

A chain of the driver is read once and judged, then put into the shadow: pieces that the back end
reaches as they are, the others as copies in memory that only it and we have. What can be written is
copied there as it was, and back when the back end is done, whatever it says it has written: to the
driver it is as if the back end had written into its buffer.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from msgspec import Struct

from ffabric.abi.virtio import features as bits
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue
from ffabric.guests.virtio.dma import Coherent, QueueError
from ffabric.guests.virtio.driver_queue import Buffer, DriverQueue, queue_size
from ffabric.guests.virtio.vhost_user.reach import Reach, Way
from ffabric.machine.host.vhost_user.front_end import FrontEnd
from ffabric.machine.host.vhost_user.private_memory import PrivateMemory, Room

_ALIGN = 16


class _Loan(Struct):
    """A chain in the shadow, as `buffers` there."""

    chain: Chain
    buffers: list[Buffer] = []
    handed: list[int] = []
    """DMA addresses of pieces in areas that were handed over."""
    copies: list[tuple[int, int, int, bool]] = []
    """DMA address, offset of the copy in all copies, bytes, writable."""
    offset: int = 0
    """Where the copies are."""
    size: int = 0
    """How long they are together."""


class Cheated(Exception):  # noqa: N818 - what happened
    """The back end does what no device does."""


class Lane:
    """Virtqueue ``index``, whose shadow has ``size`` descriptors.

    ``waiting``: its buffers wait for something to happen, so the back end may keep them for ever.
    ``prompt``: it has to finish one of them within its patience.
    """

    def __init__(
        self,
        index: int,
        back_end: FrontEnd,
        memory: PrivateMemory,
        room: Room,
        reach: Reach,
        *,
        size: int,
        waiting: bool,
        prompt: bool,
    ) -> None:
        self.index = index
        self.stopping: bool = False
        self._back_end = back_end
        self._memory = memory
        self._room = room
        self._reach = reach
        self._size = size
        self._waiting = waiting
        self._prompt = prompt
        self._ready = False
        """The back end has said that it serves it."""
        self._told = False
        """The back end was told to stop."""
        self._since = 0.0
        """When the back end was last given something to do, or has done something."""
        self._features = back_end.features & bits.INDIRECT_DESC
        total = queue_size(size, self._features)
        at = room.allocate(total)
        if at is None:
            raise ValueError(f"a virtqueue of {size} descriptors takes {total} bytes")
        self._coherent = Coherent(at, memory.address + at, total)
        self._shadow: DriverQueue[_Loan] | None = None
        self._backlog: deque[_Loan] = deque()

    @property
    def quiet(self) -> bool:
        """Whether the back end does not serve it."""
        return self._shadow is None

    def start(self) -> None:
        """Have the back end serve it, from its beginning. Raises BackEndLost."""
        coherent = self._coherent
        self._memory.write(coherent.ipa, bytes(coherent.size))
        self._shadow = DriverQueue(self._memory, coherent, self._size, self._features)
        self.stopping = self._told = self._ready = False
        _, desc, avail, used = self._shadow.place
        self._back_end.start(
            self.index, self._size, desc=desc, avail=avail, used=used, done=self._started
        )

    def _started(self) -> None:
        self._ready = True

    def stop(self) -> None:
        """Have it back, when nothing is under way any more. What waits is forgotten."""
        self._drop_backlog()
        if self._shadow is not None and not self.stopping:
            self.stopping = True
            self._since = monotonic()
            self.advance()

    def forget(self) -> None:
        """The back end is lost: nothing will come back."""
        self._drop_backlog()
        self._shadow = None
        self.stopping = False

    def process(self, queue: DeviceQueue) -> None:
        """Pass on what the driver has made available. Raises QueueError, BackEndLost."""
        if self._shadow is None or self.stopping:
            return
        for chain in queue.chains():
            pieces = (*chain.readable, *chain.writable)
            used = [address for address, _ in pieces if self._reach.use(address)]
            self._backlog.append(_Loan(chain, handed=used))
        self.pass_on(queue)

    def _drop_backlog(self) -> None:
        while self._backlog:
            self._release(self._backlog.popleft())

    def pass_on(self, queue: DeviceQueue) -> None:
        """Put what waits into the shadow, as far as there is room."""
        shadow = self._shadow
        if shadow is None or self.stopping or not self._ready:
            return
        added = False
        while self._backlog:
            loan = self._backlog[0]
            if not loan.buffers and not self._lend(loan, queue, idle=not shadow.under_way):
                break
            if not shadow.add(loan.buffers, loan):
                break
            self._backlog.popleft()
            added = True
        if added:
            self._since = monotonic()
            if shadow.must_notify():
                self._back_end.kick(self.index)

    def collect(self, queue: DeviceQueue | None) -> bool:
        """Give back to the driver what the back end has done: whether that is anything.

        Raises QueueError if the driver's virtqueue, or Cheated if the shadow is not what it should
        be.
        """
        shadow = self._shadow
        if shadow is None:
            return False
        try:
            done = shadow.collect()
        except QueueError as error:
            raise Cheated(f"virtqueue {self.index}: {error}") from error
        for loan, written in done:
            if queue is not None and not self.stopping:
                self._copy_back(loan, queue)
                queue.push(loan.chain.head, min(written, loan.chain.writable_size))
            self._release(loan)
        if done:
            self._since = monotonic()
        return bool(done)

    def advance(self) -> None:
        """Go on stopping. Raises Cheated if the back end does not finish what it has begun."""
        shadow = self._shadow
        if shadow is None:
            return
        busy = bool(shadow.under_way)
        if self.stopping and not self._told and (self._waiting or not busy):
            self._told = True
            self._back_end.stop(self.index, self._stopped)
        elif (busy and not self._waiting) and (self._prompt or self.stopping):
            patience = self._back_end.channel.patience
            if monotonic() - self._since > patience:
                what = f"virtqueue {self.index}: nothing is finished within {patience:g} s"
                raise Cheated(what)

    def _stopped(self) -> None:
        shadow, self._shadow = self._shadow, None
        self.stopping = False
        if shadow is not None:
            for loan in shadow.tokens:
                self._release(loan)

    def _lend(self, loan: _Loan, queue: DeviceQueue, *, idle: bool) -> bool:
        """Find the chain's `buffers` in the shadow; False if that has to wait."""
        places: list[tuple[int, int, bool, bool]] = []
        loan.copies.clear()
        loan.size = 0
        for pieces, write in ((loan.chain.readable, False), (loan.chain.writable, True)):
            for address, size in pieces:
                way = self._reach.way(address)
                if way is Way.COMING:
                    return False
                if way is Way.HANDED_OVER:
                    places.append((address, size, write, False))
                else:
                    loan.copies.append((address, loan.size, size, write))
                    places.append((loan.size, size, write, True))
                    loan.size += -(-size // _ALIGN) * _ALIGN
        if loan.size and not self._copy(loan, queue, idle=idle):
            return False
        base = self._memory.address + loan.offset
        loan.buffers = [(at + base if copied else at, n, w) for at, n, w, copied in places]
        return True

    def _copy(self, loan: _Loan, queue: DeviceQueue, *, idle: bool) -> bool:
        """Copy what the back end does not reach; False if there is no room for it yet."""
        offset = self._room.allocate(loan.size)
        if offset is None:
            if idle:
                most = self._room.size
                raise QueueError(f"a chain of {loan.size} bytes: at most {most} are copied")
            return False
        loan.offset = offset
        try:
            for address, at, size, _ in loan.copies:
                self._memory.write(offset + at, queue.dma.read(address, size))
        except QueueError:
            self._room.free(offset, loan.size)
            raise
        return True

    def _copy_back(self, loan: _Loan, queue: DeviceQueue) -> None:
        for address, offset, size, write in loan.copies:
            if write:
                queue.dma.write(address, self._memory.read(loan.offset + offset, size))

    def _release(self, loan: _Loan) -> None:
        """It is over: what it used is free."""
        if loan.buffers and loan.size:
            self._room.free(loan.offset, loan.size)
        for address in loan.handed:
            self._reach.release(address)
