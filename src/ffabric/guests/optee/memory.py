"""Memory of the normal world that OP-TEE may use, by cookie.

Sharing takes two steps. The normal world shares memory with FFA_MEM_SHARE and gets a handle, which
OP-TEE calls a *cookie*; OP-TEE retrieves the memory when a call first names the cookie. The end
takes two steps as well: UNREGISTER_SHM lets OP-TEE relinquish the memory, then its owner reclaims
it. A region is *active* while calls use it, and cannot be unregistered then; it also has an offset
then, where the buffer begins in its first page, on which all of these calls agree.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.memory_words import FLAG_TYPE_SHARE, MEM_ATTR_NORMAL_WB_INNER
from ffabric.abi.ffa.status import Status
from ffabric.abi.optee.message import NO_HANDLE, Fmem, Param
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.optee.console import log
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from ffabric.guests.optee.heap import Heap
    from ffabric.guests.optee.place import Place
    from ffabric.machine.access import GuestAccess

MAX_REGIONS = 1024
"""Regions that a bank keeps at most, however small they are."""
_REGION, _RANGE = 64, 16


class Region:
    """Retrieved memory: ranges of (IPA, bytes), one buffer to those who use it."""

    def __init__(self, cookie: int, ranges: list[tuple[int, int]]) -> None:
        self.cookie = cookie
        self.ranges = ranges
        self.offset = 0
        """Where the buffer begins in the first page, while the region is active."""
        self.references = 0
        """How many calls use it."""
        self._bytes = sum(size for _, size in ranges)

    @property
    def cost(self) -> int:
        """The bytes of OP-TEE's memory that it takes to know of it."""
        return _REGION + _RANGE * len(self.ranges)

    @property
    def size(self) -> int:
        """The bytes of the buffer."""
        return self._bytes - self.offset

    def read(self, memory: GuestAccess, at: int, count: int) -> bytes:
        """`count` bytes from `at`, each read once; they must be inside."""
        if len(self.ranges) == 1 and at + count <= self.size:
            return memory.read(self.ranges[0][0] + self.offset + at, count)
        return b"".join([memory.read(ipa, n) for ipa, n in self._pieces(at, count)])

    def write(self, memory: GuestAccess, at: int, data: bytes) -> None:
        """Store `data` at `at`; it must fit."""
        if len(self.ranges) == 1 and at + len(data) <= self.size:
            memory.write(self.ranges[0][0] + self.offset + at, data)
            return
        done = 0
        for ipa, n in self._pieces(at, len(data)):
            memory.write(ipa, data[done : done + n])
            done += n

    def _pieces(self, at: int, count: int) -> Iterator[tuple[int, int]]:
        at += self.offset
        for ipa, size in self.ranges:
            if at < size and count:
                n = min(count, size - at)
                yield ipa + at, n
                at += n
                count -= n
            at -= size
        if count:
            raise ValueError(f"{count} bytes lie outside of {self._bytes}")


class SpinLock:
    """A lock among the vCPUs of OP-TEE, held over FF-A calls but never while a thread is suspended.

    Who waits makes calls that change nothing: other PEs have their turn at each.
    """

    def __init__(self) -> None:
        self._taken = False

    @asynccontextmanager
    async def by(self, ffa: Ffa) -> AsyncIterator[None]:
        """Hold the lock on the vCPU of `ffa`."""
        while self._taken:
            await ffa.id_get()
        self._taken = True
        try:
            yield
        finally:
            self._taken = False


class Memory(Protocol):
    """What a bank knows of the normal world's memory."""

    regions: dict[int, Region]
    """What is known by a name, a cookie or a reference."""

    async def buffer(self, place: Place, client: int, param: Param) -> Region | None:
        """The memory that a parameter is in, for one more user; None if it refers to none.

        Raises TeeError: BAD_PARAMETERS if there is no such memory, SECURITY if the parameter is
        not inside of it, OUT_OF_MEMORY.
        """

    def put(self, region: Region) -> None:
        """End a use."""

    async def forget(self, place: Place) -> None:
        """Give everything back, whoever was using it."""


class SharedMemory:
    """The regions of a bank, by cookie. `mailbox` guards the RX/TX buffers of the partition."""

    def __init__(self, mailbox: SpinLock, heap: Heap) -> None:
        self.regions: dict[int, Region] = {}
        self._mailbox = mailbox
        self._heap = heap

    async def buffer(self, place: Place, client: int, param: Param) -> Region | None:
        """See `Memory.buffer`; parameters are FMEMs."""
        match param:
            case Fmem(_, _, _, 0, handle) if handle == NO_HANDLE:
                return None
            case Fmem(_, offset, internal, size, handle):
                region = await self.get(place, handle, client, internal)
                if region is not None:
                    if offset + size <= region.size:
                        return region
                    self.put(region)
                    raise TeeError(Result.SECURITY, Origin.TEE)
        raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)

    async def get(self, place: Place, cookie: int, sender: int, offset: int = 0) -> Region | None:
        """The region for one more user, retrieved from `sender` if this is its first use.

        None if there is no such memory, or if it is active with another offset.
        """
        if offset >= PAGE:
            return None
        region = self.regions.get(cookie)
        if region is None:
            ffa = _ffa(place)
            async with self._mailbox.by(ffa):
                region = self.regions.get(cookie) or await self._retrieve(ffa, cookie, sender)
        if region is None or (region.references and region.offset != offset):
            return None
        region.offset = offset
        region.references += 1
        return region

    async def _retrieve(self, ffa: Ffa, cookie: int, sender: int) -> Region | None:
        if len(self.regions) >= MAX_REGIONS:
            return None
        try:
            got = await ffa.retrieve(
                cookie, sender, attributes=MEM_ATTR_NORMAL_WB_INNER, flags=FLAG_TYPE_SHARE
            )
        except (FfaError, DecodeError):
            return None
        region = Region(cookie, [(ipa, pages * PAGE) for ipa, pages in got.ranges])
        try:
            self._heap.take(region.cost)
        except TeeError:
            await self._relinquish(ffa, cookie)
            return None
        self.regions[cookie] = region
        return region

    def put(self, region: Region) -> None:
        """End a use."""
        region.references -= 1

    async def unregister(self, place: Place, cookie: int) -> Status:
        """Relinquish a region: SUCCESS also if it was never retrieved, BUSY if it is active."""
        ffa = _ffa(place)
        async with self._mailbox.by(ffa):
            region = self.regions.get(cookie)
            if region is None:
                return Status.SUCCESS
            if region.references:
                return Status.BUSY
            del self.regions[cookie]
            self._heap.give(region.cost)
            await self._relinquish(ffa, cookie)
            return Status.SUCCESS

    async def forget(self, place: Place) -> None:
        """Relinquish everything, whoever was using it."""
        ffa = _ffa(place)
        async with self._mailbox.by(ffa):
            while self.regions:
                cookie, region = self.regions.popitem()
                self._heap.give(region.cost)
                await self._relinquish(ffa, cookie)

    async def _relinquish(self, ffa: Ffa, cookie: int) -> None:
        try:
            await ffa.relinquish(cookie)
        except FfaError as error:
            await log(ffa, f"cookie {cookie:#x} not relinquished: {error.answer}")


def _ffa(place: Place) -> Ffa:
    """The calls of the partition that OP-TEE is."""
    assert isinstance(place, Ffa)
    return place
