"""The OP-TEE core as a secure partition: its services, in direct messages of its FF-A ABI.

    ffabric.boot(sps=[OpTee(Counter)], vms=["client"])

It is what OP-TEE 4.10 is under an SPMC at S-EL2, as seen from the normal world. Without `vms` the
normal world is one client, as for an OP-TEE built without virtualization. With it every VM has a
bank of its own from the moment the hypervisor tells of it (FFA framework messages VM_CREATED and
VM_DESTROYED), up to so many, and nobody else is served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
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
from ffabric.guests.optee.devices import DeviceEnumeration
from ffabric.guests.optee.entry import begin
from ffabric.guests.optee.memory import SpinLock
from ffabric.guests.optee.services import Services
from ffabric.guests.optee.storage.sealing import derived
from ffabric.guests.optee.ta import TrustedApp
from ffabric.guests.optee.threads import Thread
from ffabric.guests.partition import Partition

REVISION: Final = (4, 10)
"""The OP-TEE whose behaviour this is."""
EVERYBODY: Final = 0
"""The key of the only bank, if OP-TEE is not virtualized."""


class Call(NamedTuple):
    """A direct request: the vCPU that serves it, the sender, and w3 to w7."""

    ffa: Ffa
    client: int
    words: list[int]


class OpTee(Partition):
    """An OP-TEE with TAs in Python: `tas` are classes, more than those that a subclass names.

    ValueError if two of them have one UUID, or if there are no `threads`.
    """

    name = "optee"
    uuid: str | UUID | None = abi.OPTEE_UUID
    manifest: ClassVar[dict[str, object]] = {
        "messaging_method": 0x3,
        "notification_support": True,
        "ns_interrupts_action": 0,
        "vm_availability_messages": 0b11,
    }
    tas: ClassVar[tuple[type[TrustedApp], ...]] = ()
    threads: ClassVar[int] = 4
    """Yielding calls that a bank can have under way."""
    vms: ClassVar[int] = 0
    """How many VMs it serves apart from each other; 0: it is not virtualized."""

    huk: ClassVar[bytes] = bytes(32)
    """The hardware unique key, of which all keys are made: who has another reads no old storage."""

    def __init__(
        self,
        *tas: type[TrustedApp],
        vms: int | None = None,
        threads: int | None = None,
        seed: bytes = b"OP-TEE",
    ):
        super().__init__()
        self._seed = seed
        self._capacity = self.vms if vms is None else vms
        self._threads = self.threads if threads is None else threads
        if self._threads < 1:
            raise ValueError(f"{self._threads} threads serve nobody")
        apps = (*self.tas, *tas)
        listed = {_uuid(app): app.enumerated for app in apps}
        self._tas: dict[UUID, Callable[[], TrustedApp]] = {
            DeviceEnumeration.uuid: partial(DeviceEnumeration, listed)
        }
        for app in apps:
            if self._tas.setdefault(_uuid(app), app) is not app:
                raise ValueError(f"two TAs have the UUID {_uuid(app)}")
        self.drivers: list[Callable[[Thread], Awaitable[None]]] = []
        """Called, in a thread, in each bottom half."""
        self.banks: dict[int, Bank] = {}
        self._mailbox = SpinLock()
        self.notifies: bool = False
        """The SPMC has notifications."""
        if not self._capacity:
            self.banks[EVERYBODY] = self._new_bank(EVERYBODY)

    def _new_bank(self, vm: int) -> Bank:
        """A bank with keys and random numbers of its own."""
        own = vm.to_bytes(2, "little")
        services = Services(derived(self.huk, own) if vm else self.huk, self._seed + own)
        return Bank(self._tas, self.drivers, self._threads, self._mailbox, services)

    def bank_of(self, vm: int) -> Bank | None:
        """The bank that serves `vm`."""
        return self.banks.get(vm if self._capacity else EVERYBODY)

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
            return await bank.resume(call.ffa, words[4])
        if words[0] & abi.YIELDING:
            return await begin(bank, call.ffa, call.client, words)
        serve = _BLOCKING.get(words[0])
        return [Result.BAD_PARAMETERS] if serve is None else await serve(self, bank, call)

    async def on_vm_created(self, vm: int, ffa: Ffa) -> Status:
        """Make a bank for a VM, if it is virtualized; DENIED if there is none left."""
        if not self._capacity:
            return Status.SUCCESS
        if not vm or vm in self.banks:
            return Status.INVALID_PARAMETERS
        if len(self.banks) >= self._capacity:
            return Status.DENIED
        self.banks[vm] = self._new_bank(vm)
        return Status.SUCCESS

    async def on_vm_destroyed(self, vm: int, ffa: Ffa) -> Status:
        """Forget the bank of a VM, and relinquish what it shared."""
        bank = self.banks.pop(vm, None) if self._capacity else None
        if bank is not None:
            await bank.forget(ffa)
        return Status.SUCCESS

    async def notify(self, ffa: Ffa, vm: int, value: int | None = None) -> None:
        """Have the driver of `vm` do a bottom half; whoever waits for `value` (1 to 63) goes on."""
        bank = self.bank_of(vm)
        if bank is not None:
            await bank.notifier.signal(ffa, value)


def _uuid(app: type[TrustedApp]) -> UUID:
    return app.uuid if isinstance(app.uuid, UUID) else UUID(app.uuid)


async def _api_version(core: OpTee, bank: Bank, call: Call) -> list[int]:
    return [abi.VERSION_MAJOR, abi.VERSION_MINOR]


async def _os_version(core: OpTee, bank: Bank, call: Call) -> list[int]:
    return [*REVISION]


async def _capabilities(core: OpTee, bank: Bank, call: Call) -> list[int]:
    capabilities = abi.CAP_ARG_OFFSET | (abi.CAP_ASYNC_NOTIF if core.notifies else 0)
    return [Result.SUCCESS, rpc.MAX_PARAMS, capabilities]


async def _unregister(core: OpTee, bank: Bank, call: Call) -> list[int]:
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
