"""The partitions that the benchmarks measure, in Python.

A `Client` makes rounds while its `Meter` has any left, and stops the machine then, so that a run of
the machine is a run of the benchmark.
"""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from types import coroutine
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.guests.ffa import DirectMessage, Ffa
from ffabric.guests.partition import Partition

if TYPE_CHECKING:
    from ffabric.system.system import System

CHUNK = 64
"""Rounds that a client takes from its meter at a time."""
MASK32 = 0xFFFFFFFF


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
        start = perf_counter()
        self.system.run()
        return perf_counter() - start


class Client(Partition):
    """Software that makes rounds. An SP makes them once it is given cycles."""

    def __init__(self, meter: Meter, name: str = "client") -> None:
        super().__init__(name)
        self.meter = meter

    async def main(self, ffa: Ffa) -> None:
        """Prepare, then make rounds whenever there are some."""
        if ffa.vcpu.ctx.secure:
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
        """The same back."""
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


class Borrower(Partition):
    """An SP that retrieves and relinquishes the memory whose handle it is sent."""

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Have it for a moment."""
        handle = request.payload[0]
        await ffa.retrieve(handle, request.sender)
        await ffa.relinquish(handle)
        return request.respond()


class Lender(Client):
    """Memory cycles: share, tell the borrower (who retrieves and relinquishes), reclaim.

    `apart`: each page is an address range of its own.
    """

    def __init__(self, meter: Meter, pages: int, *, apart: bool = False) -> None:
        super().__init__(meter)
        self.pages = pages
        self.apart = apart
        self.ranges: list[tuple[int, int]] = []
        self.borrower = 0

    async def prepare(self, ffa: Ffa) -> None:
        """Find the pages."""
        self.borrower = ffa.resolve("borrower")
        ipa = ffa.ram.allocate(self.pages)
        self.ranges = [(ipa, self.pages)]
        if self.apart:
            self.ranges = [(ipa + page * abi.PAGE_SIZE, 1) for page in range(self.pages)][::-1]

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many cycles."""
        for _ in range(count):
            handle = await ffa.share(self.borrower, ranges=self.ranges)
            await ffa.direct_request(self.borrower, handle)
            await ffa.reclaim(handle)


# The same cycle without the library: descriptors that were built before, registers that are set,
# as software in C or assembler would make the calls.


class ReadyBorrower(Partition):
    """As `Borrower`; the handle is that of the first cycle, which is used again for each."""

    def __init__(self) -> None:
        super().__init__("borrower")

    async def main(self, ffa: Ffa) -> None:
        """Serve one request with the library, all others without."""
        await ffa.map_buffers()
        x = await ffa.msg_wait()
        await _serve_cycles(ffa, handle=x[3], sender=x[1] >> 16 & 0xFFFF)


@coroutine
def _serve_cycles(ffa: Ffa, *, handle: int, sender: int) -> Generator[int, None, None]:
    x, conduit, tx, write = ffa.x, ffa.conduit, ffa.tx, ffa.memory.write
    receiver = abi.Receiver(ffa.endpoint, abi.PERM_DATA_RW)
    request = abi.build_transaction(
        abi.Transaction(sender=sender, handle=handle, receivers=[receiver]), ffa.version
    )
    relinquish = abi.build_relinquish(abi.Relinquish(handle, 0, [ffa.endpoint]))
    size = len(request)
    ids = ffa.endpoint << 16 | sender
    while True:
        write(tx, request)
        x[0:8] = (fid.FFA_MEM_RETRIEVE_REQ_64, size, size, 0, 0, 0, 0, 0)
        yield conduit
        x[0:8] = (fid.FFA_RX_RELEASE, 0, 0, 0, 0, 0, 0, 0)
        yield conduit
        write(tx, relinquish)
        x[0:8] = (fid.FFA_MEM_RELINQUISH, 0, 0, 0, 0, 0, 0, 0)
        yield conduit
        x[0:8] = (fid.FFA_MSG_SEND_DIRECT_RESP_64, ids, 0, 0, 0, 0, 0, 0)
        yield conduit


class ReadyLender(Lender):
    """As `Lender`, with a descriptor that stays in TX."""

    async def prepare(self, ffa: Ffa) -> None:
        """Build the descriptor."""
        await super().prepare(ffa)
        await ffa.map_buffers()
        share = abi.Transaction(
            sender=ffa.endpoint,
            attributes=abi.MEM_ATTR_NORMAL_WB_INNER,
            receivers=[abi.Receiver(self.borrower, abi.PERM_DATA_RW)],
            constituents=self.ranges,
        )
        data = abi.build_transaction(share, ffa.version)
        ffa.memory.write(ffa.tx, data)
        self.size = len(data)

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many cycles."""
        await _lend_cycles(ffa, self.borrower, self.size, count)


@coroutine
def _lend_cycles(ffa: Ffa, borrower: int, size: int, count: int) -> Generator[int, None, None]:
    x, conduit = ffa.x, ffa.conduit
    ids = ffa.endpoint << 16 | borrower
    for _ in range(count):
        x[0:8] = (fid.FFA_MEM_SHARE_64, size, size, 0, 0, 0, 0, 0)
        yield conduit
        low, high = x[2] & MASK32, x[3] & MASK32
        x[0:8] = (fid.FFA_MSG_SEND_DIRECT_REQ_64, ids, 0, high << 32 | low, 0, 0, 0, 0)
        yield conduit
        x[0:8] = (fid.FFA_MEM_RECLAIM, low, high, 0, 0, 0, 0, 0)
        yield conduit
