"""The OP-TEE mediator: VMs share one OP-TEE that is called with its SMC ABI.

OP-TEE tells its clients apart by the id in a7, believes every physical address it is given, and
may return from a call several times before it has finished: with a request to the VM (an RPC), or
because an interrupt is pending. So the mediator says who calls, gives OP-TEE shadows of messages
only (`shadow`), and remembers what each of its threads has under way::

                 CALL_WITH_ARG                        done
    (nothing) ------------------> inside OP-TEE ------------------> (nothing), answers copied back
                                   |         ^
                               RPC |         | RETURN_FROM_RPC of the same VM and thread
                                   v         |
                             call of (VM, thread)

VMs are announced to OP-TEE when they are created and destroyed. One for which it has no room, and
one that it was not told of, has no OP-TEE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi.optee import rpc, smc
from ffabric.abi.optee.message import build_message
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.hypervisor.optee import rules
from ffabric.firmware.hypervisor.optee.client import Answer, Call, Client
from ffabric.firmware.hypervisor.optee.notified import Notified, next_value
from ffabric.firmware.hypervisor.optee.own_rpcs import OwnRpcs
from ffabric.firmware.hypervisor.optee.shadow import Guest, RpcShadow, Shadow, parsed
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.manager.manager import REFUSALS, as_refused
from ffabric.firmware.state import events
from ffabric.firmware.state.rules import Refused, refuse
from ffabric.machine.translation.pages import NoPages

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Sequence, Steps
    from ffabric.firmware.state.endpoints import Vm
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE

HIDDEN = smc.Capabilities.build(RPMB_PROBE=1, RPC_ARG=1, VIRTUALIZATION=1, HAVE_RESERVED_SHM=1)
"""Capabilities of OP-TEE that no VM has: they need memory or a device that all VMs share, or
messages in memory that the VM could change."""
_NOTIFIES = smc.Capabilities.build(ASYNC_NOTIF=1)
MAX_COOKIES = 32
"""Pages for messages of OP-TEE that a VM may have given it."""


class Mediator:
    """Calls of VMs to OP-TEE."""

    def __init__(self, hypervisor: Hypervisor, notification: int | None = None) -> None:
        self.hypervisor = hypervisor
        self.clients: dict[int, Client] = {}
        self.notified: Notified | None = None
        """Its notifications, if the SPI that it raises for them is known."""
        if notification is not None:
            self.notified = Notified(hypervisor, self.clients, notification)
        self.own_rpcs: OwnRpcs | None = None
        """The RPCs that no VM is asked to serve, if there is a device for them."""
        self._dying: dict[int, Callable[[PE], Steps]] = {}
        """What is to be done for dead VMs when OP-TEE has left their calls."""

    # VMs come and go.

    def created(self, vm: Vm) -> Steps:
        """Tell OP-TEE of ``vm``; if it has no room, the VM has no OP-TEE."""
        answer = yield [smc.VM_CREATED, vm.id]
        if answer[0] & MASK32 == smc.Return.OK:
            hypervisor = self.hypervisor
            self.clients[vm.id] = Client(Guest(vm, hypervisor.memory, hypervisor.pool), self._left)

    def destroyed(self, vm: Vm) -> Steps:
        """Tell OP-TEE that ``vm`` is gone: it forgets all that it has of it."""
        client = self.clients.pop(vm.id, None)
        if client is not None:
            yield [smc.VM_DESTROYED, vm.id]
            client.forget()

    def delays(self, vm: Vm, end: Callable[[PE], Steps]) -> bool:
        """Whether OP-TEE is executing a call of ``vm``, which is dead: ``end`` comes afterwards."""
        client = self.clients.get(vm.id)
        if client is None or not client.inside:
            return False
        self._dying[vm.id] = end
        return True

    def interrupted(self, intid: int) -> bool:
        """An SPI has come; whether it is OP-TEE's, which concerns VMs that it has values for."""
        if self.notified is None or intid != self.notified.intid:
            return False
        self.notified.interrupted()
        return True

    # Calls.

    def sequence(self, pe: PE, caller: ExecutionContext) -> Sequence:
        """The call of ``caller``: its answer is in a0 to a3."""
        x = list(caller.x)
        function = x[0] & MASK32
        try:
            client = self.clients.get(caller.partition.id)
            if client is None:
                refuse(rules.CLIENT, got=caller.partition.id, expected=sorted(self.clients))
            handler = _CALLS.get(function)
            if handler is None:
                refuse(rules.FUNCTION, got=function, expected="a function that VMs may call")
            answer = yield from handler(self, client, x)
        except REFUSALS as error:
            self._refuse(pe, caller, as_refused(error))
            return caller
        caller.x[0:4] = answer[0:4]
        return caller

    def _refuse(self, pe: PE, caller: ExecutionContext, refusal: Refused) -> None:
        hypervisor = self.hypervisor
        broken = refusal.rule
        hypervisor.refusals[broken.id] = hypervisor.refusals.get(broken.id, 0) + 1
        if hypervisor.on_refused is not None:
            hypervisor.on_refused(pe, refusal)
        if hypervisor.tracer is not None:
            hypervisor.tracer.record(events.refusal(pe, caller, refusal))
        caller.x[0] = int(broken.status)

    def _left(self, client: Client) -> None:
        """OP-TEE executes no call of a VM any more; a dead one can be ended."""
        if end := self._dying.pop(client.guest.vm.id, None):
            sequences.defer(self.hypervisor, end)

    def _ask(self, client: Client, x: list[int]) -> Answer:
        """A call that OP-TEE answers as it is."""
        return (yield from client.ask(x))

    def _exchange_capabilities(self, client: Client, x: list[int]) -> Answer:
        """What a VM may know: not how many parameters RPCs have in memory of its own.

        Without an interrupt that the mediator knows there are no notifications.
        """
        answer = yield from client.ask(x)
        answer[1] &= ~HIDDEN
        if self.notified is None:
            answer[1] &= ~_NOTIFIES
        if not answer[1] & _NOTIFIES:
            answer[2] = 0
        answer[3] = 0
        return answer

    def _no_shared_memory(self, client: Client, x: list[int]) -> Answer:
        """GET_SHM_CONFIG: no VM has a part of the memory that is reserved for messages."""
        refuse(rules.RESERVED, got=x[0] & MASK32, expected="memory that the VM shares itself")
        yield

    def _no_registered_message(self, client: Client, x: list[int]) -> Answer:
        """CALL_WITH_REGD_ARG, CALL_WITH_RPC_ARG: see `HIDDEN`."""
        refuse(rules.REGISTERED, got=x[0] & MASK32, expected=smc.CALL_WITH_ARG)
        yield

    def _enable_notifications(self, client: Client, x: list[int]) -> Answer:
        """ENABLE_ASYNC_NOTIF."""
        if self.notified is None:
            refuse(rules.FUNCTION, got=x[0] & MASK32, expected="a function that VMs may call")
        answer = yield from client.ask(x)
        client.notified |= answer[0] & MASK32 == smc.Return.OK
        return answer

    def _value(self, client: Client, x: list[int]) -> Answer:
        """GET_ASYNC_NOTIF_VALUE: the lowest value that was collected."""
        if self.notified is None:
            refuse(rules.FUNCTION, got=x[0] & MASK32, expected="a function that VMs may call")
        client.values, told = next_value(client.values)
        return [smc.Return.OK, *told, 0]
        yield

    def _disable_cache(self, client: Client, x: list[int]) -> Answer:
        """DISABLE_SHM_CACHE: OP-TEE gives a page for messages back, if it has kept one."""
        answer = yield from client.ask(x)
        if answer[0] & MASK32 == smc.Return.OK:
            self._drop(client, answer[1] << 32 | answer[2] & MASK32)
        return answer

    def _call(self, client: Client, x: list[int]) -> Answer:
        """CALL_WITH_ARG: a1 and a2 are the address of a message."""
        ipa = (x[1] & MASK32) << 32 | x[2] & MASK32
        shadow = Shadow(client.guest, ipa)
        try:
            shadow.fill()
        except (Refused, NoPages):
            shadow.release()
            raise
        call = [x[0], shadow.page >> 32, shadow.page & MASK32, 0, 0, 0, 0]
        return (yield from self._inside(client, Call(shadow), call))

    def _resume(self, client: Client, x: list[int]) -> Answer:
        """RETURN_FROM_RPC: the VM has served what thread a3 asked for."""
        thread = x[3] & MASK32
        call = client.threads.get(thread)
        if call is None:
            refuse(rules.RESUME, got=thread, expected=sorted(client.threads))
        served = _SERVED.get(call.rpc)
        registers = list(x[0:7])
        if served is not None:
            served(self, client, call, registers)
        del client.threads[thread]
        return (yield from self._inside(client, call, registers))

    def _inside(self, client: Client, call: Call, x: list[int]) -> Answer:
        """OP-TEE executes a call until it is done or needs the VM.

        The page list that came with the answer to its last message it may not have read when an
        interrupt preempts it; it has when it asks for something else.
        """
        answer = yield from client.ask(x)
        while self._serves(client, answer):
            answer = yield from client.ask([smc.RETURN_FROM_RPC, 0, 0, answer[3] & MASK32])
        a0 = answer[0] & MASK32
        if call.message is not None and a0 != smc.Rpc.FOREIGN_INTR:
            call.message.release_lists()
            call.message = None
        if not client.guest.vm.alive:
            call.shadow.release()
        elif smc.is_rpc(a0):
            call.rpc = a0
            client.threads[answer[3] & MASK32] = call
            if a0 == smc.Rpc.CMD:
                self._show(client, call, answer)
            elif a0 == smc.Rpc.FREE:
                self._drop(client, (answer[1] & MASK32) << 32 | answer[2] & MASK32)
        else:
            if a0 == smc.Return.OK:
                call.shadow.copy_back()
            call.shadow.release()
        return answer

    # RPCs.

    def _serves(self, client: Client, answer: list[int]) -> bool:
        """Whether OP-TEE asks for something that the VM has no part in, which is done then."""
        if self.own_rpcs is None or answer[0] & MASK32 != smc.Rpc.CMD or not client.guest.vm.alive:
            return False
        shadow = client.cookies.get((answer[1] & MASK32) << 32 | answer[2] & MASK32)
        if shadow is None:
            return False
        served = self.own_rpcs.serve(client, parsed(client.guest.got(shadow.page, PAGE)))
        if served is not None:
            client.guest.put(shadow.page, build_message(served))
        return served is not None

    def _show(self, client: Client, call: Call, answer: list[int]) -> None:
        """A message for the VM is in the memory that cookie a1, a2 stands for."""
        cookie = (answer[1] & MASK32) << 32 | answer[2] & MASK32
        call.message = client.cookies.get(cookie)
        if call.message is not None:
            call.message.show()

    def _drop(self, client: Client, cookie: int) -> None:
        shadow = client.cookies.pop(cookie, None)
        if shadow is not None:
            shadow.release()

    def _allocated(self, client: Client, call: Call, x: list[int]) -> None:
        """The VM has given a page for messages at a1, a2 (0: none), cookie a4, a5."""
        ipa = (x[1] & MASK32) << 32 | x[2] & MASK32
        if not ipa:
            return
        cookie = (x[4] & MASK32) << 32 | x[5] & MASK32
        if cookie in client.cookies or len(client.cookies) >= MAX_COOKIES:
            refuse(rules.COOKIE, got=cookie, expected=f"none of {len(client.cookies)}")
        if ipa % 4096:
            refuse(rules.EXTENT, got=ipa, expected="a page")
        client.guest.physical(ipa)
        shadow = client.cookies[cookie] = RpcShadow(client.guest, ipa)
        x[1], x[2] = shadow.page >> 32, shadow.page & MASK32

    def _answered(self, client: Client, call: Call, x: list[int]) -> None:
        """The VM has written its answer where it found the message."""
        message = call.message
        if message is not None and message.request is not None:
            gives = message.request.command == rpc.Command.SHM_ALLOC
            try:
                message.answer(gives_memory=gives)
            except (Refused, NoPages):
                message.release_lists()
                raise


_CALLS: dict[int, Callable[[Mediator, Client, list[int]], Answer]] = {
    **dict.fromkeys(
        (
            smc.CALLS_COUNT,
            smc.CALLS_UID,
            smc.CALLS_REVISION,
            smc.GET_OS_UUID,
            smc.GET_OS_REVISION,
            smc.GET_THREAD_COUNT,
            smc.ENABLE_SHM_CACHE,
        ),
        Mediator._ask,
    ),
    smc.EXCHANGE_CAPABILITIES: Mediator._exchange_capabilities,
    smc.GET_SHM_CONFIG: Mediator._no_shared_memory,
    smc.CALL_WITH_REGD_ARG: Mediator._no_registered_message,
    smc.CALL_WITH_RPC_ARG: Mediator._no_registered_message,
    smc.ENABLE_ASYNC_NOTIF: Mediator._enable_notifications,
    smc.GET_ASYNC_NOTIF_VALUE: Mediator._value,
    smc.DISABLE_SHM_CACHE: Mediator._disable_cache,
    smc.CALL_WITH_ARG: Mediator._call,
    smc.RETURN_FROM_RPC: Mediator._resume,
}

_SERVED: dict[int, Callable[[Mediator, Client, Call, list[int]], None]] = {
    smc.Rpc.ALLOC: Mediator._allocated,
    smc.Rpc.CMD: Mediator._answered,
}
