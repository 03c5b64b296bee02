"""Invariants of a running system, one instrument each: what holds after every exit.

An instrument hears the events of the run and looks at the state when an endpoint makes its next
call: then the firmware is at rest. It raises Discrepancy where the invariant is broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.accessors import reader, result_reader
from ffabric.abi.words import MASK32, SECURE_BIT
from ffabric.firmware.state.checking import BrokenChainError, judge
from ffabric.firmware.state.events import Aborted, Notification, VmGone
from ffabric.firmware.state.notifications import GLOBAL
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.ledger import Ledger
from ffabric.machine.events import Call, Event, Return

if TYPE_CHECKING:
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.partition import Partition
    from ffabric.system.system import System

MOST_EVENTS = 20_000
"""What the firmware may do for one call."""
MOST_REPEATED = 10_000
"""How often in a row a context may make one call that is refused."""

_FILLING = frozenset(
    {
        fid.FFA_MSG_SEND2,
        fid.FFA_PARTITION_INFO_GET,
        fid.FFA_MEM_RETRIEVE_REQ_32,
        fid.FFA_MEM_RETRIEVE_REQ_64,
        fid.FFA_MEM_FRAG_RX,
    }
)
"""Calls that write into an RX: the caller's, or the receiver's."""
_RELEASING = frozenset(
    {
        fid.FFA_RX_RELEASE,
        fid.FFA_MSG_WAIT,
        fid.FFA_RXTX_UNMAP,
    }
)
_read_set = reader(fid.FFA_NOTIFICATION_SET, "sender", "receiver", "flags", "notifications")
_read_get = reader(fid.FFA_NOTIFICATION_GET, "vcpu", "receiver", "flags")
_read_got = result_reader(fid.FFA_NOTIFICATION_GET, "from_sps", "from_vms")


class Instrument(Protocol):
    """What judges one invariant."""

    def hear(self, event: Event) -> None:
        """Something has happened."""

    def look(self) -> None:
        """The firmware is at rest. Raises Discrepancy if the invariant is broken."""


class Isolation:
    """Nobody reaches what is another's: judged from the stage-2 tables alone.

    A page is one endpoint's own; no secure memory is in the normal world, and none of a partition
    manager anywhere; free frames are nobody's (`ffabric.lab.oracle.isolation`).
    """

    def __init__(self, system: System) -> None:
        self._ledger = Ledger(system, strict=False)

    def hear(self, event: Event) -> None:
        """The tables say all."""

    def look(self) -> None:
        """Compare what has changed."""
        self._ledger.check_isolation()


class Contexts:
    """A vCPU runs on one PE, a PE runs one context, and call chains are as their table says."""

    def __init__(self, system: System) -> None:
        self._system = system

    def hear(self, event: Event) -> None:
        """The state says all."""

    def look(self) -> None:
        """Judge all contexts of both worlds."""
        firmware, machine = self._system.firmware, self._system.machine
        spmc, hypervisor = firmware.spmc, firmware.hypervisor
        secure = [*spmc.partitions.values(), spmc.normal_world]
        try:
            judge(ctx for each in secure for ctx in each.contexts)
            if hypervisor is not None:
                away = {cpu.caller for cpu in hypervisor.cpus if cpu.caller is not None}
                vms = hypervisor.partitions.values()
                judge((ctx for each in vms for ctx in each.contexts), away=away)
        except BrokenChainError as error:
            raise Discrepancy(str(error)) from error
        running = Counter(pe.current for pe in machine.pes if pe.current is not None)
        for ctx, pes in running.items():
            if pes > 1:
                raise Discrepancy(f"{ctx.name} runs on {pes} PEs")


class Buffers:
    """An RX passes to its consumer by a message, and back by the consumer's own call alone."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._known: dict[Partition, tuple[Mailbox, bool]] = {}
        self._made: list[tuple[str, int]] = []
        """Who has called what since the last look."""
        self._look(judge_them=False)

    def hear(self, event: Event) -> None:
        """Remember the call."""
        if isinstance(event, Call):
            self._made.append((event.endpoint, event.x[0] & MASK32))

    def look(self) -> None:
        """Compare who owns each RX with the calls since."""
        self._look(judge_them=True)
        self._made.clear()

    def _look(self, *, judge_them: bool) -> None:
        former, self._known = self._known, {}
        for endpoint in self._system.endpoints.values():
            partition = endpoint.partition
            box = self._system.firmware.mailbox_of(partition)
            if box is not None:
                self._known[partition] = box, box.full
        for partition, (box, full) in self._known.items():
            known, was = former.get(partition, (None, False))
            if judge_them and known is box:
                self._judge(partition, was=was, full=full)

    def _judge(self, partition: Partition, *, was: bool, full: bool) -> None:
        calls = {function for _, function in self._made}
        own = {function for name, function in self._made if name == partition.name}
        if full and not was and not calls & _FILLING:
            raise Discrepancy(f"{partition.name} owns an RX that no call has filled")
        if was and not full and partition.alive and not own & _RELEASING:
            raise Discrepancy(f"the RX of {partition.name} was taken from it")


class Notifications:
    """What is set is got once: no notification is lost, none is made up, none comes twice."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._pending: dict[tuple[int, bool], Counter[int]] = {}
        """(receiver, set by an SP) -> for each vCPU, or all, the bits that are pending."""
        self._setting: dict[int, tuple[int, int]] = {}
        """PE -> sender and receiver of the FFA_NOTIFICATION_SET that it executes."""
        self._getting: dict[tuple[str, int], tuple[int, int, int]] = {}
        """Context -> vCPU, receiver and flags of its FFA_NOTIFICATION_GET."""
        self._changed: set[int] = set()
        """Receivers for which something was set since their vCPUs have asked."""

    def hear(self, event: Event) -> None:
        """Follow what is set, and judge what is got."""
        handler = _OF_NOTIFICATIONS.get(type(event))
        if handler is not None:
            handler(self, event)

    def look(self) -> None:
        """All is judged as it is heard."""

    def _called(self, event: Call) -> None:
        function = event.x[0] & MASK32
        self._setting.pop(event.pe, None)
        if function == fid.FFA_NOTIFICATION_SET:
            sender, receiver, _, _ = _read_set(event.x)
            self._setting[event.pe] = sender, receiver
        elif function == fid.FFA_NOTIFICATION_GET:
            vcpu, receiver, flags = _read_get(event.x)
            self._getting[event.endpoint, event.vcpu] = vcpu, receiver, flags
            self._changed.discard(receiver)

    def _became_pending(self, event: Notification) -> None:
        sender, receiver = self._setting.get(event.pe, (0, -1))
        if receiver == event.receiver:  # else it is of the framework
            self._changed.add(receiver)
            key = GLOBAL if event.vcpu is None else event.vcpu
            self._bits(receiver, secure=bool(sender & SECURE_BIT))[key] |= event.bits

    def _bits(self, receiver: int, *, secure: bool) -> Counter[int]:
        return self._pending.setdefault((receiver, secure), Counter())

    def _answered(self, event: Return) -> None:
        asked = self._getting.pop((event.endpoint, event.vcpu), None)
        if asked is None or event.x[0] & MASK32 != fid.FFA_SUCCESS_32:
            return
        vcpu, receiver, flags = asked
        for secure, wanted, got in zip(
            (True, False), (abi.GET_FROM_SP, abi.GET_FROM_VM), _read_got(event.x), strict=True
        ):
            bits = self._bits(receiver, secure=secure)
            expected = bits[GLOBAL] | bits[vcpu] if flags & wanted else 0
            who = f"{event.endpoint}.{event.vcpu}"
            if got & ~expected:
                raise Discrepancy(f"{who} gets the notifications {got & ~expected:#x}, never set")
            if expected & ~got and receiver not in self._changed:
                raise Discrepancy(f"{who} does not get the notifications {expected & ~got:#x}")
            bits[GLOBAL] &= ~got
            bits[vcpu] &= ~got

    def _ends(self, event: Aborted | VmGone) -> None:
        endpoint = self._system.endpoints.get(event.partition)
        if endpoint is not None:
            for secure in (True, False):
                self._pending.pop((endpoint.id, secure), None)


_OF_NOTIFICATIONS: dict[type[Event], Callable[[Notifications, Any], None]] = {
    Call: Notifications._called,
    Return: Notifications._answered,
    Notification: Notifications._became_pending,
    Aborted: Notifications._ends,
    VmGone: Notifications._ends,
}


class Progress:
    """The firmware ends what it does for a call, and no context makes one call for ever."""

    def __init__(self, system: System) -> None:
        self._events = 0
        self._last: tuple[str, int, tuple[int, ...]] | None = None
        self._times = 0

    def hear(self, event: Event) -> None:
        """Count."""
        self._events += 1
        if self._events > MOST_EVENTS:
            raise Discrepancy(f"{MOST_EVENTS} events for one call, the last {event.kind}")
        if isinstance(event, Call):
            self._events = 0
            made = event.endpoint, event.vcpu, event.x
            self._times = self._times + 1 if made == self._last else 0
            self._last = made
        elif isinstance(event, Return) and event.x[0] & MASK32 != fid.FFA_ERROR:
            self._last = None
        if self._times > MOST_REPEATED and self._last is not None:
            name, vcpu, x = self._last
            raise Discrepancy(f"{name}.{vcpu} makes the refused call {x[0]:#x} again and again")

    def look(self) -> None:
        """All is judged as it is heard."""
