"""What OP-TEE keeps for one VM: threads, sessions, memory, notifications.

OP-TEE divides itself into a *nexus*, which is there once, and a *TEE bank* for each VM. A bank
knows nothing of the others; when its VM is gone, all that there is to do is to forget it, and to
give back the memory that the VM had shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.guests.optee.threads import Suspension, Thread, Threads, go_on

if TYPE_CHECKING:
    from ffabric.guests.optee.heap import Heap
    from ffabric.guests.optee.memory import Memory
    from ffabric.guests.optee.notifications import Notifier
    from ffabric.guests.optee.place import Place
    from ffabric.guests.optee.tas.services import Services
    from ffabric.guests.optee.tas.sessions import Sessions


class Bank:
    """The bank of a VM, or of the whole normal world if OP-TEE is not virtualized."""

    def __init__(
        self,
        heap: Heap,
        memory: Memory,
        threads: Threads,
        sessions: Sessions,
        notifier: Notifier,
        *,
        services: Services,
    ) -> None:
        self.heap = heap
        self.memory = memory
        self.threads = threads
        self.sessions = sessions
        self.notifier = notifier
        self.services = services
        self.doomed: bool = False
        """Its VM is gone; whoever leaves it last forgets it."""

    async def run(self, thread: Thread, place: Place) -> Suspension | int:
        """Let a thread go on until it leaves the secure world: why, or the result if it is done."""
        answer = await go_on(thread, place)
        if self.doomed:
            await self.forget(place)
        return answer

    async def forget(self, place: Place) -> None:
        """End everything, unless a thread is still on a vCPU: then that vCPU will."""
        self.doomed = True
        if self.threads.active:
            return
        for thread in self.threads.all:
            thread.close()
        self.services.forget(place)
        await self.memory.forget(place)
