"""Linux on our monitor and SPMC: the system, the run, and what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.lab.linux import initramfs, pkvm
from ffabric.lab.linux.software import S_EL2
from ffabric.machine.engines.qemu.runner import QemuRunner
from ffabric.system.description.fields import Described
from ffabric.system.description.python import describe, vm
from ffabric.system.spec import QEMU, KernelBoot

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition
    from ffabric.lab.linux.kernel import Kernel
    from ffabric.system.spec import SystemSpec
    from ffabric.system.system import System

NAME = "linux"
MEMORY = 256 << 20
TO_FIRMWARE = "calls answered by the firmware"
TO_SPS = "calls that run an SP"
_RUN_AN_SP = {*fid.DIRECT_REQUESTS, fid.FFA_RUN, fid.FFA_MSG_SEND2}
SILENT = (
    "Linux has made no call of FF-A: its kernel has no driver of it (CONFIG_ARM_FFA_TRANSPORT), "
    "or no module of it was loaded (--module ffa-core.ko)"
)
TICKS_PER_US = 62.5
"""Of the counter that the round trips are measured with."""


def system(
    kernel: Kernel,
    sps: Iterable[Described],
    *,
    cpus: int = 1,
    memory: int = MEMORY,
    shell: bool = False,
    own: initramfs.Own = initramfs.NOTHING,
    vms: Sequence[Described] = (),
    protected: bool = False,
    confined: bool = False,
    spmc: str = S_EL2,
) -> SystemSpec:
    """The system: ``sps`` in the secure world, the kernel as the normal world.

    With ``vms``, or if it is to be ``confined``, there is a hypervisor, and the kernel is a VM,
    with PEs of its own.
    ``protected``: the kernel is a hypervisor itself, entered at EL2 (`pkvm`). ``spmc``: where the
    SPMC runs.
    """
    arguments = f"{initramfs.ARGUMENTS} {initramfs.SHELL}" if shell else initramfs.ARGUMENTS
    if protected:
        arguments = f"{arguments} {pkvm.ARGUMENT}"
    linux = vm(
        NAME,
        image=kernel.image,
        engine=QEMU,
        kernel=KernelBoot(initramfs.build(kernel, own), arguments),
        vcpus=cpus,
        mem_size=memory,
        el=2 if protected else None,
    )
    pes = cpus + len(vms)
    return describe(
        name=NAME,
        sps=sps,
        vms=[linux, *vms],
        hypervisor=confined or bool(vms),
        pes=pes,
        spmc_level=spmc,
    )


def expected(booted: System) -> list[tuple[int, str]]:
    """The partitions that Linux must find: endpoint id and UUID of all but itself."""
    return [
        (each.id, str(uuid))
        for each in booted.endpoints.values()
        if each.name != NAME
        for uuid in each.spec.manifest.uuids
    ]


def speaks_ffa(linux: Partition) -> bool:
    """Whether Linux has made a call of FF-A."""
    made: set[int] = set()
    for ctx in linux.contexts:
        assert isinstance(ctx.runner, QemuRunner)
        made.update(ctx.runner.functions)
    return any(map(fid.is_ffa, made))


def round_trips(linux: Partition) -> dict[str, list[float]]:
    """How long the calls took that Linux made, in microseconds, the shortest first.

    Those that run an SP apart from those that the monitor and the SPMC answer.
    """
    found: dict[str, list[float]] = {}
    for ctx in linux.contexts:
        runner = ctx.runner
        assert isinstance(runner, QemuRunner)
        for function, ticks in zip(runner.functions, runner.round_trips[1:], strict=False):
            what = TO_SPS if function in _RUN_AN_SP else TO_FIRMWARE
            found.setdefault(what, []).append(ticks / TICKS_PER_US)
    return {what: sorted(found[what]) for what in (TO_FIRMWARE, TO_SPS) if what in found}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the ``ordered`` values lie; 0 if there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
