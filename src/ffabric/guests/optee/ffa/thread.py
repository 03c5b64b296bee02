"""A thread of OP-TEE under an SPMC: its RPCs lie behind the message of its call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.optee.message import Fmem, Param, Type
from ffabric.guests.optee.threads import Suspension, Thread, Why

if TYPE_CHECKING:
    from ffabric.guests.optee.memory import Region, SharedMemory


class FfaThread(Thread):
    """See `Thread`; ``memory`` is its bank's."""

    def __init__(self, number: int, memory: SharedMemory) -> None:
        super().__init__(number)
        self.memory = memory
        self.rpc_place: tuple[Region, int] | None = None
        """Behind the message of its call."""

    async def room(self) -> tuple[Region, int]:
        """See `Thread.room`."""
        assert self.rpc_place is not None
        return self.rpc_place

    def asks(self) -> Suspension:
        """See `Thread.asks`."""
        return Suspension(Why.MESSAGE)

    async def received(self, given: Param) -> Region | None:
        """See `Thread.received`."""
        if not isinstance(given, Fmem) or given.attributes != Type.FMEM_OUTPUT:
            return None
        return await self.memory.get(self.ffa, given.handle, self.client, given.internal_offset)

    async def returned(self, region: Region) -> None:
        """See `Thread.returned`."""
        self.memory.put(region)
        await self.memory.unregister(self.ffa, region.cookie)

    def part(self, kind: Type, region: Region, size: int) -> Param:
        """See `Thread.part`."""
        return Fmem(kind, 0, region.offset, size, region.cookie)

    def close(self) -> None:
        """See `Thread.close`."""
        self.rpc_place = None
        super().close()
