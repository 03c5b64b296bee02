"""What OP-TEE keeps for one VM: threads, sessions, memory, notifications.

OP-TEE divides itself into a *nexus*, which is there once, and a *TEE bank* for each VM. A bank
knows nothing of the others; when its VM is gone, all that there is to do is to forget it, and to
give back the memory that the VM had shared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.memory import SharedMemory, SpinLock
from ffabric.guests.optee.notifications import Notifier
from ffabric.guests.optee.services import Services
from ffabric.guests.optee.sessions import Sessions
from ffabric.guests.optee.threads import Thread, Threads, go_on

if TYPE_CHECKING:
    from ffabric.guests.ffa import Ffa
    from ffabric.guests.optee.ta import TrustedApp


class Bank:
    """The bank of a VM, or of the whole normal world if OP-TEE is not virtualized."""

    def __init__(
        self,
        tas: Mapping[UUID, Callable[[], TrustedApp]],
        drivers: list[Callable[[Thread], Awaitable[None]]],
        threads: int,
        mailbox: SpinLock,
        services: Services,
    ) -> None:
        self.memory: SharedMemory = SharedMemory(mailbox)
        self.threads: Threads = Threads(threads, self.memory)
        self.sessions: Sessions = Sessions(tas, services)
        self.notifier: Notifier = Notifier(drivers)
        self.doomed: bool = False
        """Its VM is gone; whoever leaves it last forgets it."""

    async def resume(self, ffa: Ffa, number: int) -> list[int]:
        """A yielding call that goes on: w3 to w7 of the response."""
        thread = self.threads.suspended(number)
        if thread is None:
            return [Result.BAD_PARAMETERS, 0, 0, 0, 0]
        return await self.run(thread, ffa)

    async def run(self, thread: Thread, ffa: Ffa) -> list[int]:
        """Let a thread go on until it leaves the secure world: w3 to w7 of the response."""
        answer = await go_on(thread, ffa)
        if self.doomed:
            await self.forget(ffa)
        return answer

    async def forget(self, ffa: Ffa) -> None:
        """End everything, unless a thread is still on a vCPU: then that vCPU will."""
        self.doomed = True
        if self.threads.active:
            return
        for thread in self.threads.all:
            thread.close()
        await self.memory.forget(ffa)
