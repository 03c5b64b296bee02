"""The partitions that the benchmarks measure, in Python.

A `Client` makes rounds while its `Meter` has any left, and stops the machine then, so that a run of
the machine is a run of the benchmark.
"""

from __future__ import annotations

from collections.abc import Generator
from time import process_time
from types import coroutine
from typing import TYPE_CHECKING, ClassVar

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa import notifications
from ffabric.abi.words import MASK32, PAGE, pack_ids
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition

if TYPE_CHECKING:
    from ffabric.system.system import System

CHUNK = 64
"""Rounds that a client takes from its meter at a time."""
BATCH = 13
"""Regions that a lender has under way at a time: handles that fit a message, after their count."""


class Meter:
    """How many rounds are left to all clients of a system together."""

    def __init__(self) -> None:
        self.system: System | None = None
        self._left = 0

    def take(self) -> int:
        """The next few rounds for a client; 0: there are none, and the machine stops."""
        taken = min(self._left, CHUNK)
        self._left -= taken
        if not taken:
            assert self.system is not None
            self.system.machine.stop()
        return taken

    def run(self, count: int) -> float:
        """Let the system make `count` rounds: the seconds it took."""
        assert self.system is not None
        self._left = count
        start = process_time()
        self.system.run()
        return process_time() - start


class Client(Partition):
    """Software that makes rounds. An SP makes them once it is given cycles."""

    def __init__(self, meter: Meter, name: str = "client") -> None:
        super().__init__(name)
        self.meter = meter

    async def main(self, ffa: Ffa) -> None:
        """Prepare, then make rounds whenever there are some."""
        if ffa.vcpu.secure:
            await ffa.msg_wait()
        await self.prepare(ffa)
        while True:
            while count := self.meter.take():
                await self.rounds(ffa, count)
            await ffa.id_get()

    async def prepare(self, ffa: Ffa) -> None:
        """What is not measured."""

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """Make `count` rounds."""
        raise NotImplementedError


class Starter(Partition):
    """A VM that gives its cycles to an SP."""

    name = "starter"

    def __init__(self, sp: str) -> None:
        super().__init__()
        self.sp = sp

    async def main(self, ffa: Ffa) -> None:
        """Never come back."""
        await ffa.run(self.sp)


class NullCaller(Client):
    """FFA_ID_GET: the shortest way to a partition manager and back."""

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many calls."""
        for _ in range(count):
            await ffa.id_get()


class Echo(Partition):
    """An SP that answers a direct request with its payload."""

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """The payload of the request, as the response."""
        return request.respond(*request.payload)


class Requester(Client):
    """Direct requests with two words of payload."""

    def __init__(self, meter: Meter, to: str, name: str = "client") -> None:
        super().__init__(meter, name)
        self.to = to
        self.receiver = 0

    async def prepare(self, ffa: Ffa) -> None:
        """Look the receiver up."""
        self.receiver = ffa.resolve(self.to)

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many round trips."""
        for number in range(count):
            await ffa.direct_request(self.receiver, number, 2)


class Bell(Partition):
    """An SP that notifies whoever asks it to, and handles the notifications that it gets.

    The payload of a request is the endpoint id of a VM whose notifications it binds, or 0.
    """

    manifest: ClassVar[dict[str, object]] = {"notification_support": True}

    def __init__(self) -> None:
        super().__init__()
        self.handled = 0

    async def on_boot(self, ffa: Ffa) -> None:
        """Be interrupted when there is a notification."""
        await self.enable_notifications(ffa)

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Bind, or ring."""
        bound, *_ = request.payload
        if bound:
            await ffa.notification_bind(bound, 1)
        else:
            await ffa.notification_set(request.sender, 1, notifications.DELAY_SCHEDULE_RECEIVER)
        return request.respond()

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """Count."""
        self.handled += 1


class Ringer(Client):
    """A VM that has a `Bell` handle a notification, or is notified by it (``rung``)."""

    manifest: ClassVar[dict[str, object]] = {"notification_support": True}

    def __init__(self, meter: Meter, bell: Bell, *, rung: bool) -> None:
        super().__init__(meter)
        self.bell = bell
        self.rung = rung
        self.handled = 0

    async def prepare(self, ffa: Ffa) -> None:
        """Bind."""
        if self.rung:
            await ffa.notification_bind(self.bell, 1)
            await self.enable_notifications(ffa)
        else:
            await ffa.direct_request(self.bell, ffa.endpoint)

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many notifications, each handled before the next one is set."""
        before = self.handled + self.bell.handled
        for _ in range(count):
            if self.rung:
                await ffa.direct_request(self.bell, 0)
            else:
                await ffa.notification_set(self.bell, 1)
        if self.handled + self.bell.handled != before + count:
            raise RuntimeError("notifications were lost")

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """Count."""
        self.handled += 1


class Borrower(Partition):
    """An SP that retrieves and relinquishes the regions whose handles it is sent, all at once."""

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Have them for a moment. The payload is their count, then the handles."""
        count, *handles = request.payload
        for handle in handles[:count]:
            await ffa.retrieve(handle, request.sender)
        for handle in handles[:count]:
            await ffa.relinquish(handle)
        return request.respond()


class Lender(Client):
    """Memory cycles: share, tell the borrower (who retrieves and relinquishes), reclaim.

    `batch` regions of `pages` are under way at a time, so that so many cycles share a message.
    `apart`: each page is an address range of its own. `held` regions more are shared all the time.
    """

    def __init__(
        self, meter: Meter, pages: int, *, batch: int = 1, apart: bool = False, held: int = 0
    ) -> None:
        super().__init__(meter)
        self.held = held
        self.pages = pages
        self.batch = batch
        self.apart = apart
        self.regions: list[list[tuple[int, int]]] = []
        self.borrower = 0

    async def prepare(self, ffa: Ffa) -> None:
        """Find the pages."""
        self.borrower = ffa.resolve("borrower")
        for _ in range(self.batch):
            ipa = ffa.ram.allocate(self.pages)
            ranges = [(ipa, self.pages)]
            if self.apart:
                ranges = [(ipa + page * PAGE, 1) for page in range(self.pages)][::-1]
            self.regions.append(ranges)
        for _ in range(self.held):
            await ffa.share(self.borrower, ipa=ffa.ram.allocate())

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many cycles."""
        for done in range(0, count, self.batch):
            await self.cycles(ffa, min(self.batch, count - done))

    async def cycles(self, ffa: Ffa, count: int) -> None:
        """So many at a time."""
        handles = [await ffa.share(self.borrower, ranges=each) for each in self.regions[:count]]
        await ffa.direct_request2(self.borrower, count, *handles)
        for handle in handles:
            await ffa.reclaim(handle)


# The same cycles without the library: descriptors that were built before, registers that are set,
# as software in C or assembler would make the calls.


class ReadyBorrower(Partition):
    """As `Borrower`."""

    def __init__(self) -> None:
        super().__init__("borrower")

    async def main(self, ffa: Ffa) -> None:
        """Serve for ever."""
        await ffa.map_buffers()
        await _serve_cycles(ffa)


@coroutine
def _serve_cycles(ffa: Ffa) -> Generator[int, None, None]:
    x, conduit, tx, write = ffa.x, ffa.conduit, ffa.tx, ffa.memory.write
    descriptors: dict[int, tuple[bytes, bytes]] = {}
    x[:] = (fid.FFA_MSG_WAIT, *[0] * 17)
    while True:
        yield conduit
        sender = x[1] >> 16
        handles = x[5 : 5 + x[4]]
        for handle in handles:
            if handle not in descriptors:
                descriptors[handle] = _borrowers_descriptors(ffa, handle, sender)
            request, _ = descriptors[handle]
            write(tx, request)
            x[0:8] = (fid.FFA_MEM_RETRIEVE_REQ_64, len(request), len(request), 0, 0, 0, 0, 0)
            yield conduit
            x[0:8] = (fid.FFA_RX_RELEASE, 0, 0, 0, 0, 0, 0, 0)
            yield conduit
        for handle in handles:
            write(tx, descriptors[handle][1])
            x[0:8] = (fid.FFA_MEM_RELINQUISH, 0, 0, 0, 0, 0, 0, 0)
            yield conduit
        x[0:2] = (fid.FFA_MSG_SEND_DIRECT_RESP2, pack_ids(ffa.endpoint, sender))
        x[2:8] = (0, 0, 0, 0, 0, 0)


def _borrowers_descriptors(ffa: Ffa, handle: int, sender: int) -> tuple[bytes, bytes]:
    """What retrieves a region, and what relinquishes it."""
    receivers = [abi.Receiver(ffa.endpoint, mem.PERM_DATA_RW)]
    request = abi.Transaction(sender=sender, handle=handle, receivers=receivers)
    relinquish = abi.Relinquish(handle, 0, [ffa.endpoint])
    return abi.build_transaction(request, ffa.version), abi.build_relinquish(relinquish)


class ReadyLender(Lender):
    """As `Lender`."""

    async def prepare(self, ffa: Ffa) -> None:
        """Build the descriptors."""
        await super().prepare(ffa)
        await ffa.map_buffers()
        self.descriptors = [
            abi.build_transaction(
                abi.Transaction(
                    sender=ffa.endpoint,
                    attributes=mem.MEM_ATTR_NORMAL_WB_INNER,
                    receivers=[abi.Receiver(self.borrower, mem.PERM_DATA_RW)],
                    constituents=ranges,
                ),
                ffa.version,
            )
            for ranges in self.regions
        ]

    async def cycles(self, ffa: Ffa, count: int) -> None:
        """So many at a time."""
        await _lend_cycles(ffa, self.borrower, self.descriptors[:count])


@coroutine
def _lend_cycles(ffa: Ffa, borrower: int, descriptors: list[bytes]) -> Generator[int, None, None]:
    x, conduit, tx, write = ffa.x, ffa.conduit, ffa.tx, ffa.memory.write
    handles = []
    for data in descriptors:
        write(tx, data)
        x[0:8] = (fid.FFA_MEM_SHARE_64, len(data), len(data), 0, 0, 0, 0, 0)
        yield conduit
        handles.append((x[2] & MASK32, x[3] & MASK32))
    request = [fid.FFA_MSG_SEND_DIRECT_REQ2, pack_ids(ffa.endpoint, borrower), 0, 0, len(handles)]
    request += [high << 32 | low for low, high in handles]
    x[0 : len(request)] = request
    yield conduit
    for low, high in handles:
        x[0:8] = (fid.FFA_MEM_RECLAIM, low, high, 0, 0, 0, 0, 0)
        yield conduit
