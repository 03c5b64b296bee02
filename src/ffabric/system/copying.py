"""A second system in the state of a first one: both go on, and neither knows of the other.

The state of machine and firmware is data, so it is copied as data: registers, call chains, tables,
memory, interrupts, virtual time, the choices made so far. What is no data are the stacks of
whatever executes: the coroutines of a Python partition, an engine's CPU, a process, and the
sequence of SMCs that a hypervisor has under way. A system that has any of these is not copied, and
`CannotCopy` names all of them. Partitions that are driven from outside have none.

The copy has nobody who listens: no tracer, no listener of consoles.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.engines.python import PythonRunner

if TYPE_CHECKING:
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.system import System


class CannotCopy(RuntimeError):  # noqa: N818 - what is so
    """A system was to be copied that has more than data: `reasons`, one for each of it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(f"the system cannot be copied: {'; '.join(reasons)}")
        self.reasons = reasons


def copy_of(system: System) -> System:
    """Another system in the state of `system`; CannotCopy if it has more than data.

    Nothing of it may be executing. Both have to be closed.
    """
    system.check_open()
    reasons = [*_reasons(system)]
    if reasons:
        raise CannotCopy(reasons)
    memo: dict[int, Any] = {}
    _share(system, memo)
    deepcopy(system.machine.memory, memo)
    try:
        other = deepcopy(system, memo)
    except TypeError as error:  # what the standard library says of a generator, a socket, a lock
        raise CannotCopy([str(error)]) from error
    other.listeners = []
    other.machine.keep = None  # from Python 3.14 on copies share what is a function in C
    if system.machine.tracer is not None:
        other.attach(None)
    return other


def _share(system: System, memo: dict[int, Any]) -> None:
    """Let the copy have the same descriptions and records of the past, and nobody who listens."""
    machine = system.machine
    same: list[object] = [system.spec, system.failure, *system.deaths]
    same += [endpoint.spec for endpoint in system.endpoints.values()]
    same += [endpoint.staged for endpoint in system.endpoints.values() if endpoint.staged]
    memo.update({id(each): each for each in same})
    memo.update({id(each): None for each in (machine.tracer, machine.keep, system.heard)})


def _reasons(system: System) -> Iterator[str]:
    for endpoint in system.endpoints.values():
        yield from _stacks(endpoint)
    machine, hypervisor = system.machine, system.firmware.hypervisor
    if machine.outside is not None:
        yield "processes outside execute for it"
    if machine.is_executing:
        yield "it is executing"
    for event in machine.clock.events:
        for each in _functions(event.callback):
            if each.__closure__:
                name = f"{each.__module__}.{each.__qualname__}"
                yield f"{name}, which is due at {event.deadline} ns, refers to what is not copied"
    if hypervisor is not None:
        for pe, cpu in zip(machine.pes, hypervisor.cpus, strict=True):
            if cpu.sequence is not None:
                for_whom = "itself" if cpu.caller is None else cpu.caller.name
                yield f"the hypervisor has SMCs under way on PE {pe.index}, for {for_whom}"
        for vm in hypervisor.eventfds:
            yield f"a VMM serves {hypervisor.partitions[vm].name}"


def _functions(callback: object) -> Iterator[FunctionType]:
    """The functions that `callback` is made of."""
    if isinstance(callback, FunctionType):
        yield callback
    elif isinstance(callback, partial):
        for part in (callback.func, *callback.args, *callback.keywords.values()):
            yield from _functions(part)


def _stacks(endpoint: Endpoint) -> Iterator[str]:
    runners = [ctx.runner for ctx in endpoint.partition.contexts]
    if any(isinstance(runner, PythonRunner) for runner in runners):
        yield f"{endpoint.name} is a Python partition: its coroutines cannot be copied"
    elif not all(isinstance(runner, DrivenRunner) for runner in runners):
        yield f"{endpoint.name} is an image: its engine ({endpoint.spec.engine}) cannot be copied"
