"""EL3's agent for Live Firmware Activation (DEN0147 1.0), whose components are SPs.

Software of the normal world finds the components, has one primed (its new image is in the staging
memory then) and has it activated. That is done by a logical partition at EL3, which asks the SPMC
with two framework messages (DEN0077A 1.3; TF-A, `spmd_logical_sp.c`)::

    LFA_PRIME           the new image is copied to the staging memory
    LFA_ACTIVATE        LIVE_ACTIVATION_START_REQ, LIVE_ACTIVATION_FINISH_REQ; each may let the SP
                        run on the PE of the caller

Unless a caller asks to skip the *rendezvous*, all PEs that are on have to call LFA_ACTIVATE: each
waits at EL3, with interrupts masked, until the last one has come or has gone off. That one does it,
and all have the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from ffabric.abi import lfa
from ffabric.abi.ffa import framework, uuids
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_ID_MASK
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.lfa import Return
from ffabric.abi.words import MASK32
from ffabric.firmware.monitor.logical import FIRST_ID

if TYPE_CHECKING:
    from ffabric.firmware.monitor.worlds import Cpu, SecureWorld
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE
    from ffabric.machine.machine import Machine

_CODES = {
    Status.NOT_SUPPORTED: Return.NOT_SUPPORTED,
    Status.INVALID_PARAMETERS: Return.INVALID_PARAMETERS,
    Status.NO_MEMORY: Return.NO_MEMORY,
    Status.DENIED: Return.COMPONENT_WRONG_STATE,
    Status.INTERRUPTED: Return.BUSY,
    Status.BUSY: Return.BUSY,
    Status.RETRY: Return.BUSY,
    Status.ABORTED: Return.CRITICAL_ERROR,
}
"""Statuses of FF-A as return codes (TF-A, `convert_ffa_error_code_to_lfa`)."""


class Monitor(Protocol):
    """What the agent needs of the monitor."""

    machine: Machine
    secure: SecureWorld
    cpus: list[Cpu]

    def to_secure(self, pe: PE) -> None:
        """``pe`` goes from the normal world to the secure world."""

    def to_normal(self, pe: PE) -> None:
        """``pe`` goes from the secure world to the normal world."""

    def answered(self, pe: PE, caller: ExecutionContext) -> Next:
        """The SMC of ``caller`` has its answer."""


class Component:
    """An SP whose image can be replaced; ``stage`` has one copied to the staging memory.

    It returns how many pages that has. None: no new image is there.
    """

    def __init__(self, partition: int, image: UUID, address: int) -> None:
        self.partition = partition
        """The endpoint ID of the SP."""
        self.image = image
        self.address = address
        """The physical address of the staging memory."""
        self.stage: Callable[[], int] | None = None


class LiveActivation:
    """The agent of a system with such components."""

    def __init__(self, monitor: Monitor, components: Sequence[Component]) -> None:
        self._monitor = monitor
        self._machine = monitor.machine
        self.components = components
        self._primed: Component | None = None
        self._pages = 0
        self._gathered: list[tuple[PE, ExecutionContext]] = []
        """Who has called LFA_ACTIVATE and waits at EL3 for the others, or for the end."""
        self._at: PE | None = None
        """The PE on which an SP is being activated."""
        self._handlers: dict[int, Callable[[PE, ExecutionContext], Next]] = {
            lfa.LFA_VERSION: self._version,
            lfa.LFA_FEATURES: self._features,
            lfa.LFA_GET_INFO: self._get_info,
            lfa.LFA_GET_INVENTORY: self._get_inventory,
            lfa.LFA_PRIME: self._prime,
            lfa.LFA_ACTIVATE: self._activate,
            lfa.LFA_CANCEL: self._cancel,
        }

    def __contains__(self, function: int) -> bool:
        return function in self._handlers

    def call(self, pe: PE, caller: ExecutionContext) -> Next:
        """A call of the normal world that is one of the agent's: who runs next."""
        return self._handlers[caller.x[0] & MASK32](pe, caller)

    def offer(self, component: Component, stage: Callable[[], int]) -> None:
        """A new image is there, to be primed. Raises ValueError if one is being activated."""
        if self._primed is component:
            if self._gathered:
                raise ValueError("it is being activated")
            self._primed = None
        component.stage = stage

    def _answer(self, pe: PE, caller: ExecutionContext, code: Return, *words: int) -> Next:
        caller.x[0 : 1 + len(words)] = (code.register64, *words)
        return self._monitor.answered(pe, caller)

    def _component(self, x: list[int]) -> Component | None:
        number = x[1] & MASK32
        return self.components[number] if number < len(self.components) else None

    def _version(self, pe: PE, caller: ExecutionContext) -> Next:
        caller.x[0] = lfa.VERSION_1_0
        return self._monitor.answered(pe, caller)

    def _features(self, pe: PE, caller: ExecutionContext) -> Next:
        known = caller.x[1] & MASK32 in self._handlers
        return self._answer(pe, caller, Return.SUCCESS if known else Return.NOT_SUPPORTED)

    def _get_info(self, pe: PE, caller: ExecutionContext) -> Next:
        if caller.x[1]:
            return self._answer(pe, caller, Return.INVALID_PARAMETERS)
        return self._answer(pe, caller, Return.SUCCESS, len(self.components), 0)

    def _get_inventory(self, pe: PE, caller: ExecutionContext) -> Next:
        component = self._component(caller.x)
        if component is None:
            return self._answer(pe, caller, Return.INVALID_PARAMETERS)
        flags = lfa.Component.CAPABLE | lfa.Component.RENDEZVOUS_OPTIONAL
        if component.stage is not None:
            flags |= lfa.Component.PENDING
        return self._answer(pe, caller, Return.SUCCESS, *uuids.to_pair(component.image), flags)

    def _prime(self, pe: PE, caller: ExecutionContext) -> Next:
        component = self._component(caller.x)
        if component is None:
            return self._answer(pe, caller, Return.INVALID_PARAMETERS)
        if self._gathered:
            return self._answer(pe, caller, Return.BUSY)
        if component.stage is None or self._primed not in (None, component):
            return self._answer(pe, caller, Return.WRONG_STATE)
        self._pages = component.stage()
        self._primed = component
        return self._answer(pe, caller, Return.SUCCESS, 0)

    def _cancel(self, pe: PE, caller: ExecutionContext) -> Next:
        component = self._component(caller.x)
        if component is None or self._primed is not component:
            return self._answer(pe, caller, Return.INVALID_PARAMETERS)
        if self._at is not None:
            return self._answer(pe, caller, Return.BUSY)
        self._primed = None
        self._release(Return.ACTIVATION_FAILED)
        return self._answer(pe, caller, Return.SUCCESS)

    # Activation.

    def _activate(self, pe: PE, caller: ExecutionContext) -> Next:
        component, skips = self._component(caller.x), caller.x[2] & lfa.SKIP_RENDEZVOUS
        if component is None:
            return self._answer(pe, caller, Return.INVALID_PARAMETERS, 0)
        if self._primed is not component or component.stage is None:
            return self._answer(pe, caller, Return.COMPONENT_WRONG_STATE, 0)
        if self._at is not None or (skips and self._gathered):
            return self._answer(pe, caller, Return.BUSY, 0)
        self._gathered.append((pe, caller))
        if skips or self._is_complete():
            return self._begin(pe)
        self._monitor.cpus[pe.index].in_el3 = True
        return None

    def _is_complete(self) -> bool:
        here = {pe.index for pe, _ in self._gathered}
        return all(pe.index in here for pe in self._machine.pes if pe.on)

    def left(self) -> None:
        """A PE has gone off: nobody waits for it any more."""
        if not self._gathered or self._at is not None:
            return
        pe, _ = self._gathered[0]
        if pe.on and self._is_complete():
            self._monitor.cpus[pe.index].in_el3 = False
            self._route(pe, self._begin(pe))

    def _begin(self, pe: PE) -> Next:
        assert self._primed is not None
        self._at = pe
        self._monitor.to_secure(pe)
        self._monitor.cpus[pe.index].activates = True
        return self._ask(
            pe,
            framework.LIVE_ACTIVATION_START,
            partition=self._primed.partition,
            address=self._primed.address,
            pages=self._pages,
        )

    def _ask(self, pe: PE, message: int, **fields: int) -> Next:
        """Send the SPMC a framework message: the SP that runs for it, or what follows at once."""
        secure = self._monitor.secure
        x = framework.build(
            fid.FFA_MSG_SEND_DIRECT_REQ_64, FIRST_ID, secure.spm_id, message, **fields
        )
        nxt = secure.activate(pe, x)
        return self._answered(pe) if nxt is secure.gates[pe.index] else nxt

    def returned(self, pe: PE) -> Next:
        """The SP has given ``pe`` back. Its engine may still be in it: that has to end first."""
        if not self._machine.is_executing:
            return self._go_on(pe)
        self._monitor.cpus[pe.index].in_el3 = True
        self._machine.post(lambda: self._route(pe, self._go_on(pe)))
        return None

    def _go_on(self, pe: PE) -> Next:
        self._monitor.cpus[pe.index].in_el3 = False
        self._monitor.secure.activation_goes_on(pe)
        return self._answered(pe)

    def _answered(self, pe: PE) -> Next:
        """The SPMC has answered the message."""
        assert self._primed is not None
        x = self._monitor.secure.gates[pe.index].x
        status = from_register(framework.parse(x)["status"])
        started = x[2] & FRAMEWORK_ID_MASK == framework.LIVE_ACTIVATION_START_ACK
        if started and status is Status.SUCCESS:
            return self._ask(pe, framework.LIVE_ACTIVATION_FINISH, partition=self._primed.partition)
        code = Return.ACTIVATION_FAILED
        if status is Status.SUCCESS:
            code = Return.SUCCESS
            self._primed.stage = None
        elif status is not None:
            code = _CODES.get(status, code)
        return self._end(pe, code)

    def _end(self, pe: PE, code: Return) -> Next:
        self._primed = self._at = None
        self._monitor.cpus[pe.index].activates = False
        self._monitor.to_normal(pe)
        mine = next(caller for each, caller in self._gathered if each is pe)
        self._gathered = [each for each in self._gathered if each[0] is not pe]
        self._release(code)
        return self._answer(pe, mine, code, 0)

    def _release(self, code: Return) -> None:
        """Whoever waits at EL3 goes on."""
        gathered, self._gathered = self._gathered, []
        for pe, caller in gathered:
            self._monitor.cpus[pe.index].in_el3 = False
            self._route(pe, self._answer(pe, caller, code, 0))

    def _route(self, pe: PE, nxt: Next) -> None:
        """Let ``pe``, whose exit is not being handled, run ``nxt``, and have its interrupts."""
        while nxt is not None and nxt.gate is not None:
            nxt = nxt.gate(pe, nxt)
        self._machine.schedule(pe, nxt)
        self._machine.look_at_interrupts()
