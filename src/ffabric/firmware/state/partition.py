"""Endpoints and their execution contexts, as a partition manager keeps them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from ffabric.abi.ffa.version import LATEST
from ffabric.firmware.state.call_table import CallTable
from ffabric.firmware.state.context import ChainedContext
from ffabric.firmware.state.virtual_interrupts import VirtualInterrupts

if TYPE_CHECKING:
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import PE
    from ffabric.machine.stage2 import Stage2


class Action(enum.IntEnum):
    """What an SP asks to happen on a non-secure interrupt (manifest: ns-interrupts-action)."""

    QUEUED = 0
    MANAGED_EXIT = 1
    SIGNALED = 2


class Level(Protocol):
    """An exception level: whoever takes the exits of a context, and schedules it."""

    def trap(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """Handle an exit of `ctx`; what `pe` runs next."""

    def give(self, pe: PE, ctx: ExecutionContext) -> Next:
        """Let the scheduler of its world give `pe` to `ctx`; None: it cannot run now."""


class ExecutionContext(ChainedContext):
    """A vCPU of an endpoint.

    `level` takes its exits. `gate` leads to another exception level, if the context stands for what
    is there. `line` holds the characters it has logged since its last line ended, `virq` the state
    of its virtual interrupts, and `attention` says that they matter when it enters WAITING.
    """

    __slots__ = ("attention", "gate", "level", "line", "partition", "virq")

    def __init__(self, partition: Partition, index: int, level: Level) -> None:
        super().__init__(
            f"{partition.name}.{index}", index, secure=partition.secure, stage2=partition.stage2
        )
        self.partition = partition
        self.level = level
        self.gate: Gate | None = None
        self.line = bytearray()
        self.virq = VirtualInterrupts()
        self.attention = False


Next = ExecutionContext | None
"""The context that a PE runs next; None: there is nothing for it to run."""

Gate = Callable[["PE", ExecutionContext], Next]
"""Leaves through a context to another exception level: what the PE runs next."""

Calls = CallTable[Callable[..., Next]]
"""Calls that an endpoint may make. A handler takes the manager of the endpoint, the PE and the
calling context, and returns what the PE runs next."""

NO_CALLS: Calls = CallTable()
"""Those of an endpoint that no partition manager keeps."""


class Partition:
    """An FF-A endpoint: identity, properties, contexts, mailbox and translation."""

    __slots__ = (
        "action",
        "alive",
        "boot_information",
        "boot_order",
        "calls",
        "contexts",
        "el",
        "entry",
        "fate",
        "gateway",
        "gic",
        "home",
        "id",
        "identity",
        "interrupts",
        "mailbox",
        "managed_exit_fiq",
        "may_schedule",
        "memory",
        "name",
        "negotiated",
        "notifications",
        "properties",
        "secondary_entry",
        "secure",
        "secure_action",
        "signals",
        "sri_on_wait",
        "sri_while_waiting",
        "stage2",
        "up",
        "uuids",
        "version",
        "window",
    )

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the specification's word
        name: str,
        secure: bool,
        uuids: Sequence[UUID] = (),
        properties: int = 0,
        version: int = LATEST,
        up: bool = False,
        stage2: Stage2 | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.secure = secure
        self.uuids = tuple(uuids)
        self.properties = properties
        self.version = version
        self.negotiated = False
        self.up = up
        self.stage2 = stage2
        self.contexts: list[ExecutionContext] = []
        self.mailbox: Mailbox | None = None
        self.notifications: NotificationState | None = None
        self.entry = 0
        self.secondary_entry: int | None = None
        self.boot_information = 0
        """What the first context starts with in x0: the IPA of the boot information."""
        self.memory: list[tuple[int, int]] = []
        """(IPA, pages) of its own memory."""
        self.home = 0
        """The PE on which the only vCPU of a UP VM starts."""
        self.gic: Gic | None = None
        """A VM's own virtual interrupt controller."""
        self.interrupts: frozenset[int] = frozenset()
        """Physical interrupts that are passed to it."""
        self.boot_order = 0
        self.el = 1
        self.action = Action.SIGNALED
        self.secure_action = Action.SIGNALED
        """The same for secure interrupts of others: QUEUED or SIGNALED."""
        self.sri_while_waiting = False
        """Its interrupts do not wake it: the normal world is asked to schedule it."""
        self.sri_on_wait = False
        """It may wait with interrupts pending: the same."""
        self.managed_exit_fiq = True
        self.alive = True
        self.calls = NO_CALLS
        """What it may call: those of its FF-A instance."""
        self.gateway = False
        """It stands for a whole world and speaks for all endpoints there."""
        self.may_schedule = False
        """It schedules others: FFA_RUN may wake a WAITING context."""
        self.identity = True
        """Memory it retrieves appears at the memory's own address, if that is free."""
        self.window = (0, 0)
        """(IPA, pages) where memory appears otherwise."""
        self.fate = ""
        """Why it is no longer alive."""
        self.signals = False
        """Interrupts or notifications may be pending for it: look before it runs."""

    def context_on(self, pe: PE) -> ExecutionContext | None:
        """The context that serves ``pe``: pinned for an MP endpoint, the only one of a UP."""
        contexts = self.contexts
        if self.up:
            return contexts[0]
        index = pe.index
        return contexts[index] if index < len(contexts) else None

    def __repr__(self) -> str:
        return f"<Partition {self.name} {self.id:#06x}>"
