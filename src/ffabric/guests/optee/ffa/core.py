"""The OP-TEE core as a secure partition: its services, in direct messages of its FF-A ABI.

    ffabric.boot(sps=[OpTee(Counter)], vms=["client"])

It is what OP-TEE 4.10 is under an SPMC at S-EL2, as seen from the normal world. The hypervisor
tells of VMs with the framework messages VM_CREATED and VM_DESTROYED; see `nexus`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final, NamedTuple
from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import rpc
from ffabric.abi.optee.tee import Result
from ffabric.abi.words import MASK32
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.optee.bank import Bank
from ffabric.guests.optee.ffa.entry import begin, resume
from ffabric.guests.optee.ffa.thread import FfaThread
from ffabric.guests.optee.heap import Heap
from ffabric.guests.optee.memory import SharedMemory, SpinLock
from ffabric.guests.optee.nexus import REVISION, Nexus
from ffabric.guests.optee.notifications import Notifier
from ffabric.guests.optee.smc.core import OpTeeBelowEl3
from ffabric.guests.optee.tas.services import Services
from ffabric.guests.optee.tas.sessions import Sessions
from ffabric.guests.optee.tas.ta import TrustedApp
from ffabric.guests.optee.threads import Threads
from ffabric.guests.partition import Partition


class Call(NamedTuple):
    """A direct request: the vCPU that serves it, the sender, and w3 to w7."""

    ffa: Ffa
    client: int
    words: list[int]


class OpTee(Nexus, Partition):
    """An OP-TEE with TAs in Python: `tas` are classes, more than those that a subclass names.

    ``vms``: how many VMs it serves apart from each other, -1 for any number; ``threads``: yielding
    calls of a VM at a time; ``shares``: bytes of its `memory` by VM id, where VMs shall not have
    equal parts; ``seed``: all its randomness; ``accelerator``: where its `crypto_engine` is, a
    device region of its manifest. ValueError if two TAs have one UUID, if there are no
    threads, or if the shares are more than there is.
    """

    name = "optee"
    uuid: str | UUID | None = abi.OPTEE_UUID
    manifest: ClassVar[dict[str, object]] = {
        "messaging_method": 0x3,
        "notification_support": True,
        "ns_interrupts_action": 0,
        "vm_availability_messages": 0b11,
    }

    def __init__(
        self,
        *tas: type[TrustedApp],
        vms: int | None = None,
        threads: int | None = None,
        shares: Mapping[int, int] | None = None,
        seed: bytes = b"OP-TEE",
        accelerator: int | None = None,
    ) -> None:
        self._mailbox = SpinLock()
        self.notifies: bool = False
        """The SPMC has notifications."""
        Partition.__init__(self)
        Nexus.__init__(
            self, *tas, vms=vms, threads=threads, shares=shares, seed=seed, accelerator=accelerator
        )

    @classmethod
    def below_el3(
        cls,
        *tas: type[TrustedApp],
        vms: int | None = None,
        threads: int | None = None,
        shares: Mapping[int, int] | None = None,
        seed: bytes = b"OP-TEE",
        accelerator: int | None = None,
        notification: int | None = None,
    ) -> OpTeeBelowEl3:
        """This OP-TEE as a trusted OS that is called with OP-TEE's SMC ABI.

        ``notification``: the SPI that it raises for asynchronous notifications, which the system
        has to name, too (``notification_interrupt``); None: there are none.
        """
        core = OpTeeBelowEl3(
            *cls.tas, *tas, vms=cls.vms if vms is None else vms,
            threads=cls.threads if threads is None else threads, shares=shares, seed=seed,
            memory=cls.memory, huk=cls.huk, accelerator=accelerator, notification=notification,
        )  # fmt: skip
        core.name = cls.name
        return core

    def new_bank(self, heap: Heap, services: Services) -> Bank:
        """What is kept for one VM, with a heap of its own, for the FF-A ABI."""
        memory = SharedMemory(self._mailbox, heap)
        threads = Threads([FfaThread(number, memory) for number in range(self._threads)])
        sessions = Sessions(self._tas, services)
        return Bank(heap, memory, threads, sessions, Notifier(self.drivers), services=services)

    async def on_boot(self, ffa: Ffa) -> None:
        """Once: the buffers, and whether there are notifications."""
        if ffa.buffers.pages:
            return
        await ffa.map_buffers()
        try:
            await ffa.features(fid.FFA_NOTIFICATION_SET)
        except FfaError:
            return
        self.notifies = True

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """A service of the FF-A ABI."""
        call = Call(ffa, request.sender, [word & MASK32 for word in request.payload[:5]])
        return request.respond(*await self._serve(call))

    async def _serve(self, call: Call) -> list[int]:
        """w3 and those that follow it of the response."""
        words = call.words
        bank = self.bank_of(call.client)
        if bank is None:
            return [Result.ITEM_NOT_FOUND]
        if words[0] == abi.YIELDING_CALL_RESUME:
            return await resume(bank, call.ffa, words[4])
        if words[0] & abi.YIELDING:
            return await begin(bank, call.ffa, call.client, words)
        serve = _BLOCKING.get(words[0])
        return [Result.BAD_PARAMETERS] if serve is None else await serve(self, bank, call)

    async def on_vm_created(self, vm: int, ffa: Ffa) -> Status:
        """Make a bank for a VM, if it is virtualized; DENIED if there is none left."""
        if not self.virtualized:
            return Status.SUCCESS
        if not vm or vm in self.banks:
            return Status.INVALID_PARAMETERS
        return Status.SUCCESS if self.add_bank(vm) else Status.DENIED

    async def on_vm_destroyed(self, vm: int, ffa: Ffa) -> Status:
        """Forget the bank of a VM, and relinquish what it shared."""
        bank = self.banks.pop(vm, None) if self.virtualized else None
        if bank is not None:
            await bank.forget(ffa)
        return Status.SUCCESS

    async def notify(self, ffa: Ffa, vm: int, value: int | None = None) -> None:
        """Have the driver of `vm` do a bottom half; whoever waits for `value` (1 to 63) goes on."""
        bank = self.bank_of(vm)
        if bank is not None:
            await bank.notifier.signal(ffa, value)


async def _api_version(core: OpTee, bank: Bank, call: Call) -> list[int]:
    return [abi.VERSION_MAJOR, abi.VERSION_MINOR]


async def _os_version(core: OpTee, bank: Bank, call: Call) -> list[int]:
    return [*REVISION]


async def _capabilities(core: OpTee, bank: Bank, call: Call) -> list[int]:
    capabilities = abi.CAP_ARG_OFFSET | (abi.CAP_ASYNC_NOTIF if core.notifies else 0)
    return [Result.SUCCESS, rpc.MAX_PARAMS, capabilities]


async def _unregister(core: OpTee, bank: Bank, call: Call) -> list[int]:
    assert isinstance(bank.memory, SharedMemory)
    status = await bank.memory.unregister(call.ffa, call.words[1] | call.words[2] << 32)
    return [status & MASK32]


async def _enable_notifications(core: OpTee, bank: Bank, call: Call) -> list[int]:
    if not core.notifies:
        return [Result.NOT_IMPLEMENTED]
    return [bank.notifier.start(call.client, call.words[1])]


_BLOCKING: Final[dict[int, Callable[[OpTee, Bank, Call], Awaitable[list[int]]]]] = {
    abi.GET_API_VERSION: _api_version,
    abi.GET_OS_VERSION: _os_version,
    abi.EXCHANGE_CAPABILITIES: _capabilities,
    abi.UNREGISTER_SHM: _unregister,
    abi.ENABLE_ASYNC_NOTIF: _enable_notifications,
}
