"""The OP-TEE core as a trusted OS below EL3.

    ffabric.boot(trusted_os=OpTee.below_el3(Counter, vms=2), vms=["alice", "bob"])

It is what OP-TEE 4.10 is below TF-A's dispatcher, as seen from the normal world: of a kernel, or of
a hypervisor that says in a7 which VM calls, and tells of VMs with VM_CREATED and VM_DESTROYED; see
`nexus`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import message as wire
from ffabric.abi.optee import rpc, smc
from ffabric.abi.optee.message import Command, Rmem, Tmem
from ffabric.abi.optee.smc import Return
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.optee.bank import Bank
from ffabric.guests.optee.memory import Region
from ffabric.guests.optee.messages import Call, Serve, read_call, serve
from ffabric.guests.optee.nexus import REVISION, Nexus
from ffabric.guests.optee.smc.memory import PhysicalMemory
from ffabric.guests.optee.smc.notifier import SmcNotifier
from ffabric.guests.optee.smc.thread import SmcThread
from ffabric.guests.optee.tas.sessions import Sessions
from ffabric.guests.optee.threads import Suspension, Threads, Why
from ffabric.guests.trusted_os import TrustedOs
from ffabric.system.files.dtb import parse_dtb

if TYPE_CHECKING:
    from ffabric.guests.optee.heap import Heap
    from ffabric.guests.optee.tas.services import Services
    from ffabric.guests.optee.tas.ta import TrustedApp
    from ffabric.machine.access import GuestAccess
    from ffabric.system.vcpu import Vcpu

HYPERVISOR: Final = 0
"""a7 of who creates and destroys VMs."""
_CODES: Final = {
    Why.INTERRUPT: smc.Rpc.FOREIGN_INTR,
    Why.MESSAGE: smc.Rpc.CMD,
    Why.ALLOCATE: smc.Rpc.ALLOC,
    Why.FREE: smc.Rpc.FREE,
}
_SIZE_OFFSET: Final = 4
"""Of a devicetree blob's bytes in its header."""


class Place:
    """A vCPU of the trusted OS; see `ffabric.guests.optee.place`."""

    def __init__(self, vcpu: Vcpu, lines: list[str]) -> None:
        self.vcpu = vcpu
        self._lines = lines

    @property
    def memory(self) -> GuestAccess:
        """Physical memory, of both worlds."""
        return self.vcpu.memory

    async def console_log(self, text: str) -> None:
        """Keep text: below EL3 there is no console but a UART of its own."""
        self._lines += text.splitlines()


class OpTeeBelowEl3(Nexus, TrustedOs):
    """An OP-TEE with TAs in Python that is called with OP-TEE's SMC ABI; see `OpTee`.

    ``notification``: the SPI that it raises for asynchronous notifications, which the system has to
    name, too (``notification_interrupt``); None: there are none. `lines` is what it has logged.
    """

    name = "optee"

    def __init__(
        self,
        *tas: type[TrustedApp],
        vms: int | None = None,
        threads: int | None = None,
        shares: Mapping[int, int] | None = None,
        seed: bytes = b"OP-TEE",
        memory: int = Nexus.memory,
        huk: bytes = Nexus.huk,
        accelerator: int | None = None,
        notification: int | None = None,
    ) -> None:
        self.memory = memory
        self.huk = huk
        self._notification = notification
        self._normal: list[tuple[int, int]] = []
        self.lines: list[str] = []
        Nexus.__init__(
            self, *tas, vms=vms, threads=threads, shares=shares, seed=seed, accelerator=accelerator
        )

    def new_bank(self, heap: Heap, services: Services) -> Bank:
        """What is kept for one VM, with a heap of its own, for the SMC ABI."""
        memory = PhysicalMemory(self._normal, heap)
        threads = Threads([SmcThread(number, memory) for number in range(self._threads)])
        notifier = SmcNotifier(self.drivers, self._notification or 0)
        return Bank(
            heap, memory, threads, Sessions(self._tas, services), notifier, services=services
        )

    @property
    def notifies(self) -> bool:
        """Whether there are asynchronous notifications."""
        return self._notification is not None

    async def program(self, vcpu: Vcpu, entry: int, x0: int) -> None:
        """See `TrustedOs.program`: x2 is where the normal world's devicetree is."""
        if not vcpu.index:
            size = int.from_bytes(vcpu.memory.read(vcpu.x[2] + _SIZE_OFFSET, 4))
            for node in parse_dtb(vcpu.memory.read(vcpu.x[2], size)).root.children:
                if node.name.startswith("memory@"):
                    reg = node.props["reg"]
                    base, size = int.from_bytes(reg[:8]), int.from_bytes(reg[8:16])
                    self._normal.append((base, base + size))
        await TrustedOs.program(self, vcpu, entry, x0)

    async def on_call(self, x: list[int], vcpu: Vcpu) -> Sequence[int]:
        """A call of the normal world: a0 to a3."""
        function, client = x[0] & MASK32, x[7] & MASK32
        place = Place(vcpu, self.lines)
        manage = _OF_THE_HYPERVISOR.get(function) if self.virtualized else None
        if manage is not None and client == HYPERVISOR:
            return [await manage(self, place, x[1] & MASK32), 0, 0, 0]
        fixed = _FIXED.get(function)
        if fixed is not None:
            return fixed
        bank = self.bank_of(client)
        if bank is None:
            return [Return.ENOTAVAIL, 0, 0, 0]
        handler = _CALLS.get(function)
        if handler is None:
            return [Return.UNKNOWN_FUNCTION, 0, 0, 0]
        return await handler(self, bank, place, x)

    async def notify(self, vcpu: Vcpu, vm: int, value: int | None = None) -> None:
        """Notify a VM of a value (0 to 63), or that its driver is to do a bottom half."""
        bank = self.bank_of(vm)
        if bank is not None:
            await bank.notifier.signal(Place(vcpu, self.lines), value)

    async def _vm_created(self, place: Place, vm: int) -> Return:
        fits = vm != HYPERVISOR and vm not in self.banks and self.add_bank(vm)
        return Return.OK if fits else Return.ENOTAVAIL

    async def _vm_destroyed(self, place: Place, vm: int) -> Return:
        bank = self.banks.pop(vm, None)
        if bank is None:
            return Return.ENOTAVAIL
        await bank.forget(place)
        return Return.OK


_OF_THE_HYPERVISOR: Final[dict[int, Callable[[OpTeeBelowEl3, Place, int], Awaitable[Return]]]] = {
    smc.VM_CREATED: OpTeeBelowEl3._vm_created,
    smc.VM_DESTROYED: OpTeeBelowEl3._vm_destroyed,
}


def _uuid_words() -> list[int]:
    octets = abi.OPTEE_UUID.bytes
    return [int.from_bytes(octets[at : at + 4], "big") for at in range(0, 16, 4)]


_FIXED: Final[dict[int, Sequence[int]]] = {
    smc.CALLS_UID: smc.MESSAGE_UID,
    smc.CALLS_REVISION: (*smc.MESSAGE_REVISION, 0, 0),
    smc.GET_OS_UUID: _uuid_words(),
    smc.GET_OS_REVISION: (*REVISION, 0, 0),
    smc.GET_SHM_CONFIG: (Return.ENOTAVAIL, 0, 0, 0),
    smc.ENABLE_SHM_CACHE: (Return.OK, 0, 0, 0),
    smc.DISABLE_SHM_CACHE: (Return.ENOTAVAIL, 0, 0, 0),
}


async def _capabilities(core: OpTeeBelowEl3, bank: Bank, place: Place, x: list[int]) -> list[int]:
    capabilities = smc.Capabilities.build(
        DYNAMIC_SHM=1,
        MEMREF_NULL=1,
        ASYNC_NOTIF=int(core.notifies),
        VIRTUALIZATION=int(core.virtualized),
    )
    return [Return.OK, int(capabilities), rpc.ASYNC_VALUE_MAX, rpc.MAX_PARAMS]


async def _thread_count(core: OpTeeBelowEl3, bank: Bank, place: Place, x: list[int]) -> list[int]:
    return [Return.OK, len(bank.threads.all), 0, 0]


async def _enable(core: OpTeeBelowEl3, bank: Bank, place: Place, x: list[int]) -> list[int]:
    if not core.notifies:
        return [Return.UNKNOWN_FUNCTION, 0, 0, 0]
    assert isinstance(bank.notifier, SmcNotifier)
    bank.notifier.enable()
    return [Return.OK, 0, 0, 0]


async def _value(core: OpTeeBelowEl3, bank: Bank, place: Place, x: list[int]) -> list[int]:
    if not core.notifies:
        return [Return.UNKNOWN_FUNCTION, 0, 0, 0]
    assert isinstance(bank.notifier, SmcNotifier)
    return [Return.OK, *bank.notifier.fetch(), 0]


async def _call(core: OpTeeBelowEl3, bank: Bank, place: Place, x: list[int]) -> list[int]:
    """CALL_WITH_ARG."""
    thread = bank.threads.take()
    if thread is None:
        return [Return.ETHREAD_LIMIT, 0, 0, 0]
    assert isinstance(thread, SmcThread)
    thread.client = x[7] & MASK32
    thread.program = _serve(bank, thread, (x[1] & MASK32) << 32 | x[2] & MASK32)
    return await _run(bank, thread, place)


async def _resume(core: OpTeeBelowEl3, bank: Bank, place: Place, x: list[int]) -> list[int]:
    """RETURN_FROM_RPC."""
    thread = bank.threads.suspended(x[3] & MASK32)
    if thread is None:
        return [Return.ERESUME, 0, 0, 0]
    assert isinstance(thread, SmcThread)
    thread.answer = x[1:6]
    return await _run(bank, thread, place)


async def _run(bank: Bank, thread: SmcThread, place: Place) -> list[int]:
    left = await bank.run(thread, place)
    if not isinstance(left, Suspension):
        return [left, 0, 0, 0]
    code = _CODES[left.why]
    if left.why is Why.ALLOCATE:
        return [code, left.word, 0, thread.number]
    return [code, left.word >> 32, left.word & MASK32, thread.number]


async def _serve(bank: Bank, thread: SmcThread, address: int) -> int:
    """Serve the message at an address: a0 when it is done."""
    room = PAGE - address % PAGE
    if address % 8 or not thread.memory.holds(address, room):
        return Return.EBADADDR
    call = read_call(thread, Region(0, [(address, room)]), 0, 0)
    if call is None:
        return Return.EBADADDR
    served = await serve(bank, call, _MORE)
    await thread.end()
    return Return.OK if served else Return.EBADCMD


_CALLS: Final[
    dict[int, Callable[[OpTeeBelowEl3, Bank, Place, list[int]], Awaitable[list[int]]]]
] = {
    smc.EXCHANGE_CAPABILITIES: _capabilities,
    smc.GET_THREAD_COUNT: _thread_count,
    smc.ENABLE_ASYNC_NOTIF: _enable,
    smc.GET_ASYNC_NOTIF_VALUE: _value,
    smc.CALL_WITH_ARG: _call,
    smc.RETURN_FROM_RPC: _resume,
}


def _only_param(call: Call) -> wire.Param:
    """The one parameter of a message about registered memory."""
    try:
        if call.header.num_params == 1:
            return wire.parse_param(call.params, 0, registered=True)
    except DecodeError:
        pass
    return wire.Empty()


async def _register(bank: Bank, call: Call) -> None:
    """REGISTER_SHM: a list of pages."""
    assert isinstance(bank.memory, PhysicalMemory)
    param = _only_param(call)
    result = Result.BAD_PARAMETERS
    if isinstance(param, Tmem):
        result = bank.memory.register(call.thread.ffa, param)
    call.done(result, Origin.TEE)


async def _unregister(bank: Bank, call: Call) -> None:
    """UNREGISTER_SHM: a reference."""
    assert isinstance(bank.memory, PhysicalMemory)
    param = _only_param(call)
    result = Result.BAD_PARAMETERS
    if isinstance(param, Rmem):
        result = bank.memory.unregister(param.reference)
    call.done(result, Origin.TEE)


_MORE: Final[dict[int, Serve]] = {
    Command.REGISTER_SHM: _register,
    Command.UNREGISTER_SHM: _unregister,
}
"""Commands that only this ABI has."""
