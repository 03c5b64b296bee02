"""The states of an execution context, and its place in the chain of calls.

States of an execution context (DEN0077A 1.2, section 4.11 and table 8.1)::

    OFF -> STARTING -> WAITING <-> RUNNING <-> BLOCKED
                                   RUNNING <-> PREEMPTED
    any -> ABORTED

STARTING is a context in its initialisation (runtime model SP_INIT); it becomes WAITING with its
first FFA_MSG_WAIT. A context runs under the *runtime model* of the event that gave it its cycles:
the model, not the state, decides which calls it may make next (`runtime_model.py`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Self

from ffabric.machine.context import Context

if TYPE_CHECKING:
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


class ChainedContext(Context):
    """An execution context and its place in the chain of calls.

    `caller` is the context that asked for this one's cycles, `callee` the one that it is BLOCKED
    on, `request` the function ID of the direct request it serves, `sender` the endpoint ID the
    request came from, `framework` that it is one of a partition manager's, `interrupted` the
    context that a secure interrupt took the PE from, `handler` the context that handles the
    interrupt that took the PE from this one, `yielded` that it is BLOCKED by FFA_YIELD.

    Whoever is RUNNING and has a caller is its caller's callee.
    """

    __slots__ = (
        "callee",
        "caller",
        "framework",
        "handler",
        "interrupted",
        "model",
        "request",
        "sender",
        "state",
        "yielded",
    )

    def __init__(
        self, name: str, index: int, *, secure: bool, stage2: Stage2 | None = None
    ) -> None:
        super().__init__(name, index, secure=secure, stage2=stage2)
        self.state = State.OFF
        self.model = Model.NONE
        self.caller: Self | None = None
        self.callee: Self | None = None
        self.request = 0
        self.sender = 0
        self.framework = False
        self.interrupted: Self | None = None
        self.handler: Self | None = None
        self.yielded = False
