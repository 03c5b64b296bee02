"""Which engine executes a context: the only place that knows them all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.engines.python import PythonRunner
from ffabric.system.description.python_target import resolve_program
from ffabric.system.endpoint import Endpoint, Host
from ffabric.system.spec import ImageSource, PythonSource

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.machine.context import Runner
    from ffabric.machine.engines.unicorn.engine import UnicornEngine
    from ffabric.system.spec import PartitionSpec
    from ffabric.system.system import System


PE_FIXED = 1 << 31 | 1 << 24
"""RES1, and MT: the lowest affinity level is threads, as in the cores that Arm's FVPs model."""
VCPU_FIXED = 1 << 31
"""RES1. To an SP its vCPUs are what they are to Hafnium's: numbered, whatever PEs they run on."""


def make_runner(endpoint: Endpoint, ctx: ExecutionContext) -> Runner:
    """The engine's runner for ``ctx``, as the partition's spec names it."""
    return _ENGINES[endpoint.spec.engine](endpoint, ctx)


def make_endpoint(system: System, spec: PartitionSpec, partition: Partition) -> Endpoint:
    """An endpoint of a system, each of its contexts with a runner."""
    endpoint = Endpoint(system, spec, partition)
    for ctx in partition.contexts:
        ctx.runner = make_runner(endpoint, ctx)
    return endpoint


def _python(endpoint: Endpoint, ctx: ExecutionContext) -> Runner:
    source = endpoint.spec.source
    assert isinstance(source, PythonSource)
    machine = endpoint.system.machine
    if source.target is None:
        return DrivenRunner(ctx, machine, _startup_calls(endpoint, ctx))
    software = endpoint.software
    if software is None:
        software = endpoint.software = resolve_program(source)
    vcpu = endpoint.vcpu(ctx)

    def program(runner: PythonRunner, entry: int, x0: int) -> Coroutine[int, None, None]:
        if endpoint.spec.el:  # S-EL0 has no vector: FFA_INTERRUPT hands its interrupts over
            runner.on_interrupt = lambda kind: software.vector(vcpu, kind)
        return software.program(vcpu, entry, x0)

    return PythonRunner(ctx, program)


def _startup_calls(endpoint: Endpoint, ctx: ExecutionContext) -> list[tuple[int, ...]]:
    """What an SP that is driven does to be there: its other vCPUs start where the first did."""
    if not endpoint.spec.secure:
        return []
    if ctx.index == 0 and endpoint.spec.vcpus > 1:
        register = (fid.FFA_SECONDARY_EP_REGISTER_64, endpoint.spec.entry)
        return [register, (fid.FFA_MSG_WAIT,)]
    return [(fid.FFA_MSG_WAIT,)]


def _unicorn(endpoint: Endpoint, ctx: ExecutionContext) -> Runner:
    system = endpoint.system
    secure, paravirtual = endpoint.spec.secure, endpoint.partition.paravirtual
    affinity = PE_FIXED | system.machine.pes[ctx.index].mpidr
    if secure or paravirtual:
        affinity = VCPU_FIXED | ctx.index
    if system.unicorn is None:
        system.unicorn = _make_unicorn(system)
    return system.unicorn.runner(
        level=endpoint.spec.el,
        mpidr=affinity,
        secure=secure,
        stage2=endpoint.partition.stage2,
        gic=not paravirtual,
        name=ctx.name,
        symbols=partial(_symbol, endpoint),
    )


def _symbol(endpoint: Endpoint, va: int, pa: int | None) -> str:
    """What of its image a partition has at an address; nothing if the image does not say.

    It may have moved itself: where its bytes are in memory counts, then where it was linked to.
    """
    spec = endpoint.spec
    symbols = spec.source.image.symbols if isinstance(spec.source, ImageSource) else None
    if symbols is None:
        return ""
    for piece in spec.memory:
        if pa is not None and piece.pa <= pa < piece.pa + piece.size:
            return symbols.at_offset(piece.ipa + pa - piece.pa - spec.load_address)
    return symbols.at(va)


def _make_unicorn(system: Host) -> UnicornEngine:
    """The Unicorn engine of a system; needs the extra ``aarch64``."""
    try:
        from ffabric.machine.engines.unicorn.engine import UnicornEngine  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        from ffabric.system.booting.engines.extras import MissingExtra  # noqa: PLC0415 - as above

        raise MissingExtra(error.name or "unicorn", "aarch64") from error
    machine = system.machine
    return UnicornEngine(
        memory=machine.memory,
        bus=machine.bus,
        clock=machine.clock,
        sysreg=system.cpu_registers.access,
        instruction_time=system.spec.instruction_time,
        wedged_after=system.spec.run.wedged_after,
        model=system.spec.cpu,
        features=system.spec.cpu_features,
        on_missing=system.printed,
    )


def _qemu(endpoint: Endpoint, ctx: ExecutionContext) -> Runner:
    from ffabric.system.booting.engines.qemu import make_guest  # noqa: PLC0415 - not on every system

    if endpoint.guest is None:
        endpoint.guest = endpoint.console = make_guest(endpoint)
        listening = endpoint.system.debuggers.get(endpoint.name)
        if listening is not None:
            endpoint.guest.let_debug(listening)
    return endpoint.guest.runner(ctx, endpoint.partition.gic or endpoint.system.machine.gic)


_ENGINES: dict[str, Callable[[Endpoint, ExecutionContext], Runner]] = {
    "python": _python,
    "unicorn": _unicorn,
    "qemu": _qemu,
}
