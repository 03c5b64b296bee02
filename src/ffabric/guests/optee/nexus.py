"""What OP-TEE has once, whatever ABI it is called with: its TAs, and a bank for each VM.

Without `vms` the normal world is one client, as for an OP-TEE built without virtualization. With
so many, each VM has a bank and an equal part of the memory from the moment the hypervisor tells of
it, and nobody else is served: so it is with CFG_VIRT_GUEST_COUNT. With `vms=ANY` there are as many
banks as the memory allows. `shares` gives VMs other parts: bytes by VM id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import ClassVar, Final
from uuid import UUID

from ffabric.abi.ffa.uuids import as_uuid
from ffabric.guests.optee.bank import Bank
from ffabric.guests.optee.heap import Heap
from ffabric.guests.optee.storage.sealing import derived
from ffabric.guests.optee.tas.accelerator import Accelerator
from ffabric.guests.optee.tas.devices import DeviceEnumeration
from ffabric.guests.optee.tas.services import Services
from ffabric.guests.optee.tas.ta import TrustedApp
from ffabric.guests.optee.threads import Thread

REVISION: Final = (4, 10)
"""The OP-TEE whose behaviour this is."""
EVERYBODY: Final = 0
"""The key of the only bank, if OP-TEE is not virtualized."""
ANY: Final = -1
"""`vms`: any number of VMs, as long as there is memory."""
PART: Final = 8 << 20
"""Bytes of a VM that nothing is said of, among any number of VMs."""


class Nexus:
    """The banks, and what they are made with: `tas` are more than those that a subclass names.

    ValueError if two of them have one UUID, if there are no `threads`, or if `shares` are more
    than the `memory`.
    """

    tas: ClassVar[tuple[type[TrustedApp], ...]] = ()
    threads: ClassVar[int] = 4
    """Yielding calls that a bank can have under way."""
    vms: ClassVar[int] = 0
    """How many VMs it serves apart from each other; 0: it is not virtualized; `ANY`."""
    memory: int = 128 << 20
    """Bytes that all VMs together can make it keep."""
    huk: bytes = bytes(32)
    """The hardware unique key, of which all keys are made: who has another reads no old storage."""

    def __init__(
        self,
        *tas: type[TrustedApp],
        vms: int | None = None,
        threads: int | None = None,
        shares: Mapping[int, int] | None = None,
        seed: bytes = b"OP-TEE",
        accelerator: int | None = None,
    ) -> None:
        self._accelerator = None if accelerator is None else Accelerator(accelerator)
        self._seed = seed
        self._capacity = self.vms if vms is None else vms
        self._threads = self.threads if threads is None else threads
        self._shares = dict(shares or {})
        if self._threads < 1:
            raise ValueError(f"{self._threads} threads serve nobody")
        if sum(self._shares.values()) > self.memory:
            raise ValueError(f"VMs have shares of more than {self.memory} bytes")
        self.apps: tuple[type[TrustedApp], ...] = (*self.tas, *tas)
        listed = {_uuid(app): app.enumerated for app in self.apps}
        self._tas: dict[UUID, Callable[[], TrustedApp]] = {
            DeviceEnumeration.uuid: partial(DeviceEnumeration, listed)
        }
        for app in self.apps:
            if self._tas.setdefault(_uuid(app), app) is not app:
                raise ValueError(f"two TAs have the UUID {_uuid(app)}")
        self.drivers: list[Callable[[Thread], Awaitable[None]]] = []
        """Called, in a thread, in each bottom half."""
        self.banks: dict[int, Bank] = {}
        if not self._capacity:
            self.banks[EVERYBODY] = self._make(EVERYBODY, self.memory)

    @property
    def virtualized(self) -> bool:
        """Whether it serves VMs apart from each other."""
        return bool(self._capacity)

    def bank_of(self, vm: int) -> Bank | None:
        """The bank that serves `vm`."""
        return self.banks.get(vm if self._capacity else EVERYBODY)

    def add_bank(self, vm: int) -> bool:
        """Make a bank for a VM, if there is memory for it, and one of the banks is left."""
        if 0 < self._capacity <= len(self.banks):
            return False
        size = self._share_of(vm)
        if not 0 < size <= self.memory - sum(bank.heap.size for bank in self.banks.values()):
            return False
        self.banks[vm] = self._make(vm, size)
        return True

    def _share_of(self, vm: int) -> int:
        """The bytes of a VM: its share, or an equal part of what others have no share of."""
        if vm in self._shares:
            return self._shares[vm]
        left = self.memory - sum(self._shares.values())
        if self._capacity == ANY:
            return min(PART, left)
        return left // max(1, self._capacity - len(self._shares))

    def _make(self, vm: int, size: int) -> Bank:
        """A bank with keys, random numbers and memory of its own."""
        own = vm.to_bytes(2, "little")
        heap = Heap(size)
        huk = derived(self.huk, own) if vm else self.huk
        return self.new_bank(heap, Services(huk, self._seed + own, heap, self._accelerator))

    def new_bank(self, heap: Heap, services: Services) -> Bank:
        """What is kept for one VM, with a heap of its own, for the ABI of its calls."""
        raise NotImplementedError


def _uuid(app: type[TrustedApp]) -> UUID:
    if not (isinstance(app, type) and issubclass(app, TrustedApp)):
        raise TypeError(f"OP-TEE's TAs are classes derived from TrustedApp, not {app!r}")
    uuid = getattr(app, "uuid", None)
    if uuid is None:
        raise TypeError(f"{app.__name__} has no `uuid` for clients to open it by")
    return as_uuid(uuid)
