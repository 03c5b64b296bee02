"""The SPMD above an SPMC that is an image at S-EL1, such as an OP-TEE with CFG_CORE_SEL1_SPMC.

This is what TF-A calls spmd (services/std_svc/spmd/spmd_main.c). The SPMC has a context on each PE
that it supports and initialises there until its first FFA_MSG_WAIT: the primary one at its entry
point, with its manifest in x0 if it has one and the devicetree of the normal world in x2, the
others where FFA_SECONDARY_EP_REGISTER says. From then on an FF-A call of the normal
world is what its last SMC returns, and the SMC that it ends with is the answer::

    normal world --call--> what FFA_MSG_WAIT returns ... FFA_SUCCESS, ..._RESP --> normal world
    secure interrupt ----> FFA_INTERRUPT, and an IRQ ... NORMAL_WORLD_RESUME ----> the PE goes on

FFA_VERSION of the normal world is a framework message to the SPMC (DEN0077A 1.2, section 18.2), and
so is the news that its PE is about to be turned off, to which FFA_ERROR is as good an answer as the
response. EL3 itself answers the calls by which either world asks who it is, and those of the SPMC
alone. An SPMC makes way for an interrupt of the normal world, which it takes as FIQ, with
FFA_INTERRUPT; a call with which the normal world lets it go on is a call as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_ID_MASK, FRAMEWORK_MESSAGE
from ffabric.abi.ffa.framework import (
    PSCI_REQUEST,
    PSCI_RESPONSE,
    VERSION_REQUEST,
    VERSION_RESPONSE,
)
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, PAGE, SECURE_BIT, pack_ids
from ffabric.firmware.monitor.dispatcher import UNKNOWN, Dispatcher
from ffabric.firmware.state import reply
from ffabric.firmware.state.context import State

if TYPE_CHECKING:
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.firmware.state.endpoints import Booted
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

SPMD_ID = 0xFFFF
"""The SPMD's endpoint id to its SPMC (TF-A: SPMD_DIRECT_MSG_ENDPOINT_ID)."""
_VERSION_1_2 = 0x1_0002
_INVALID_VERSION = 1 << 31
_SHORT = 8
"""Registers of a call or answer that is not extended; x8 to x17 of the caller stay as they are."""
_EXTENDED = frozenset(
    {
        fid.FFA_MSG_SEND_DIRECT_REQ2,
        fid.FFA_MSG_SEND_DIRECT_RESP2,
        fid.FFA_PARTITION_INFO_GET_REGS,
        fid.FFA_CONSOLE_LOG_64,
    }
)
_ANSWERS = frozenset(
    {
        fid.FFA_ERROR,
        fid.FFA_SUCCESS_32,
        fid.FFA_SUCCESS_64,
        fid.FFA_INTERRUPT,
        fid.FFA_MSG_WAIT,
        fid.FFA_YIELD,
        fid.FFA_MEM_RETRIEVE_RESP,
        fid.FFA_MEM_FRAG_RX,
        fid.FFA_MEM_FRAG_TX,
        *fid.DIRECT_RESPONSES,
    }
)
"""What an SPMC ends a call of the normal world with."""
_NOT_NORMAL = frozenset(
    {
        fid.FFA_NORMAL_WORLD_RESUME,
        fid.FFA_NORMAL_WORLD_RESUME_64,
        fid.FFA_SECONDARY_EP_REGISTER_32,
        fid.FFA_SECONDARY_EP_REGISTER_64,
        fid.FFA_MSG_WAIT,
        *fid.DIRECT_RESPONSES,
    }
)
"""Calls that an SPMC makes, and nobody in the normal world."""


class Spmd(Dispatcher):
    """The dispatcher of the SPMC ``partition``, whose endpoint id is ``spmc_id``."""

    def __init__(self, monitor: Monitor, partition: Booted, contexts: int, spmc_id: int) -> None:
        super().__init__(monitor, partition, contexts)
        self.spmc_id = spmc_id
        self.secondary_entry: int | None = None
        """Where contexts begin on PEs that come up later."""
        self._normal = monitor
        self._asked = [False] * contexts
        """Whether the SPMC of a PE is asked for the version of the normal world."""
        monitor.forward = self.forward

    # From the monitor.

    def _entry(self, pe: PE) -> int | None:
        """Where it has registered; until then, all PEs begin where the first one has."""
        return self.partition.entry if self.secondary_entry is None else self.secondary_entry

    def _argument(self) -> int:
        """The manifest of the SPMC, if there is one."""
        return self.partition.registers.get(0, 0)

    def forward(self, pe: PE, x: list[int]) -> Next:
        """An FF-A call of the normal world: enter the SPMC with it."""
        caller = self._normal.normal.gates[pe.index]
        function = x[0] & MASK32
        ctx = self._ready(pe)
        if function == fid.FFA_VERSION:
            if ctx is None or x[1] & _INVALID_VERSION:
                reply.no_version(x)
                return self.monitor.answered(pe, caller)
            words = [
                fid.FFA_MSG_SEND_DIRECT_REQ_32, pack_ids(SPMD_ID, self.spmc_id),
                FRAMEWORK_MESSAGE | VERSION_REQUEST, x[1] & MASK32, 0, 0, 0, 0,
            ]  # fmt: skip
        elif status := self._refused(function, x, ctx):
            reply.error(x, status)
            return self.monitor.answered(pe, caller)
        else:
            words = x[: None if function in _EXTENDED else _SHORT]
        assert ctx is not None
        self._callers[pe.index] = caller
        self._asked[pe.index] = function == fid.FFA_VERSION
        self.monitor.to_secure(pe)
        return self._go_on(pe, ctx, words)

    def _refused(self, function: int, x: list[int], ctx: ExecutionContext | None) -> Status | None:
        """Why a call of the normal world does not reach the SPMC; None: it does."""
        if function in _NOT_NORMAL:
            return Status.NOT_SUPPORTED
        if function in fid.DIRECT_REQUESTS and x[1] & SECURE_BIT << 16:
            return Status.INVALID_PARAMETERS
        return Status.ABORTED if ctx is None else None

    def power_down(self, pe: PE, caller: ExecutionContext) -> Next:
        """The SPMC is told of CPU_OFF, and of nothing else (DEN0077A 1.2, section 18.2)."""
        ctx = self._ready(pe) if caller.x[0] & MASK32 == psci.CPU_OFF else None
        if ctx is None:
            return None
        self._callers[pe.index] = caller
        self.monitor.to_secure(pe)
        flags = FRAMEWORK_MESSAGE | PSCI_REQUEST
        ids = pack_ids(SPMD_ID, self.spmc_id)
        words = [fid.FFA_MSG_SEND_DIRECT_REQ_32, ids, flags, psci.CPU_OFF]
        return self._go_on(pe, ctx, words)

    def secure_interrupt(self, pe: PE) -> Next:
        """A secure interrupt while ``pe`` is in the normal world; None: nobody can handle it."""
        ctx = self._ready(pe)
        if ctx is None:
            return None
        words = [0] * _SHORT
        reply.interrupt(words)
        return self._go_on(pe, ctx, words)

    def _go_on(self, pe: PE, ctx: ExecutionContext, words: list[int]) -> ExecutionContext:
        """Its SMC returns: ``words`` from x0 on, zeros in what is left of x0 to x17."""
        ctx.x[:] = words + [0] * (len(ctx.x) - len(words))
        ctx.enter(pe)
        self.interrupt(ctx, self.machine.gic.pending(pe.index))
        return ctx

    # Exits of the SPMC.

    def _smc(self, pe: PE, ctx: ExecutionContext) -> Next:
        x = ctx.x
        function = x[0] & MASK32
        local = _LOCAL.get(function)
        if local is not None:
            local(self, x)
            return ctx
        if not fid.is_ffa(function):
            x[0] = UNKNOWN
            return ctx
        if ctx.state is State.STARTING:
            return self._initialising(pe, ctx, function)
        caller = self._callers[pe.index]
        if caller is None:
            if function in (fid.FFA_NORMAL_WORLD_RESUME, fid.FFA_NORMAL_WORLD_RESUME_64):
                return self._fiq_done(pe, ctx)
            reply.error(x, Status.DENIED)
            return ctx
        if caller.x[0] & MASK32 == psci.CPU_OFF:
            return self._told_of_power(pe, ctx, caller)
        if function not in _ANSWERS:
            reply.error(x, Status.NOT_SUPPORTED)
            return ctx
        self._callers[pe.index] = None
        if self._asked[pe.index]:
            self._answer_version(x, caller.x)
        else:
            count = len(x) if function in _EXTENDED or caller.x[0] & MASK32 in _EXTENDED else _SHORT
            caller.x[:count] = x[:count]
        self._rest(ctx)
        self.monitor.to_normal(pe)
        return self.monitor.answered(pe, caller)

    def _initialising(self, pe: PE, ctx: ExecutionContext, function: int) -> Next:
        if function == fid.FFA_MSG_WAIT:
            if self.notification is not None and not pe.index:
                self.machine.gic.configure(self.notification, enabled=True, edge=True, target=0)
            return self._on_done(pe, ctx)
        if function == fid.FFA_ERROR:
            status = ctx.x[2] & MASK32
            return self._died(pe, ctx, f"its initialisation has failed: FFA_ERROR {status:#x}")
        reply.error(ctx.x, Status.NOT_SUPPORTED)
        return ctx

    def _told_of_power(self, pe: PE, ctx: ExecutionContext, caller: ExecutionContext) -> Next:
        """The SPMC has heard that its PE goes off: it lets it, or knows no such message."""
        x = ctx.x
        function = x[0] & MASK32
        if function != fid.FFA_ERROR:
            if not _is_response(x, PSCI_RESPONSE):
                why = f"{fid.function_name(function)} answers the message that a PE goes off"
                return self._died(pe, ctx, why)
            if x[3] & MASK32:
                self._callers[pe.index] = None
                self._rest(ctx)
                self.monitor.to_normal(pe)
                caller.x[0] = psci.Return.DENIED.register64
                return self.monitor.answered(pe, caller)
        return self._powered_down(pe, ctx)

    def _answer_version(self, x: list[int], answer: list[int]) -> None:
        """The SPMC's answer to the framework message is that to FFA_VERSION."""
        if _is_response(x, VERSION_RESPONSE):
            answer[:_SHORT] = [x[3] & MASK32, *[0] * (_SHORT - 1)]
        else:
            reply.no_version(answer)

    def _gone(self, x: list[int]) -> None:
        """There is no SPMC any more to answer the call in ``x``."""
        if x[0] & MASK32 == fid.FFA_VERSION:
            reply.no_version(x)
        else:
            reply.error(x, Status.ABORTED)


def _is_response(x: list[int], message: int) -> bool:
    """Whether an SPMC answers with this framework message."""
    framework = FRAMEWORK_MESSAGE | FRAMEWORK_ID_MASK
    responds = x[0] & MASK32 == fid.FFA_MSG_SEND_DIRECT_RESP_32
    return responds and x[2] & framework == FRAMEWORK_MESSAGE | message


def _version(_spmd: Spmd, x: list[int]) -> None:
    x[:_SHORT] = [_VERSION_1_2, *[0] * (_SHORT - 1)]


def _features(_spmd: Spmd, x: list[int]) -> None:
    """All that the SPMC asks for is there, says TF-A's SPMD."""
    x[0] = fid.FFA_SUCCESS_32


def _id_get(spmd: Spmd, x: list[int]) -> None:
    reply.success(x, spmd.spmc_id)


def _spm_id_get(_spmd: Spmd, x: list[int]) -> None:
    reply.success(x, SPMD_ID)


def _register_secondary(spmd: Spmd, x: list[int]) -> None:
    if any(ipa <= x[1] < ipa + pages * PAGE for ipa, pages in spmd.partition.memory):
        spmd.secondary_entry = x[1]
        reply.success64(x)
    else:
        reply.error(x, Status.INVALID_PARAMETERS)


_LOCAL: dict[int, Callable[[Spmd, list[int]], None]] = {
    fid.FFA_VERSION: _version,
    fid.FFA_FEATURES: _features,
    fid.FFA_ID_GET: _id_get,
    fid.FFA_SPM_ID_GET: _spm_id_get,
    fid.FFA_SECONDARY_EP_REGISTER_64: _register_secondary,
}
"""What EL3 answers its SPMC."""
