"""``ffabric xtest``: OP-TEE's own tests in two Linux VMs that share one real OP-TEE."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from ffabric.cli import optees
from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.regression import check_cases, regression
from ffabric.cli.terminal import Progress, Terminal
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.xtest.campaign import CASES
from ffabric.lab.xtest.optee import Engine
from ffabric.lab.xtest.system import MAX_VMS, below_el3
from ffabric.machine.engines.qemu.process import check_program
from ffabric.system.spec import QEMU

LOG = Path("xtest.console.log")
"""Where the consoles go if something failed."""


def xtest(
    *cases: str,
    vms: int = MAX_VMS,
    kill: bool = True,
    folder: Annotated[Path | None, Option(name="--packages")] = None,
    refresh: bool = False,
    trace: Path | None = None,
    timeout: float = 300,
    console: bool = False,
    op_tee_engine: Engine = QEMU,
) -> int:
    """Run OP-TEE's xtest in Linux VMs at the same time, which share one virtualized OP-TEE.

    Kernel, OP-TEE, xtest and tee-supplicant come from this machine's Debian package sources, once.
    Then a VM is killed in the middle of a case, the other goes on, and a third one comes that lists
    a page of somebody else as its own. Exit status 1 if a case fails or the page is not refused.

    Parameters
    ----------
    cases
        Numbers of cases of the regression suite; 1001 to 1005 and 6001 if there are none.
    vms
        How many VMs run them, 1 or 2.
    kill
        Kill the last of several VMs afterwards.
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
    op_tee_engine
        What executes OP-TEE: a QEMU of its own, or Unicorn, beside the firmware.
    """
    if not 0 < vms <= MAX_VMS:
        raise UsageError(f"--vms {vms}: Debian's OP-TEE has room for {MAX_VMS}")
    check_cases(cases)
    terminal = Terminal(sys.stdout)
    progress = Progress(terminal)
    try:
        kernel, software = optees.kernel_and_tests(folder, progress, refresh=refresh)
    except PackageError as error:
        raise UsageError(str(error)) from None
    check_program()
    names = [f"vm{number}" for number in range(1, vms + 1)]
    spec = below_el3(kernel, software, names, engine=op_tee_engine)
    progress.say(f"booting OP-TEE and {vms} VMs with Linux {kernel.release}")
    return regression(
        spec,
        cases or CASES,
        kill=kill and vms > 1,
        terminal=terminal,
        progress=progress,
        trace=trace,
        timeout=timeout,
        shown=(lambda _name, _line: True) if console else None,
        log=LOG,
    )
