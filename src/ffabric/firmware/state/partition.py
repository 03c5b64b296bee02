"""Endpoints and their execution contexts, as a partition manager keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, Required, TypedDict, Unpack
from uuid import UUID

from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.partition_info import IdType
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.ffa.version import LATEST
from ffabric.firmware.state.context import ChainedContext
from ffabric.firmware.state.interface.call_table import CallTable
from ffabric.firmware.state.virtual_interrupts import VirtualInterrupts

if TYPE_CHECKING:
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.machine.context import PE
    from ffabric.machine.gic import Gic
    from ffabric.machine.translation.stage2 import Stage2


class Level(Protocol):
    """An exception level: whoever takes the exits of a context, and schedules it."""

    def trap(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """Handle an exit of `ctx`; what `pe` runs next."""

    def dispatch(self, pe: PE, ctx: ExecutionContext) -> Next:
        """Let the scheduler of its world give `pe` to `ctx`; None: it cannot run now."""


Calls = CallTable[Callable[..., "Next"]]
"""Calls that an endpoint may make. A handler takes the manager of the endpoint, the PE and the
calling context, and returns what the PE runs next."""

NO_CALLS: Calls = CallTable()
"""Those of an endpoint that no partition manager keeps."""
_NO_ENTRIES = NO_CALLS.in_version(LATEST)


class Negotiation:
    """What an endpoint and its manager have agreed on: the calls that there are in its version.

    All contexts of the endpoint have it, for each call looks there, whatever kind the endpoint is.
    """

    __slots__ = ("ended", "entries")

    def __init__(self) -> None:
        self.entries = _NO_ENTRIES
        self.ended = False
        """The endpoint has made a call that ends the negotiation of its version."""


class ExecutionContext(ChainedContext):
    """A vCPU of an endpoint.

    `line` holds the characters it has logged since its last line ended, `virq` the state
    of its virtual interrupts, and `attention` says that they matter when it enters WAITING.
    `idles`: it is PREEMPTED by a WFI, and goes on when an interrupt is pending. `told_of` is the
    interrupt (INTID) of its virtual GIC for which an SP that it has called was stopped, until it
    has taken that.
    """

    __slots__ = ("attention", "idles", "line", "negotiation", "partition", "told_of", "virq")

    level: Level
    gate: Gate | None

    def __init__(self, partition: Partition, index: int, level: Level) -> None:
        super().__init__(
            f"{partition.name}.{index}", index, secure=partition.secure, stage2=partition.stage2
        )
        self.partition = partition
        self.negotiation = partition.negotiation
        self.level = level
        self.line = bytearray()
        self.virq = VirtualInterrupts()
        self.attention = False
        self.idles = False
        self.told_of: int | None = None

    def located(self, what: str) -> str:
        """``what`` has happened to it, and where, if its engine can tell."""
        where = "" if self.runner is None else self.runner.where()
        return f"{what}: {where}" if where else what


Next = ExecutionContext | None
"""The context that a PE runs next; None: there is nothing for it to run."""

Gate = Callable[["PE", ExecutionContext], Next]
"""Leaves through a context to another exception level: what the PE runs next."""

MESSAGES = (
    info.DIRECT_REQ_SEND
    | info.DIRECT_REQ_RECEIVE
    | info.DIRECT_REQ2_SEND
    | info.DIRECT_REQ2_RECEIVE
    | info.INDIRECT_MESSAGES
)
"""Properties that services may have each for themselves (manifest: messaging-method)."""


class Identity(TypedDict, total=False):
    """What an endpoint is made with; ID and name are needed."""

    id: Required[int]
    name: Required[str]
    el: int
    uuids: Sequence[UUID]
    properties: int
    methods: Mapping[UUID, int]
    image_uuid: UUID
    version: int
    up: bool
    stage2: Stage2 | None
    aliases: Mapping[int, IdType]


class Partition:
    """An FF-A endpoint: identity, properties, contexts, mailbox and translation.

    What only some endpoints have is in the kinds of `endpoints.py`.
    """

    __slots__ = (
        "aliases",
        "alive",
        "calls",
        "contexts",
        "el",
        "fate",
        "id",
        "image_uuid",
        "mailbox",
        "methods",
        "name",
        "negotiation",
        "notifications",
        "properties",
        "secure",
        "signals",
        "stage2",
        "up",
        "uuids",
        "version",
    )

    gateway = False
    """It stands for a whole world and speaks for all endpoints there."""
    has_lifecycle = False
    """It supports all states of FF-A 1.3's lifecycle: dead, it is STOPPED."""
    is_being_activated = False
    """Its image is being replaced."""
    may_schedule = False
    """It schedules others: FFA_RUN may wake a WAITING context."""
    paravirtual = False
    """Hafnium's calls (HF_INTERRUPT_*) are its interrupt controller; it has no GIC."""
    gic: Gic | None = None
    """Its own interrupt controller; None: the machine's, or none."""
    window: tuple[int, int] | None = None
    """(IPA, pages) where memory that it retrieves appears; None: at the memory's own address."""

    pinned: Mapping[int, int] = MappingProxyType({})
    """Pages (IPA) that somebody below the managers may use, and how often: they are not sent."""

    def __init__(self, *, secure: bool, **identity: Unpack[Identity]) -> None:
        self.secure = secure
        self.id = identity["id"]
        self.name = identity["name"]
        self.el = identity.get("el", 1)
        """The exception level of its software."""
        self.uuids = tuple(identity.get("uuids", ()))
        self.properties = identity.get("properties", 0)
        """What it is and can, whatever the service."""
        self.methods: Mapping[UUID, int] = identity.get("methods", {})
        """The messages of each service, where services differ: properties."""
        self.image_uuid = identity.get("image_uuid", NIL)
        self.version = identity.get("version", LATEST)
        self.negotiation = Negotiation()
        self.aliases: Mapping[int, IdType] = identity.get("aliases", {})
        """IDs besides its own by which it is named in memory transactions, and what they are of."""
        self.up = identity.get("up", False)
        """Its only context runs on any PE."""
        self.stage2 = identity.get("stage2")
        self.contexts: list[ExecutionContext] = []
        self.calls = NO_CALLS
        """What it may call: those of its FF-A instance."""
        self.mailbox: Mailbox | None = None
        self.notifications: NotificationState | None = None
        self.signals = False
        """Interrupts or notifications may be pending for it: look before it runs."""
        self.alive = True
        self.fate = ""
        """Why it is no longer alive."""

    def allow(self, calls: Calls, version: int) -> None:
        """Let it make the ``calls`` of its FF-A instance, in a ``version`` of the Framework."""
        self.calls = calls
        self.version = version
        self.negotiation.entries = calls.in_version(version)

    def properties_of(self, service: UUID) -> int:
        """Its properties as one of its services has them."""
        return self.properties & ~MESSAGES | self.methods.get(service, self.properties & MESSAGES)

    def context_on(self, pe: PE) -> ExecutionContext | None:
        """The context that serves ``pe``: pinned for an MP endpoint, the only one of a UP."""
        contexts = self.contexts
        if self.up:
            return contexts[0]
        index = pe.index
        return contexts[index] if index < len(contexts) else None

    def __repr__(self) -> str:
        return f"<Partition {self.name} {self.id:#06x}>"
