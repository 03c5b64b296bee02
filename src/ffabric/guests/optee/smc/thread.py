"""A thread of OP-TEE below EL3: its RPCs are in a page that the normal world gives it for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.optee.message import NONCONTIG, Param, Rmem, Tmem, Type
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.memory import Region
from ffabric.guests.optee.threads import Suspension, Thread, Why, leave

if TYPE_CHECKING:
    from ffabric.guests.optee.smc.memory import PhysicalMemory


class SmcThread(Thread):
    """See `Thread`; ``memory`` is its bank's."""

    registers = True

    def __init__(self, number: int, memory: PhysicalMemory) -> None:
        super().__init__(number)
        self.memory = memory
        self.answer: list[int] = []
        """a1 to a5 of the call that resumed it."""
        self._page: Region | None = None

    async def room(self) -> tuple[Region, int]:
        """See `Thread.room`. Raises TeeError (OUT_OF_MEMORY, COMMS)."""
        if self._page is None:
            await leave(Suspension(Why.ALLOCATE, PAGE))
            high, low, _, *cookie = (word & MASK32 for word in self.answer)
            address = high << 32 | low
            if address % PAGE or not address or not self.memory.holds(address, PAGE):
                raise TeeError(Result.OUT_OF_MEMORY, Origin.COMMS)
            self._page = Region(cookie[0] << 32 | cookie[1], [(address, PAGE)])
        return self._page, 0

    def asks(self) -> Suspension:
        """See `Thread.asks`: the page is named by its cookie."""
        assert self._page is not None
        return Suspension(Why.MESSAGE, self._page.cookie)

    async def received(self, given: Param) -> Region | None:
        """See `Thread.received`."""
        if isinstance(given, Tmem) and given.attributes & ~NONCONTIG == Type.TMEM_OUTPUT:
            try:
                return self.memory.at(self.ffa, given)
            except TeeError:
                return None
        return None

    async def returned(self, region: Region) -> None:
        """See `Thread.returned`: nobody else knows of it."""

    def part(self, kind: Type, region: Region, size: int) -> Param:
        """See `Thread.part`."""
        return Rmem(kind, 0, size, region.cookie)

    async def end(self) -> None:
        """The call is over: the normal world gets the page for messages back."""
        page, self._page = self._page, None
        if page is not None:
            await leave(Suspension(Why.FREE, page.cookie))

    def close(self) -> None:
        """See `Thread.close`."""
        self._page = None
        super().close()
