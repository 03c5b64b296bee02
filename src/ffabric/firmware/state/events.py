"""What the firmware does, as a tracer hears it: a declared struct for each kind of event.

Calls, answers, and what else takes a PE from a context are the machine's
(`ffabric.machine.events`). Here is what the exception levels above make of them: who refused, which
world the PE went to, what became of memory, interrupts, notifications and partitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ffabric.abi.ffa.functions import FUNCTIONS
from ffabric.firmware.state.rules import show
from ffabric.machine.events import ContextEvent, Count, Event, Id, Index, Name, Registers, Word

if TYPE_CHECKING:
    from ffabric.abi.ffa.registers import Reserved
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.firmware.state.rules import Refused
    from ffabric.machine.context import PE

Range = tuple[Word, Count]
"""An address (IPA) and a count of pages of 4 KiB."""

Mapping = tuple[Word, Word, Count]
"""An IPA of a partition, the physical address there, and a count of pages of 4 KiB."""


class PeEvent(Event):
    """What happened on one PE."""

    pe: Index
    """Index of the PE."""


class Hop(ContextEvent):
    """A call of the normal world, or one that is made for it, or of EL3, reaches the SPMC.

    The context is the one that stands for the normal world at the SPMC.
    """

    x: Registers
    """The registers of the call."""


class Refuse(ContextEvent):
    """A rule refuses the call of the context."""

    rule: str
    """The rule's id."""
    section: str
    """The document and section that demand it."""
    status: str
    """The status that the caller is answered with."""
    text: str
    """What must hold."""
    got: str
    """What was found."""
    expected: str
    """What it was compared with."""


class ReservedBits(ContextEvent):
    """Bits of a call's registers should be zero and are not. They are read as zero."""

    call: str
    """The name of the call."""
    register: str
    """The register: ``w3``, or ``x3`` if its upper half matters."""
    value: Word
    """What those bits hold, in place."""
    reserved: str
    """What they are in the caller's version: ``SBZ``, or ``MBZ`` where that refuses nothing."""
    section: str
    """The document and section that define the call."""


class World(PeEvent):
    """The monitor switches the PE to the other world."""

    to: Literal["secure", "normal"]
    """``secure`` or ``normal``."""


Vector = Literal["yielding", "fast", "cpu_off", "fiq", "system_off", "system_reset"]


class Enter(ContextEvent):
    """EL3 enters the trusted OS at one of its vectors. What it last called is over."""

    vector: Vector
    """Which one, as OP-TEE names them: ``yielding``, ``fast``, ``cpu_off``, ``fiq``,
    ``system_off`` or ``system_reset``."""
    x: Registers
    """The registers with which it is entered."""


class Interrupt(PeEvent):
    """A secure physical interrupt becomes a virtual one of the SP that owns the device."""

    intid: Count
    """The INTID."""
    partition: Name
    """Whose it is."""


class Group0(PeEvent):
    """EL3 takes a physical interrupt of Group 0, serves its device, and lets the PE go on."""

    intid: Count
    """The INTID."""


class Preempt(ContextEvent):
    """An interrupt takes the PE from the context that executes. It goes on with `resume`."""

    by: str
    """The context that handles a secure interrupt (``sp.0``); empty: the interrupt is the normal
    world's."""


class Notification(PeEvent):
    """Notifications become pending."""

    receiver: Word
    """Endpoint id of who is notified."""
    vcpu: Index | None
    """The vCPU that they are for; null: they are global."""
    bits: Word
    """The notifications, a bit each."""


class Rx(Event):
    """An RX buffer is filled and passes to its partition, or is released."""

    partition: Name
    """Whose buffer it is."""
    full: bool
    """Whether the partition owns it now."""
    length: Count = 0
    """Bytes that were written there."""


class Console(Event):
    """A partition, or a UART, has printed a line."""

    partition: Name
    """Who: a partition, or a device of the machine."""
    text: str
    """The line, without its end."""
    pe: Index | None = None
    """Index of the PE of a call that ended the line."""


class OwnerEvent(Event):
    """What happens to memory at its owner."""

    owner: Name
    """The partition, or the manager that stands for its world."""
    ranges: tuple[Range, ...]
    """The memory, as its owner addresses it."""
    physical: tuple[Range, ...] = ()
    """Where it is: physical addresses and pages, without gaps as far as possible."""


class Share(OwnerEvent):
    """Memory is shared: its owner keeps its access."""


class Lend(OwnerEvent):
    """Memory is lent: its owner loses its access until it reclaims the memory."""


class Donate(OwnerEvent):
    """Memory is donated: its owner loses its access, for ever once it has been retrieved."""


class Restore(OwnerEvent):
    """The owner has its memory again, after a reclaim, or because the transaction failed."""


class BorrowerEvent(Event):
    """What happens to memory at a borrower."""

    borrower: Name
    """The partition."""
    ranges: tuple[Mapping, ...]
    """The memory, as the borrower addresses it."""


class Retrieve(BorrowerEvent):
    """Memory is mapped for a borrower."""


class Relinquish(BorrowerEvent):
    """Memory is taken from a borrower: it relinquished it, or came to its end."""


class Permissions(PeEvent):
    """An S-EL0 partition changes the permissions of its own pages (FFA_MEM_PERM_SET)."""

    partition: Name
    """Whose pages they are."""
    ipa: Word
    """The first of them."""
    pages: Count
    """How many of 4 KiB."""


class Logical(PeEvent):
    """A logical partition at EL3 answers a direct request."""

    partition: Name
    """Which one."""


class Aborted(Event):
    """A partition has come to an end: none of its contexts runs again."""

    partition: Name
    """Whose end it is."""
    reason: str
    """Why, in words."""


class Restarted(Event):
    """A partition that had aborted is started again, as it was at boot."""

    partition: Name
    """Which one."""


class Activation(PeEvent):
    """The image of a partition is being replaced (live activation)."""

    partition: Name
    """Which one."""
    step: Literal["stopping", "stopped", "activated", "failed"]
    """``stopping``, ``stopped`` (the new image is in place), ``activated`` or ``failed``."""


class VmCreated(PeEvent):
    """A VM comes into being."""

    partition: Name
    """Its name."""
    endpoint: Id
    """Its endpoint id."""
    memory: tuple[Mapping, ...] = ()
    """Its own memory."""


class MemoryDonated(Event):
    """A host VM gives up memory for a VM that it starts, which is protected from it."""

    partition: Name
    """The host."""
    receiver: Name
    """The VM."""
    memory: tuple[Mapping, ...]
    """What it gives: IPAs of the host's."""


class MemoryReturned(Event):
    """Memory of a protected VM that is gone is its host's again, cleared."""

    partition: Name
    """The host."""
    memory: tuple[Mapping, ...]
    """What it gets: IPAs of the host's."""


class VmDestroyed(PeEvent):
    """The hypervisor begins to take a VM apart, which no longer runs."""

    partition: Name
    """Its name."""
    reason: str
    """Why, in words."""


class VmGone(PeEvent):
    """Nothing is left of a VM but the memory that SPs have not relinquished."""

    partition: Name
    """Its name."""


def preemption(
    pe: PE, preempted: ExecutionContext, handler: ExecutionContext | None = None
) -> Preempt:
    """The event of an interrupt that takes ``pe`` from a context; ``handler`` handles it."""
    by = "" if handler is None else handler.name
    return Preempt(pe.index, preempted.endpoint, preempted.index, by)


def reserved_bits(pe: PE, caller: ExecutionContext, bits: Reserved, value: int) -> ReservedBits:
    """The event of ``bits`` in the call of ``caller`` that should be zero and are ``value``."""
    call = FUNCTIONS[caller.x[0]]
    return ReservedBits(
        pe.index,
        caller.endpoint,
        caller.index,
        call=call.name,
        register=bits.name,
        value=value,
        reserved=bits.rule,
        section=call.section,
    )


def refusal(pe: PE, caller: ExecutionContext, refused: Refused) -> Refuse:
    """The event of a call of ``caller`` that was refused."""
    rule = refused.rule
    return Refuse(
        *(pe.index, caller.endpoint, caller.index),
        *(rule.id, rule.section, refused.status.name, rule.text),
        *(show(refused.got), show(refused.expected)),
    )
