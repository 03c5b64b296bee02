"""The state of one receiver's notifications: bound, pending, reported and unsignalled bits.

A receiver binds bits to a sender, for all its vCPUs (global) or for each of its own (per-vCPU). A
bit goes through two states, and each has a listener of its own::

    clear --SET--> pending --GET by the receiver--> clear
                   pending --INFO_GET by the scheduler--> pending and reported

*Reported* is a latch: INFO_GET tells of a pending bit once. *Unsignalled* is another: a bit that
became pending raises the receiver's Notification Pending Interrupt once, when the receiver runs
next. Framework notifications are bits that the managers set: the low half is the SPM's, the high
half the hypervisor's (DEN0077A 1.2, chapter 10).
"""

from __future__ import annotations

from collections.abc import Sequence

from ffabric.abi.ffa.notifications import INFO_MAX_VCPUS, PendingList
from ffabric.abi.words import SECURE_BIT

GLOBAL = -1
"""The key of bits that are for every vCPU."""


class Bits:
    """Pending bits of one kind, for all vCPUs (key GLOBAL) and for single ones."""

    __slots__ = ("pending", "reported")

    def __init__(self) -> None:
        self.pending: dict[int, int] = {}
        self.reported: dict[int, int] = {}

    def add(self, key: int, bits: int) -> None:
        """Make ``bits`` pending."""
        self.pending[key] = self.pending.get(key, 0) | bits

    def take(self, vcpu: int) -> int:
        """The global bits and those of ``vcpu``; they are not pending any more."""
        taken = 0
        for key in (GLOBAL, vcpu):
            taken |= self.pending.pop(key, 0)
            self.reported.pop(key, None)
        return taken

    def any_of(self, bits: int) -> bool:
        """Whether one of ``bits`` is pending for somebody."""
        return any(pending & bits for pending in self.pending.values())

    def unreported(self) -> set[int]:
        """The keys with bits that INFO_GET has not told of."""
        reported = self.reported
        return {key for key, bits in self.pending.items() if bits & ~reported.get(key, 0)}


class Source(Bits):
    """The notifications of one kind of sender: ``bound`` says which sender may set which."""

    __slots__ = ("bound", "per_vcpu")

    def __init__(self) -> None:
        super().__init__()
        self.bound: dict[int, int] = {}
        self.per_vcpu = 0

    def of_others(self, sender: int) -> int:
        """The bits that are bound to another sender."""
        others = 0
        for each, bits in self.bound.items():
            if each != sender:
                others |= bits
        return others

    def bind(self, sender: int, bits: int, *, per_vcpu: bool) -> None:
        """``sender`` may set ``bits``."""
        self.bound[sender] = self.bound.get(sender, 0) | bits
        self.per_vcpu = self.per_vcpu | bits if per_vcpu else self.per_vcpu & ~bits

    def unbind(self, sender: int, bits: int) -> None:
        """``sender`` may not set ``bits`` any more."""
        if sender in self.bound:
            self.bound[sender] &= ~bits
        self.per_vcpu &= ~bits


class NotificationState:
    """The notifications of one endpoint.

    `unsignalled` are the keys of what became pending since its interrupt was last raised.
    """

    __slots__ = (
        "endpoint",
        "framework",
        "from_sps",
        "from_vms",
        "kinds",
        "unsignalled",
        "vcpus",
    )

    def __init__(self, endpoint: int, vcpus: int) -> None:
        self.endpoint = endpoint
        self.vcpus = vcpus
        self.from_vms = Source()
        self.from_sps = Source()
        self.framework = Bits()
        self.kinds: tuple[Bits, Bits, Bits] = (self.framework, self.from_sps, self.from_vms)
        """All bits, by kind of sender."""
        self.unsignalled: set[int] = set()

    def source(self, sender: int) -> Source:
        """The notifications of senders of the world of ``sender``."""
        return self.from_sps if sender & SECURE_BIT else self.from_vms

    def is_pending(self, vcpu: int) -> bool:
        """Whether FFA_NOTIFICATION_GET on ``vcpu`` would return any bit."""
        for kind in self.kinds:
            pending = kind.pending
            if pending and (pending.get(GLOBAL) or pending.get(vcpu)):
                return True
        return False

    def take_signal(self, vcpu: int) -> bool:
        """Whether the interrupt is to be raised on ``vcpu`` now; asked once, it is not again."""
        signal = not self.unsignalled.isdisjoint((GLOBAL, vcpu))
        self.unsignalled -= {GLOBAL, vcpu}
        return signal and self.is_pending(vcpu)

    def unreported(self) -> Sequence[PendingList]:
        """What INFO_GET has still to tell: a list for every three vCPUs, or one without vCPUs."""
        keys: set[int] = set()
        for kind in self.kinds:
            if kind.pending:
                keys |= kind.unreported()
        if not keys:
            return ()
        vcpus = sorted(keys - {GLOBAL})
        return pending_lists(self.endpoint, vcpus) if vcpus else (PendingList(self.endpoint),)

    def report(self, listed: PendingList) -> None:
        """INFO_GET tells of ``listed``."""
        for kind in self.kinds:
            if kind.pending:
                for key in (GLOBAL, *listed.vcpus):
                    kind.reported[key] = kind.pending.get(key, 0)


def pending_lists(endpoint: int, vcpus: Sequence[int]) -> list[PendingList]:
    """Lists of `endpoint` that name all `vcpus`, three in each."""
    return [
        PendingList(endpoint, tuple(vcpus[first : first + INFO_MAX_VCPUS]))
        for first in range(0, len(vcpus), INFO_MAX_VCPUS)
    ]
