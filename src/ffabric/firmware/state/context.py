"""The execution context: its states, its place in the chain of calls, and all that changes them.

A partition manager lends CPU cycles from context to context (DEN0077A 1.2, sections 4.11 and 7.1,
chapter 8). Whoever lends them is BLOCKED on whoever has them, so contexts form *chains*, linked in
both directions by `callee` and `caller`; the end of a chain runs. In the secure world a chain
begins with the normal world, as a context of its own (a gate), or with nobody: a context that
initialises or handles an interrupt.

========= ==================================================================================
state     the context
========= ==================================================================================
OFF       has not started, or has been turned off
STARTING  initialises (runtime model SP_INIT), until its first FFA_MSG_WAIT or its first call
          that lends cycles
WAITING   waits for a request, for FFA_RUN or for an interrupt; it is in no chain
RUNNING   has a PE; to the hypervisor also a vCPU that could have one, or is in WFI
BLOCKED   waits for its callee, for an SMC of its hypervisor, or, having yielded, for FFA_RUN
PREEMPTED was stopped by an interrupt, wherever it was
ABORTED   is dead: for good, unless its partition is started again (abort-action)
========= ==================================================================================

The *runtime model* is the reason why a context has its cycles. The model, not the state, decides
which calls it may make next (`runtime_model.py`).

What always holds, when no verb is under way:

1. Of the contexts of a PE in the secure world, the normal world among them, at most one is RUNNING
   or STARTING.
2. Whoever is RUNNING and has a caller is its caller's callee, and the caller is BLOCKED; both are
   on one PE. (Dead callers apart: a chain closes over them when it unwinds.)
3. Whoever is BLOCKED and has not yielded is its callee's caller, or waits for an SMC.
4. A context has a caller exactly under RTM_FFA_RUN and RTM_FFA_DIR_REQ, and a request only under
   RTM_FFA_DIR_REQ: 0 stands for that of a dead context, whose answer nobody gets. Chains have no
   cycles, for only a WAITING context enters one.
5. A context that was interrupted for a handler belongs to it: `handler` and `interrupted` point at
   each other, one is PREEMPTED or dead, the other runs under RTM_SEC_INTERRUPT. Nobody else may let
   it go on. So does one on top of which an SP is started again, under RTM_SP_INIT.
6. WAITING and OFF contexts have neither caller nor request nor anybody that they interrupted.

The table is the rows above the methods below. Nothing else assigns these fields. A verb trusts
whoever uses it to have judged the call: the rows are checked when somebody asks for it
(`checking.py`), as tests and the fuzzer do.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Self

from ffabric.abi.words import SECURE_BIT
from ffabric.firmware.state.transitions import Becomes, Part, Table
from ffabric.machine.context import Context

if TYPE_CHECKING:
    from ffabric.machine.context import PE
    from ffabric.machine.translation.stage2 import Stage2


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


TABLE: Table[State] = Table()
FIELDS = (
    *("state", "model", "caller", "callee", "request", "sender", "framework"),
    *("yielded", "interrupted", "handler"),
)
"""What the verbs alone change."""

_OFF = State.OFF
_STARTING = State.STARTING
_WAITING = State.WAITING
_RUNNING = State.RUNNING
_BLOCKED = State.BLOCKED
_PREEMPTED = State.PREEMPTED
_ABORTED = State.ABORTED
_NONE = Model.NONE
_RUN = Model.RUN
_DIR_REQ = Model.DIR_REQ
_OTHER = Becomes.OTHER
_GIVEN = Becomes.GIVEN

_ALIVE = [each for each in State if each is not _ABORTED]
_BOTH = ("spmc", "hypervisor")
_REGAINS = Part({_BLOCKED: _RUNNING}, callee=None)
"""Whoever had lent its cycles has them back."""


class ChainedContext(Context):
    """An execution context and its place in the chain of calls.

    `caller` asked for this one's cycles; `callee` is the one that it is BLOCKED on. `request` is
    the function ID of the direct request it serves, `sender` the endpoint ID that the request came
    from; `framework` is w2 of a request of a partition manager, 0 of any other. `yielded`: it is
    BLOCKED by FFA_YIELD. `interrupted` is the context that an interrupt took the PE from for this
    one to handle it, `handler` the one that handles the interrupt that took the PE from this one.
    """

    __slots__ = FIELDS

    def __init__(
        self, name: str, index: int, *, secure: bool, stage2: Stage2 | None = None
    ) -> None:
        super().__init__(name, index, secure=secure, stage2=stage2)
        self.state = _OFF
        self.model = _NONE
        self.caller: Self | None = None
        self.callee: Self | None = None
        self.request = 0
        self.sender = 0
        self.framework = 0
        self.yielded = False
        self.interrupted: Self | None = None
        self.handler: Self | None = None

    @property
    def answers_own_manager(self) -> bool:
        """Whether the request that it serves is a message of the SPMC: of nobody in its chain."""
        return bool(self.framework) and bool(self.sender & SECURE_BIT)

    # A context comes and goes.

    @TABLE.verb("spmc", "dispatcher", own=Part({_OFF: _STARTING}, model=Model.SP_INIT))
    def initialise(self, pe: PE) -> None:
        """An SP, or the trusted OS, begins."""
        self.state = _STARTING
        self.model = Model.SP_INIT
        self.pe = pe

    @TABLE.verb(*_BOTH, "kernel", own=Part({_OFF: _RUNNING}, model=_GIVEN))
    def power_on(self, pe: PE, model: Model = Model.NONE) -> None:
        """A vCPU of a VM, or the normal world of a PE, is turned on."""
        self.state = _RUNNING
        self.model = model
        self.pe = pe

    @TABLE.verb("hypervisor", own=Part({_OFF: _PREEMPTED}))
    def prepare(self, pe: PE) -> None:
        """A vCPU of a secondary VM is turned on: it begins when the primary gives it cycles."""
        self.state = _PREEMPTED
        self.pe = pe

    @TABLE.verb(
        *_BOTH, "kernel", "dispatcher", own=Part({_RUNNING: _OFF}, model=_NONE, caller=None)
    )
    def power_off(self) -> None:
        """A vCPU turns itself off (PSCI CPU_OFF), or a trusted OS lets its PE be turned off."""
        self.state = _OFF
        self.model = _NONE
        self.caller = None

    @TABLE.verb(
        *_BOTH, "dispatcher", "kernel",
        own=Part(dict.fromkeys(_ALIVE, _ABORTED), model=_NONE, request=0, yielded=False),
    )  # fmt: skip
    def abort(self) -> None:
        """The partition has failed, or was destroyed, whatever its contexts were doing."""
        self.state = _ABORTED
        self.model = _NONE
        self.request = 0
        self.yielded = False

    @TABLE.verb(
        "spmc",
        own=Part(
            {_ABORTED: _STARTING, _OFF: _STARTING}, model=Model.SP_INIT, interrupted=_OTHER
        ),
        other=Part({_RUNNING: _PREEMPTED}, handler=_OTHER),
    )  # fmt: skip
    def restart(self, interrupted: Self | None, pe: PE) -> None:
        """An SP begins anew, on top of whoever would go on; None: nobody would."""
        self.interrupted = interrupted
        if interrupted is not None:
            interrupted.handler = self
            interrupted.state = _PREEMPTED
        self.model = Model.SP_INIT
        self.state = _STARTING
        self.pe = pe

    @TABLE.verb(*_BOTH, own=Part({}, caller=_OTHER, request=0), other=Part({}))
    def leave_to(self, scheduler: Self) -> None:
        """Whoever it serves begins anew, and knows nothing of it: the scheduler lets it go on."""
        self.caller = scheduler
        self.request = 0

    @TABLE.verb(
        "hypervisor",
        own=Part({_BLOCKED: _RUNNING}, model=_NONE, caller=None, request=0, yielded=False),
    )
    def release(self) -> None:
        """Whoever asked a vCPU that has yielded is turned off: it goes on, and owes no answer."""
        self.state = _RUNNING
        self.model = _NONE
        self.caller = None
        self.request = 0
        self.yielded = False

    @TABLE.verb("spmc", own=Part({_WAITING: _OFF}))
    def stop(self) -> None:
        """An SP has stopped for its image to be replaced, or the PE of a context has gone off."""
        self.state = _OFF

    # Cycles go down the chain.

    @TABLE.verb(
        *_BOTH,
        own=Part({_RUNNING: _BLOCKED, _STARTING: _BLOCKED}, callee=_OTHER),
        other=Part(
            {_WAITING: _RUNNING},
            caller=_OTHER, model=_DIR_REQ, request=_GIVEN, sender=_GIVEN, framework=_GIVEN,
        ),
    )  # fmt: skip
    def ask(self, receiver: Self, pe: PE, request: int, sender: int, framework: int = 0) -> None:
        """A direct request: the sender waits for the response of the receiver."""
        receiver.caller = self
        receiver.request = request
        receiver.sender = sender
        receiver.framework = framework
        receiver.model = _DIR_REQ
        receiver.state = _RUNNING
        receiver.pe = pe
        self.state = _BLOCKED
        self.callee = receiver

    @TABLE.verb(
        *_BOTH,
        own=Part({_RUNNING: _BLOCKED}, callee=_OTHER),
        other=Part({_WAITING: _RUNNING}, caller=_OTHER, model=_RUN),
    )
    def lend(self, target: Self, pe: PE) -> None:
        """FFA_RUN of a context that waits."""
        target.caller = self
        target.model = _RUN
        target.state = _RUNNING
        target.pe = pe
        self.state = _BLOCKED
        self.callee = target

    @TABLE.verb(
        "hypervisor",
        own=Part({_RUNNING: _BLOCKED}, callee=_OTHER),
        other=Part({_PREEMPTED: _RUNNING}, caller=_OTHER, model=_RUN),
    )
    def begin(self, target: Self, pe: PE) -> None:
        """FFA_RUN of a vCPU of a secondary VM that was turned on: its first cycles."""
        target.caller = self
        target.model = _RUN
        target.state = _RUNNING
        target.pe = pe
        self.state = _BLOCKED
        self.callee = target

    @TABLE.verb(
        *_BOTH,
        own=Part({_RUNNING: _BLOCKED}, callee=_OTHER),
        other=Part(
            {_PREEMPTED: _RUNNING, _BLOCKED: _RUNNING}, caller=Becomes.LENDER, yielded=False
        ),
    )
    def resume(self, target: Self, pe: PE) -> None:
        """FFA_RUN of a context that was preempted or has yielded: it goes on where it stopped."""
        if target.model is _RUN:
            target.caller = self
        target.yielded = False
        target.state = _RUNNING
        target.pe = pe
        self.state = _BLOCKED
        self.callee = target

    @TABLE.verb(
        *_BOTH,
        own=Part({_RUNNING: _BLOCKED}, callee=_OTHER),
        other=Part(
            {_PREEMPTED: _RUNNING, _BLOCKED: _RUNNING}, caller=_OTHER, request=0, yielded=False
        ),
    )
    def adopt(self, target: Self, pe: PE) -> None:
        """FFA_RUN of a context that serves a request of the dead: nobody else waits for it."""
        target.caller = self
        target.request = 0
        target.yielded = False
        target.state = _RUNNING
        target.pe = pe
        self.state = _BLOCKED
        self.callee = target

    @TABLE.verb("spmc", own=Part({_RUNNING: _BLOCKED}, callee=_OTHER), other=Part({}))
    def rejoin(self, link: Self) -> None:
        """FFA_RUN of the next link of a chain that an interrupt took the context out of."""
        self.state = _BLOCKED
        self.callee = link

    @TABLE.verb(
        "spmc",
        own=Part({_RUNNING: _BLOCKED}, callee=_OTHER),
        other=Part({_BLOCKED: _BLOCKED}, caller=_OTHER, request=0),
    )
    def inherit(self, link: Self) -> None:
        """FFA_RUN of a link whose chain begins with the dead: nobody else waits for it."""
        self.state = _BLOCKED
        self.callee = link
        link.caller = self
        link.request = 0

    @TABLE.verb(
        *_BOTH, own=Part({_PREEMPTED: _RUNNING, _BLOCKED: _RUNNING}, yielded=False)
    )  # fmt: skip
    def go_on(self, pe: PE | None) -> None:
        """The end of a chain that was rejoined or whose beginning died goes on where it stopped."""
        self.yielded = False
        self.state = _RUNNING
        self.pe = pe

    @TABLE.verb("hypervisor", "dispatcher", own=Part({_WAITING: _RUNNING}))
    def enter(self, pe: PE) -> None:
        """A context that waits is given the PE, and nobody waits for it."""
        self.state = _RUNNING
        self.pe = pe

    # Cycles come back up the chain.

    @TABLE.verb(
        *_BOTH,
        own=Part({_RUNNING: _WAITING}, model=_NONE, caller=None, request=0),
        other=_REGAINS,
    )
    def answer(self, caller: Self, pe: PE) -> None:
        """A direct response, or FFA_MSG_WAIT of a context that FFA_RUN woke."""
        self.state = _WAITING
        self.model = _NONE
        self.caller = None
        self.request = 0
        caller.state = _RUNNING
        caller.callee = None
        caller.pe = pe

    @TABLE.verb(
        *_BOTH, "dispatcher",
        own=Part(
            {_RUNNING: _WAITING, _STARTING: _WAITING}, model=_NONE, caller=None, request=0
        ),
    )  # fmt: skip
    def wait(self) -> None:
        """The context is done, and nobody alive waits for it."""
        self.state = _WAITING
        self.model = _NONE
        self.caller = None
        self.request = 0

    @TABLE.verb(*_BOTH, own=Part({_RUNNING: _BLOCKED}, yielded=True), other=_REGAINS)
    def yield_to(self, caller: Self | None, pe: PE) -> None:
        """FFA_YIELD: the lender may let the context go on later; None: the lender is dead."""
        self.state = _BLOCKED
        self.yielded = True
        if caller is not None:
            caller.regain(pe)

    @TABLE.verb(*_BOTH, own=Part({_RUNNING: _PREEMPTED}), other=_REGAINS)
    def preempt(self, waiter: Self, pe: PE) -> None:
        """A non-secure interrupt, or a WFI, stops the context; whoever waits for it goes on."""
        self.state = _PREEMPTED
        waiter.regain(pe)

    @TABLE.verb(*_BOTH, own=_REGAINS)
    def regain(self, pe: PE | None) -> None:
        """The cycles are back, with an answer in the registers."""
        self.state = _RUNNING
        self.callee = None
        self.pe = pe

    @TABLE.verb(*_BOTH, own=Part({_ABORTED: _ABORTED}, caller=None))
    def leave_chain(self) -> Self | None:
        """A dead context is not in its chain any more: who had lent it cycles is returned."""
        caller, self.caller = self.caller, None
        return caller

    # Secure interrupts.

    @TABLE.verb(
        "spmc",
        own=Part({_WAITING: _RUNNING}, model=Model.SEC_INTERRUPT, interrupted=_OTHER),
        other=Part({_RUNNING: _PREEMPTED, _STARTING: _PREEMPTED}, handler=_OTHER),
    )
    def handle(self, interrupted: Self | None, pe: PE) -> None:
        """A context that waits handles its interrupt on top of another one; None: of nobody."""
        self.interrupted = interrupted
        if interrupted is not None:
            interrupted.handler = self
            interrupted.state = _PREEMPTED
        self.model = Model.SEC_INTERRUPT
        self.state = _RUNNING
        self.pe = pe

    @TABLE.verb(
        "spmc", own=Part({_BLOCKED: _RUNNING}), other=Part({_RUNNING: _PREEMPTED})
    )  # fmt: skip
    def take_out(self, running: Self) -> None:
        """A BLOCKED context handles its interrupt, taken out of its wait for the running one."""
        running.state = _PREEMPTED
        self.state = _RUNNING

    @TABLE.verb(
        "spmc",
        own=Part({_WAITING: _WAITING, _ABORTED: _ABORTED}, interrupted=None),
        other=Part({_PREEMPTED: _RUNNING, _ABORTED: _ABORTED}, handler=None),
        through="interrupted",
    )
    def handled(self, pe: PE) -> Self | None:
        """The interrupt is handled: what it interrupted goes on, unless it is dead meanwhile."""
        interrupted, self.interrupted = self.interrupted, None
        if interrupted is not None:
            interrupted.handler = None
            if interrupted.state is not _ABORTED:
                interrupted.state = _RUNNING
                interrupted.pe = pe
        return interrupted

    # Calls of the hypervisor's own.

    @TABLE.verb("hypervisor", own=Part({_RUNNING: _BLOCKED}))
    def block(self) -> None:
        """The hypervisor makes SMCs on behalf of the vCPU."""
        self.state = _BLOCKED

    @TABLE.verb("hypervisor", own=Part({_BLOCKED: _RUNNING}))
    def unblock(self, pe: PE) -> None:
        """The SMCs are answered."""
        self.state = _RUNNING
        self.pe = pe
