"""Why nothing can run: what each execution context of a system waits for.

When the machine has nothing left to do, every context waits for something that does not happen: an
answer, cycles, an interrupt, whoever drives it. `waiting` says of each what that is, in the words
of its state (DEN0077A 1.2, section 4.11 and table 8.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from ffabric.firmware.state.context import Model, State
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.engines.python import PythonRunner
from ffabric.system.spec import TRUSTED_OS

if TYPE_CHECKING:
    from ffabric.firmware.firmware import Firmware
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.system.spec import PartitionSpec

_WITHOUT_END = (State.STARTING, State.BLOCKED, State.PREEMPTED)
_INTERRUPT = "waiting for an interrupt (WFI)"


class Known(Protocol):
    """A partition of a system, see `Endpoint`."""

    spec: PartitionSpec
    partition: Partition

    @property
    def name(self) -> str:
        """Its name."""


class Waiting(Protocol):
    """A system that may have nothing left to do, see `System`."""

    firmware: Firmware

    @property
    def endpoints(self) -> Mapping[str, Known]:
        """Its partitions by name."""


class Wait(msgspec.Struct, frozen=True):
    """What some execution contexts wait for.

    `who` is a partition if all its contexts wait for it, else a list of contexts ("sp1.0, sp1.3").
    `stuck`: it is an SP in its initialisation, so that the system has not even booted. `hangs`:
    what it waits for is an answer, or cycles, which will never come.
    """

    who: str
    what: str
    stuck: bool = False
    hangs: bool = False

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"


def waiting(system: Waiting) -> list[Wait]:
    """What each started execution context waits for, those of a partition that agree together."""
    return [wait for endpoint in system.endpoints.values() for wait in _of(system, endpoint)]


def reason(system: Waiting) -> str:
    """In one line why nothing can run: the SPs that never ended their initialisation, or all."""
    found = waiting(system)
    return "; ".join(map(str, [wait for wait in found if wait.stuck] or found))


def _of(system: Waiting, endpoint: Known) -> list[Wait]:
    contexts: dict[str, list[ExecutionContext]] = {}
    for ctx in endpoint.partition.contexts:
        if what := _what(system, endpoint, ctx):
            contexts.setdefault(what, []).append(ctx)
    return [
        Wait(
            endpoint.name if len(contexts) == 1 else ", ".join(ctx.name for ctx in same),
            what,
            stuck=any(ctx.model is Model.SP_INIT and not _driven(ctx) for ctx in same),
            hangs=any(ctx.state in _WITHOUT_END for ctx in same),
        )
        for what, same in contexts.items()
    ]


def _what(system: Waiting, endpoint: Known, ctx: ExecutionContext) -> str:
    """What a context waits for; nothing if it is a secondary vCPU that is off."""
    if not endpoint.partition.alive:
        return f"no longer alive: {endpoint.partition.fate}"
    if endpoint.spec.kind == TRUSTED_OS or ctx.partition.stage2 is None:
        return _below_monitor(system, ctx)
    return _STATES[ctx.state](system, ctx)


def _below_monitor(system: Waiting, ctx: ExecutionContext) -> str:
    """The kernel and the trusted OS have no partition manager that keeps their states."""
    pe = ctx.pe
    if pe is None or not pe.on:
        return ""
    if pe.current is ctx:
        return _idle(ctx)
    return _answer_of(system, ctx) if not ctx.secure else "waiting to be called"


def _off(_system: Waiting, ctx: ExecutionContext) -> str:
    return "" if ctx.index else "not started"


def _starting(_system: Waiting, ctx: ExecutionContext) -> str:
    return f"{_idle(ctx)} in its initialisation, and it has never called FFA_MSG_WAIT"


def _running(system: Waiting, ctx: ExecutionContext) -> str:
    if ctx.model is Model.SP_INIT:
        return _starting(system, ctx)
    requester = ctx.caller
    if requester is None:
        return _idle(ctx)
    whom = requester.name if requester.gate is None else "the normal world"
    return f"{_idle(ctx)}, while {whom} waits for it"


def _blocked(system: Waiting, ctx: ExecutionContext) -> str:
    if ctx.yielded:
        return "waiting for cycles: it has yielded (FFA_YIELD), and nobody runs it (FFA_RUN)"
    return _answer_of(system, ctx)


def _answer_of(system: Waiting, ctx: ExecutionContext) -> str:
    callee = ctx.callee
    if callee is None and ctx.pe is not None and not ctx.secure:
        callee = system.firmware.spmc.gates[ctx.pe.index].callee
    return f"waiting for {'the other world' if callee is None else callee.name}"


def _idle(ctx: ExecutionContext) -> str:
    """What software that has its vCPU does with it."""
    if _driven(ctx):
        return "driven from outside: its next call is awaited"
    if isinstance(ctx.runner, PythonRunner) and ctx.runner.ended:
        return "idle: its program has returned"
    return _INTERRUPT


def _driven(ctx: ExecutionContext) -> bool:
    return isinstance(ctx.runner, DrivenRunner)


_STATES: dict[State, Callable[[Waiting, ExecutionContext], str]] = {
    State.OFF: _off,
    State.STARTING: _starting,
    State.WAITING: lambda _system, _ctx: "waiting for a message (FFA_MSG_WAIT)",
    State.RUNNING: _running,
    State.BLOCKED: _blocked,
    State.PREEMPTED: lambda _system, _ctx: "waiting for cycles: preempted, and nobody runs it",
    State.ABORTED: lambda _system, ctx: f"no longer alive: {ctx.partition.fate}",
}
