"""What processing elements do, as a tracer hears it: a declared struct for each kind of event.

An execution context *calls* (SMC, HVC or SVC with x0 to x17) and is *answered* once, when it goes
on with the registers that its exception level has left for it. Whatever else takes a PE from a
context or gives it one is an event of its own kind and answers nothing: the end of a time slice,
WFI, an abort, a crash, and a context that goes on where it stopped.

A kind is declared here and nowhere else: a trace is written and read by these declarations
(`ffabric.observe.lines`), and its reference page is made from them. What the firmware does is
declared above the machine, in `ffabric.firmware.state.events`.
"""

from __future__ import annotations

import re
from typing import Annotated, Protocol

import msgspec

HEXADECIMAL = "hexadecimal"
NUMBER = "number"
REGISTERS = "registers"

Word = Annotated[int, msgspec.Meta(extra={"form": HEXADECIMAL})]
"""A register, an address or an identifier. A trace has it as a hexadecimal string."""

Registers = Annotated[tuple[Word, ...], msgspec.Meta(extra={"form": REGISTERS})]
"""x0 to x17. A trace leaves the zeros at the end out."""

Id = Annotated[int, msgspec.Meta(ge=0, lt=1 << 16, extra={"form": HEXADECIMAL})]
"""An identifier of 16 bits. A trace has it as a hexadecimal string."""

Time = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1, extra={"form": NUMBER})]
"""Virtual nanoseconds."""

Index = Annotated[int, msgspec.Meta(ge=0, lt=1 << 16, extra={"form": NUMBER})]
"""Which PE, or which context of a partition."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 52, extra={"form": NUMBER})]
"""How many pages or bytes, and numbers of interrupts and devices."""

Name = str
"""The name of a partition, as the description of the system has it."""


def kind_of(name: str) -> str:
    """The name that the struct ``name`` has in a trace: ``VmCreated`` is ``vm_created``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Record(msgspec.Struct, gc=False, tag_field="kind", tag=kind_of):
    """Something for which a trace has a line."""

    @property
    def kind(self) -> str:
        """The name of its kind, as a trace has it."""
        return kind_of(type(self).__name__)


class Event(Record, kw_only=True):
    """Something that happened in a run. Whoever records it sets its time."""

    t: Time = 0
    """Virtual time: nanoseconds since the machine was made."""


class ContextEvent(Event):
    """What happened to one execution context."""

    pe: Index
    """Index of the PE."""
    endpoint: Name
    """The partition whose context it is, or the partition manager."""
    vcpu: Index
    """Index of the context in the partition."""


class Call(ContextEvent):
    """The context makes a call: SMC, HVC, or SVC from S-EL0."""

    x: Registers
    """The registers with which it calls."""
    write: tuple[tuple[Word, bytes], ...] = ()
    """What the call reads from the caller's TX buffer: IPA and bytes (hexadecimal digits)."""


class Return(ContextEvent):
    """The context goes on behind the call that it has made: the one answer to it."""

    x: Registers
    """The registers with which it goes on."""


class Resume(ContextEvent):
    """The context has the PE from now on, and no call that would be answered.

    It begins, or goes on where it was pre-empted, descheduled or idle; or it had the PE when the
    recording began.
    """


class Start(ContextEvent):
    """The context begins, or begins again, at an entry point. What it last called is over."""

    entry: Word
    """Where it begins. Its MMU is off."""
    argument: Word
    """What it finds in x0."""


class Slice(ContextEvent):
    """The context has used its time slice up, or was asked to stop for something else."""


class Idle(ContextEvent):
    """The context executes WFI and nothing is pending for it. It goes on with `resume`."""


class Abort(ContextEvent):
    """The context takes a stage-2 fault: a translation or permission fault."""

    fault: str
    """``fetch`` or ``data``."""
    ipa: Word
    """The intermediate physical address, exact to the byte."""
    va: Word
    """The virtual address (FAR_EL2)."""
    write: bool
    """Whether it is a store."""
    syndrome: Word
    """ESR_EL2."""
    pc: Word
    """The address of the instruction (ELR_EL2)."""


class Crash(ContextEvent):
    """The context cannot go on: an exception that nobody handles, or Python code that raised."""

    reason: str
    """Why, in words."""


class DmaRefused(Event):
    """A device's access to memory is refused by the SMMU in front of it."""

    device: Name
    """The device."""
    smmu: Count
    """The number of the SMMU."""
    stream: Count
    """The StreamID of the transaction."""
    secure: bool
    """Whether the stream is of the Secure state."""
    address: Word
    """The address of the transaction, before translation."""
    write: bool
    """Whether it is a write."""
    reason: str
    """The event of an SMMUv3 that reports it, ``F_PERMISSION``."""


class Tracer(Protocol):
    """Who listens to a run. Without one nothing is recorded and nothing is spent."""

    def record(self, event: Event) -> None:
        """``event`` has happened. It may be kept; who else listens may get the same object."""
