"""A partition in Python: subclass :class:`Partition` and answer requests.

The base class is the software every partition has: it initialises, waits for messages, and calls
the methods below. A subclass overrides what it cares about.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import ClassVar, NoReturn
from uuid import UUID

from ffabric.abi import psci
from ffabric.abi.ffa import framework
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import MASK32
from ffabric.guests import interrupts
from ffabric.guests.calls.messages import DirectMessage, direct_message
from ffabric.guests.errors import error_of
from ffabric.guests.ffa import Ffa
from ffabric.system.options.problems import did_you_mean
from ffabric.system.vcpu import Vcpu

_REQUESTS = frozenset(
    {
        fid.FFA_MSG_SEND_DIRECT_REQ_32,
        fid.FFA_MSG_SEND_DIRECT_REQ_64,
        fid.FFA_MSG_SEND_DIRECT_REQ2,
    }
)


class Partition:
    """The software of a partition. One object serves all vCPUs; each has its own ``ffa``.

    ``uuid`` (or ``uuids``) identifies its services. ``name`` is the partition's name (default: the
    class's name in lower case). ``manifest`` has further properties of its FF-A manifest.
    """

    name: str = ""
    uuid: str | UUID | None = None
    uuids: ClassVar[tuple[str | UUID, ...]] = ()
    manifest: ClassVar[dict[str, object]] = {}

    def __init__(self, name: str = "") -> None:
        self.name = name or self.name or type(self).__name__.lower()
        self.npi: int = interrupts.NONE
        """INTID of the Notification Pending Interrupt, once it is enabled."""
        self._calls: dict[Vcpu, Ffa] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, member in vars(cls).items():
            _check_hook(cls, name, member)

    async def program(self, vcpu: Vcpu, entry: int, x0: int) -> None:
        """The program of a vCPU, from its cold boot on.

        The other vCPUs of an SP begin like the first one.
        """
        ffa = self.ffa_of(vcpu)
        await ffa.id_get()
        if vcpu.secure and vcpu.index == 0 and vcpu.count > 1 and not vcpu.begins_again:
            await ffa.secondary_register(entry)
        await self.main(ffa)
        ffa.unawaited.check()

    async def vector(self, vcpu: Vcpu, kind: int) -> None:
        """The interrupt vector of a vCPU."""
        ffa = self.ffa_of(vcpu)
        await self.on_interrupt(kind, ffa)
        ffa.unawaited.check()

    def ffa_of(self, vcpu: Vcpu) -> Ffa:
        """The FF-A calls of a vCPU; the object stays the same for as long as the vCPU lives."""
        calls = self._calls.get(vcpu)
        if calls is None:
            calls = self._calls[vcpu] = Ffa(vcpu)
        return calls

    async def main(self, ffa: Ffa) -> None:
        """Initialise, then answer messages for ever.

        A primary scheduler, be it a kernel or a primary VM, has no FFA_MSG_WAIT: it handles
        interrupts for ever. Raises FfaError if an answer or the wait is refused for another reason,
        because the partition cannot go on then.
        """
        await self._begin(ffa)
        x, unawaited = ffa.x, ffa.unawaited
        wait = _WAIT_RETAINING if ffa.version >= V1_2 else _WAIT
        x[:] = wait
        while True:
            made = x[0]
            if unawaited.made is not None:
                unawaited.check()
            await ffa.trap
            function = x[0] & MASK32
            if function in _REQUESTS:
                request = direct_message(x)
                if x[2] and x[2] & FRAMEWORK_MESSAGE and function != fid.FFA_MSG_SEND_DIRECT_REQ2:
                    answer = await self._on_framework_message(request, x[:8], ffa)
                else:
                    answer = await self.on_direct_request(request, ffa)
                try:
                    x[:] = answer + _ZEROS[len(answer)]
                except (TypeError, IndexError):
                    x[:] = _odd(self, answer)
                continue
            if function == fid.FFA_ERROR:
                status = from_register(x[2])
                if made == fid.FFA_MSG_WAIT and status is Status.NOT_SUPPORTED:
                    await _idle(ffa)
                if made != fid.FFA_MSG_WAIT or status is not Status.INTERRUPTED:
                    raise error_of(ffa.vcpu, x[2], made)
                await self.on_wake(ffa)
            elif function == fid.FFA_RUN:
                await self.on_run(ffa)
            elif function == fid.FFA_INTERRUPT:
                await self._on_interrupted(x[2], ffa)
            x[:] = wait

    async def _begin(self, ffa: Ffa) -> None:
        """Initialise, if there is anything to be initialised."""
        if ffa.vcpu.is_activated:
            await self.on_activation(ffa)
        elif not ffa.vcpu.begins_again:
            await self.on_boot(ffa)

    async def _on_framework_message(
        self, request: DirectMessage, x: list[int], ffa: Ffa
    ) -> list[int]:
        """Answer a message of a partition manager: by its own hook, with the hook's status."""
        message = framework.message_of(x[2])
        if message is None or message.response is None:
            return request.respond()
        status: Status | psci.Return | None = None
        if message.response == framework.PSCI_RESPONSE:
            return await self._on_power_message(request, x, ffa)
        if message.id == framework.PARTITION_STOP:
            return await self._on_partition_stop(request, ffa)
        if message.id == framework.VM_CREATED:
            status = await self.on_vm_created(framework.parse(x)["vm"], ffa)
        elif message.id == framework.VM_DESTROYED:
            status = await self.on_vm_destroyed(framework.parse(x)["vm"], ffa)
        return framework.build(
            fid.FFA_MSG_SEND_DIRECT_RESP_32,
            request.receiver,
            request.sender,
            message.response,
            status=(Status.SUCCESS if status is None else Status(status)).register,
        )

    async def _on_partition_stop(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Answer that it has stopped, and where its state is: buffers of its own are gone then."""
        status = await self.on_stop(ffa)
        if status in (None, Status.SUCCESS) and ffa.tx in ffa.ram:
            await ffa.unmap_buffers()
        address, size = ffa.vcpu.live_state
        return framework.build(
            fid.FFA_MSG_SEND_DIRECT_RESP_64,
            request.receiver,
            request.sender,
            framework.PARTITION_STOP_ACK,
            status=(Status.SUCCESS if status is None else Status(status)).register,
            live_state=address,
            live_state_size=size,
        )

    async def _on_power_message(self, request: DirectMessage, x: list[int], ffa: Ffa) -> list[int]:
        """Answer what is told of the PE, with the status of the hook (DEN0077A 1.2, 18.2)."""
        if framework.message_of(x[2]) is framework.MESSAGES[framework.WARM_BOOT]:
            status = await self.on_warm_boot(ffa)
        else:
            status = await self.on_power_message(x[3], ffa)
        return framework.build(
            fid.FFA_MSG_SEND_DIRECT_RESP_32,
            request.receiver,
            request.sender,
            framework.PSCI_RESPONSE,
            status=(psci.Return.SUCCESS if status is None else psci.Return(status)) & MASK32,
        )

    async def on_boot(self, ffa: Ffa) -> None:
        """Called once for each vCPU, before its first FFA_MSG_WAIT.

        In an SP it is called again whenever the PE of a vCPU has been off and is on again, except
        for the first vCPU.
        """

    async def on_stop(self, ffa: Ffa) -> Status | None:
        """Called before another image takes this partition's place: save state in `ffa.live_state`.

        Return a status: anything but SUCCESS refuses to stop. None means SUCCESS.
        """
        return None

    async def on_activation(self, ffa: Ffa) -> None:
        """Called instead of `on_boot` if this partition has replaced another image.

        RX/TX buffers, notifications and memory of others are as that image left them.
        """

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Answer an endpoint's direct request: return ``request.respond(...)``."""
        return request.respond()

    async def on_power_message(self, function: int, ffa: Ffa) -> psci.Return | None:
        """Called when the PE is about to be turned off or suspended, or was turned on.

        ``function`` is the PSCI function id. ``power_management_messages`` in the manifest asks for
        these calls. Return a status: an error (DENIED) keeps a PE on that is still on; None means
        SUCCESS.
        """

    async def on_warm_boot(self, ffa: Ffa) -> psci.Return | None:
        """Called when the PE resumes from suspension.

        ``power_management_messages`` in the manifest asks for it.
        """

    async def on_vm_created(self, vm: int, ffa: Ffa) -> Status | None:
        """Called when a VM has been created (manifest: vm_availability_messages, bit 0).

        Return a status. None means SUCCESS.
        """
        return None

    async def on_vm_destroyed(self, vm: int, ffa: Ffa) -> Status | None:
        """Called when a VM has been destroyed: relinquish what it sent.

        Bit 1 of vm_availability_messages in the manifest asks for it.
        """
        return None

    async def on_run(self, ffa: Ffa) -> None:
        """Called when the scheduler has allocated cycles to the vCPU with FFA_RUN."""

    async def on_wake(self, ffa: Ffa) -> None:
        """Called when FFA_MSG_WAIT has returned FFA_INTERRUPT and interrupts have been handled."""

    async def on_interrupt(self, kind: int, ffa: Ffa) -> None:
        """Handle a virtual interrupt (0: IRQ, 1: FIQ) that is asserted.

        This implementation acknowledges it, calls `on_notifications` or `on_device_interrupt`, and
        ends it. An override has to end it, too.

        A partition at S-EL0 has no vector: FFA_INTERRUPT delivers each interrupt of a device while
        it waits, and `on_device_interrupt` is called.
        """
        gic = interrupts.controller(ffa)
        intid = await gic.acknowledge(ffa)
        if intid == interrupts.NONE:
            return
        if intid == self.npi:
            bitmaps = await ffa.notification_get(vcpu=ffa.vcpu.index)
            await self.on_notifications(*bitmaps, ffa)
        else:
            await self.on_device_interrupt(intid, ffa)
        await gic.end(ffa, intid)

    async def _on_interrupted(self, intid: int, ffa: Ffa) -> None:
        """FFA_INTERRUPT has ended a wait; at S-EL0 it hands over an interrupt, active already."""
        if not ffa.vcpu.el:
            await self.on_device_interrupt(intid, ffa)
            await interrupts.controller(ffa).end(ffa, intid)
        await self.on_wake(ffa)

    async def enable_notifications(self, ffa: Ffa) -> None:
        """Enable the Notification Pending Interrupt on this vCPU."""
        self.npi = await interrupts.enable_notifications(ffa)

    async def enable_interrupt(self, ffa: Ffa, intid: int) -> None:
        """Enable a device interrupt on this vCPU (see `on_device_interrupt`)."""
        await interrupts.controller(ffa).enable(ffa, intid)

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """Handle the notifications that were retrieved for this vCPU: three bitmaps."""

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """Handle an interrupt other than the Notification Pending Interrupt.

        It is ended afterwards.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


_ZEROS = [[0] * (18 - n) for n in range(19)]
"""What an answer lacks of 18 registers, by its length."""
_WAIT = [fid.FFA_MSG_WAIT] + [0] * 17
_WAIT_RETAINING = [fid.FFA_MSG_WAIT, 0, 1] + [0] * 15
"""From v1.2 on a wait need not release RX, which another vCPU of the partition may be reading."""


async def _idle(ffa: Ffa) -> NoReturn:
    """Nobody sends it messages: it has its interrupts alone."""
    while True:
        await ffa.idle()


def _check_hook(cls: type, name: str, member: object) -> None:
    """Raise TypeError for a method that nobody would call, or whose result nobody could await."""
    known = getattr(Partition, name, None)
    if inspect.iscoroutinefunction(known):
        if isinstance(member, FunctionType) and not inspect.iscoroutinefunction(member):
            raise TypeError(f"{cls.__name__}.{name} has to be written with `async def`")
    elif known is None and name.startswith("on_"):
        hint = did_you_mean(name, [each for each in vars(Partition) if each.startswith("on_")])
        if hint:
            raise TypeError(f"{cls.__name__}.{name} is never called{hint}")


def _odd(partition: Partition, answer: object) -> list[int]:
    """An answer that is no 18 registers at most: TypeError if it is none at all.

    That there are more of them is told when the call is made.
    """
    if isinstance(answer, list):
        return answer
    hook = f"{type(partition).__name__}.on_direct_request"
    forgotten = " (is `return` missing?)" if answer is None else ""
    raise TypeError(f"{hook} returned {answer!r}{forgotten}: return request.respond(...)") from None
