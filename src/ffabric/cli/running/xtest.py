"""``ffabric xtest``: OP-TEE's own tests in Linux VMs that share one OP-TEE."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from ffabric.cli.errors import UsageError, check_number
from ffabric.cli.option import Option
from ffabric.cli.running import optees
from ffabric.cli.running.regression import check_cases, numbers_of, regression
from ffabric.cli.terminal import Progress, Terminal
from ffabric.firmware.hypervisor.optee.rules import CLIENT
from ffabric.firmware.hypervisor.spmc_link.peer import DECLINED
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.xtest import apps
from ffabric.lab.xtest.campaign import Sharing
from ffabric.lab.xtest.forger import FfaForger, SmcForger
from ffabric.lab.xtest.killings import Victim
from ffabric.lab.xtest.optee import Engine, SecureOpTee
from ffabric.lab.xtest.report import CASES
from ffabric.lab.xtest.system import (
    MAX_VMS,
    MEMORY,
    Linuxes,
    as_secure_partition,
    below_el3,
    below_el3_in_python,
)
from ffabric.machine.engines.qemu.mailbox import MAX_CPUS
from ffabric.machine.engines.qemu.process import check_program
from ffabric.machine.limits import PES
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import QEMU

Kill = Literal["vm", "supplicant", "nothing"]
LOG = Path("xtest.console.log")
"""Where the consoles go if something failed."""


def xtest(
    *cases: str,
    over: Literal["smc", "ffa"] = "smc",
    op_tee: str = "",
    op_tee_engine: Engine = QEMU,
    vms: int = MAX_VMS,
    cpus: int = 1,
    pes: int = 0,
    memory: str = str(MEMORY >> 20),
    kill: Kill = "vm",
    lives: int = 0,
    isolation: bool = False,
    folder: Annotated[Path | None, Option(name="--packages")] = None,
    refresh: bool = False,
    trace: Path | None = None,
    timeout: float = 300,
    console: bool = False,
) -> int:
    """Run OP-TEE's xtest in Linux VMs at the same time, which share one virtualized OP-TEE.

    Kernel, OP-TEE, xtest and tee-supplicant come from this machine's Debian package sources, once.
    Then a VM is killed in the middle of a case, the others go on, and another one comes that offers
    a page of somebody else as its own. Exit status 1 if a case fails or the page is not refused.

    Parameters
    ----------
    cases
        Numbers of cases of the regression suite, or ranges such as 4001-4999; 1001 to 1005 and 6001
        if there are none.
    over
        How VMs call OP-TEE: 'smc' with its SMC ABI, below EL3, or 'ffa', as a secure partition.
    op_tee
        With --over ffa: the output folder of a build of OP-TEE for an SPMC at S-EL2 with
        CFG_NS_VIRTUALIZATION=y, or its image. 'python', with either: the core in Python, which has
        room for any number of VMs.
    op_tee_engine
        What executes OP-TEE: a QEMU of its own, or Unicorn, beside the firmware.
    vms
        How many VMs there are. Those for which OP-TEE has no room are to be refused.
    cpus
        How many CPUs each VM has.
    pes
        With --over ffa: how many PEs the VMs share, with a vCPU of OP-TEE on each; as many as a VM
        has CPUs if none are named.
    memory
        How much memory each VM has, in MiB; or of several VMs, with commas between.
    kill
        What is killed of the last VM afterwards, in the middle of a case: itself, if there are
        several, or its tee-supplicant. 'nothing' ends the run when the cases are through.
    lives
        Instead, destroy the last of several VMs and create it anew so many times, while the others
        go on.
    isolation
        Judge at each call that what a VM has in OP-TEE (sessions, memory, threads, RPCs) is nothing
        to the others.
    folder
        Take the packages (kernel, busybox-static, optee-os, optee-test-qemu, tee-supplicant and
        what they depend on, for arm64) from this folder instead.
    refresh
        Look for newer packages than those of the last time.
    trace
        Where to write a trace: every call, answer and refusal.
    timeout
        Seconds after which the run is ended; 0: never.
    console
        Print what all consoles print.
    """
    check_cases(cases)
    sizes = _sizes(memory)
    check_number("--vms", vms, 1)
    check_number("--cpus", cpus, 1, MAX_CPUS)
    check_number("--pes", pes, 0, PES)
    check_number("--lives", lives, 0)
    check_number("--timeout", timeout, 0)
    if over == "ffa" and not op_tee:
        raise UsageError("--over ffa: say with --op-tee which OP-TEE is the secure partition")
    if over == "smc" and pes:
        raise UsageError("--pes: with --over smc each CPU of a VM has a PE of its own")
    if lives and vms == 1:
        raise UsageError("--lives: there has to be another VM, which goes on: say --vms 2")
    in_python = over == "smc" and op_tee == optees.PYTHON
    if over == "smc" and op_tee and not in_python:
        raise UsageError("--op-tee is a secure partition: say --over ffa, too")
    room, pes = vms if in_python else MAX_VMS, pes or cpus
    if over == "ffa":
        optee, room = optees.virtualized(op_tee, vms, pes, op_tee_engine)
    terminal = Terminal(sys.stdout)
    progress = Progress(terminal)
    try:
        kernel, software = optees.kernel_and_tests(folder, progress, refresh=refresh)
        check_program()
        names = [f"vm{number}" for number in range(1, vms + 1)]
        linuxes = Linuxes(kernel, software, names, cpus=cpus, sizes=sizes)
        spec = (
            as_secure_partition(linuxes, optee, pes=pes, hypervisor=True)
            if over == "ffa"
            else below_el3_in_python(linuxes)
            if in_python
            else below_el3(linuxes, software.optee, engine=op_tee_engine)
        )
    except (PackageError, SystemErrors) as error:
        raise UsageError(str(error)) from None
    usual = _usual(optee if over == "ffa" else None, in_python=in_python)
    chosen = numbers_of(cases, software) or usual
    progress.say(f"booting OP-TEE and {vms} VM{'s' * (vms != 1)} with Linux {kernel.release}")
    return regression(
        spec,
        chosen,
        sharing=Sharing(
            room=room,
            refusal=(DECLINED if over == "ffa" else CLIENT).id,
            forger=FfaForger if over == "ffa" else SmcForger,
            kill=_victim(kill, vms, lives),
            lives=lives if vms > 1 else 0,
            anew=linuxes.draft,
        ),
        terminal=terminal,
        progress=progress,
        trace=trace,
        timeout=timeout,
        isolation=isolation,
        shown=(lambda _name, _line: True) if console else None,
        log=LOG,
    )


def _victim(kill: Kill, vms: int, lives: int) -> Victim | None:
    """What is killed: a VM that is alone, or destroyed anyway, is not."""
    if kill == "nothing" or lives or (kill == "vm" and vms == 1):
        return None
    return kill


def _usual(partition: SecureOpTee | None, *, in_python: bool) -> tuple[str, ...]:
    """The cases that are run if none are named."""
    if partition is not None:
        return partition.cases
    return apps.CASES if in_python else CASES


def _sizes(memory: str) -> list[int]:
    """Bytes of RAM of the VMs."""
    words = memory.split(",")
    if not all(word.isdigit() and int(word) for word in words):
        raise UsageError(f"--memory {memory}: numbers of MiB, with commas between")
    return [int(word) << 20 for word in words]
