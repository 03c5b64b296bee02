"""Endpoints and their execution contexts, as a partition manager keeps them.

States of an execution context (DEN0077A 1.2, section 4.11 and table 8.1)::

    OFF -> STARTING -> WAITING <-> RUNNING <-> BLOCKED
                                   RUNNING <-> PREEMPTED
    any -> ABORTED

STARTING is a context in its initialisation (runtime model SP_INIT); it becomes WAITING with its
first FFA_MSG_WAIT. A context runs under the *runtime model* of the event that gave it its cycles:
the model, not the state, decides which calls it may make next (``runtime_model.py``).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ffabric.abi.ffa.version import LATEST
from ffabric.machine.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.firmware.manager.setup.mailbox import Mailbox
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import PE
    from ffabric.machine.stage2 import Stage2


class State(enum.Enum):
    """States of an execution context."""

    OFF = "OFF"
    STARTING = "STARTING"
    WAITING = "WAITING"
    RUNNING = "RUNNING"
    BLOCKED = "BLOCKED"
    PREEMPTED = "PREEMPTED"
    ABORTED = "ABORTED"


class Model(enum.Enum):
    """Runtime models (DEN0077A 1.2, chapter 8)."""

    NONE = "none"
    NORMAL_WORLD = "normal world"
    RUN = "RTM_FFA_RUN"
    DIR_REQ = "RTM_FFA_DIR_REQ"
    SEC_INTERRUPT = "RTM_SEC_INTERRUPT"
    SP_INIT = "RTM_SP_INIT"


class Action(enum.IntEnum):
    """What an SP asks to happen on a non-secure interrupt (manifest: ns-interrupts-action)."""

    QUEUED = 0
    MANAGED_EXIT = 1
    SIGNALED = 2


class ExecutionContext(Context):
    """A vCPU of an endpoint, with its place in the call chain.

    ``caller`` is the context that asked for this one's cycles, ``callee`` the one that it is
    BLOCKED on, ``request`` the function id of the direct request it serves, ``sender`` the endpoint
    id the request came from, ``framework`` that it is one of a partition manager's, ``interrupted``
    the context that a secure interrupt took the PE from, ``handler`` the context that handles the
    interrupt that took the PE from this one, ``yielded`` that it is BLOCKED by FFA_YIELD, ``line``
    the characters it has logged since its last line ended, ``virq`` the state of its virtual
    interrupts and ``attention`` that they matter when it enters WAITING.

    Whoever is RUNNING and has a caller is its caller's callee.
    """

    __slots__ = (
        "attention",
        "callee",
        "caller",
        "framework",
        "gate",
        "handler",
        "interrupted",
        "line",
        "manager",
        "model",
        "partition",
        "request",
        "sender",
        "state",
        "virq",
        "yielded",
    )

    def __init__(self, partition: Partition, index: int, manager: Any) -> None:
        super().__init__(
            f"{partition.name}.{index}", index, secure=partition.secure, stage2=partition.stage2
        )
        self.partition = partition
        self.manager = manager
        self.state = State.OFF
        self.model = Model.NONE
        self.caller: ExecutionContext | None = None
        self.callee: ExecutionContext | None = None
        self.request = 0
        self.sender = 0
        self.framework = False
        self.gate: Callable[[PE, ExecutionContext], ExecutionContext | None] | None = None
        self.interrupted: ExecutionContext | None = None
        self.handler: ExecutionContext | None = None
        self.yielded = False
        self.line = bytearray()
        self.virq: Any = None
        self.attention = False


class Partition:
    """An FF-A endpoint: identity, properties, contexts, mailbox and translation."""

    __slots__ = (
        "action",
        "alive",
        "boot_information",
        "boot_order",
        "contexts",
        "el",
        "entry",
        "fate",
        "gateway",
        "gic",
        "gp_register",
        "home",
        "id",
        "identity",
        "interrupts",
        "mailbox",
        "managed_exit_fiq",
        "may_schedule",
        "memory",
        "messages",
        "name",
        "negotiated",
        "notifications",
        "owner",
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
        self.gp_register = 0
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
        self.messages = 0
        self.alive = True
        self.owner: Any = None
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
