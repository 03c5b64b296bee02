"""Memory of the normal world by its physical address, and what of it is registered.

A buffer is named by its address or by a list of its pages (TMEM), or as a part of memory that was
registered under a reference before (RMEM). OP-TEE believes every address that lies in the normal
world's memory: whose it is, is for a hypervisor to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee.message import NONCONTIG, Param, Rmem, Tmem, parse_list_page
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.memory import MAX_REGIONS, Region

if TYPE_CHECKING:
    from ffabric.guests.optee.heap import Heap
    from ffabric.guests.optee.place import Place

MAX_PAGES: Final = 1 << 14
"""Pages of one buffer: 64 MiB."""


class PhysicalMemory:
    """What a bank knows of the normal world's memory, which has the ranges ``normal``."""

    def __init__(self, normal: Sequence[tuple[int, int]], heap: Heap) -> None:
        self.regions: dict[int, Region] = {}
        """Registered memory, by reference."""
        self._normal = normal
        self._heap = heap

    def holds(self, address: int, size: int) -> bool:
        """Whether a range is the normal world's memory."""
        return any(base <= address and address + size <= end for base, end in self._normal)

    def at(self, place: Place, param: Tmem) -> Region | None:
        """The memory of a TMEM; None if it refers to none. Raises TeeError (BAD_PARAMETERS)."""
        if not (param.address or param.size):
            return None
        offset = param.address % PAGE
        count = pages_for(offset + param.size)
        if not 0 < count <= MAX_PAGES:
            raise _bad()
        first = param.address - offset
        if param.attributes & NONCONTIG:
            pages = [page for part in self._listed(place, first, count) for page in part]
        else:
            pages = [*range(first, first + count * PAGE, PAGE)]
        if not all(self.holds(page, PAGE) for page in pages):
            raise _bad()
        region = Region(param.reference, list(_runs(pages)))
        region.offset = offset
        return region

    def _listed(self, place: Place, at: int, count: int) -> Iterator[list[int]]:
        """The pages of a page list, as far as each of its pages goes."""
        while count:
            if not self.holds(at, PAGE):
                raise _bad()
            try:
                entries, at = parse_list_page(place.memory.read(at, PAGE), count)
            except DecodeError:
                raise _bad() from None
            yield entries
            count -= len(entries)

    async def buffer(self, place: Place, client: int, param: Param) -> Region | None:
        """See `Memory.buffer`."""
        if isinstance(param, Tmem):
            region = self.at(place, param)
            if region is not None:
                region.references += 1
            return region
        if not isinstance(param, Rmem):
            raise _bad()
        if not (param.offset or param.size or param.reference):
            return None
        registered = self.regions.get(param.reference)
        if registered is None:
            raise _bad()
        if param.offset + param.size > registered.size:
            raise TeeError(Result.SECURITY, Origin.TEE)
        registered.references += 1
        return registered

    def register(self, place: Place, param: Tmem) -> Result:
        """REGISTER_SHM."""
        try:
            region = self.at(place, param)
            if region is None or param.reference in self.regions:
                return Result.BAD_PARAMETERS
            if len(self.regions) >= MAX_REGIONS:
                return Result.OUT_OF_MEMORY
            self._heap.take(region.cost)
        except TeeError as error:
            return Result(error.result)
        self.regions[param.reference] = region
        return Result.SUCCESS

    def unregister(self, reference: int) -> Result:
        """UNREGISTER_SHM: BUSY while a call uses it."""
        region = self.regions.get(reference)
        if region is None:
            return Result.SUCCESS
        if region.references:
            return Result.BUSY
        del self.regions[reference]
        self._heap.give(region.cost)
        return Result.SUCCESS

    def put(self, region: Region) -> None:
        """See `Memory.put`."""
        region.references -= 1

    async def forget(self, place: Place) -> None:
        """See `Memory.forget`: there is nothing to give back."""
        while self.regions:
            _, region = self.regions.popitem()
            self._heap.give(region.cost)


def _runs(pages: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pages as ranges: address and bytes of each run."""
    start, end = pages[0], pages[0]
    for page in pages:
        if page != end:
            yield start, end - start
            start = page
        end = page + PAGE
    yield start, end - start


def _bad() -> TeeError:
    return TeeError(Result.BAD_PARAMETERS, Origin.TEE)
