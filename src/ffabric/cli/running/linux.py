"""``ffabric linux``: Debian's kernel as the normal world, in QEMU, on our monitor and SPMC."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from ffabric.abi.virtio_msg.generations import DEFAULT, GenerationName, as_generation
from ffabric.cli.errors import UsageError, check_number
from ffabric.cli.option import Option
from ffabric.cli.running import optees
from ffabric.cli.running.linux_probe import probe
from ffabric.cli.running.regression import check_cases, numbers_of, regression
from ffabric.cli.terminal import Progress, Terminal
from ffabric.lab.linux import initramfs, packages, run
from ffabric.lab.linux import kernel as kernels
from ffabric.lab.linux import own as owns
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.linux.software import S_EL1, S_EL2, default_software, placed
from ffabric.lab.xtest.optee import Engine
from ffabric.lab.xtest.system import Linuxes, as_secure_partition
from ffabric.machine.engines.qemu.mailbox import MAX_CPUS
from ffabric.machine.engines.qemu.process import check_program
from ffabric.system.description.python_target import TargetError, resolve_program
from ffabric.system.files.writing import named
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import QEMU, PythonSource
from ffabric.system.vcpu import Software

LOG = Path("linux.console.log")
"""Where the console goes if something failed."""
_FOUND = tuple(f"{initramfs.MARK} {key} " for key in ("kernel", "log", "failed"))
"""How lines begin with which the first process says what Linux has found."""


def linux(
    *sps: str,
    cpus: int = 1,
    memory: int = run.MEMORY >> 20,
    op_tee: str = "",
    op_tee_engine: Engine = QEMU,
    cases: str = "",
    protected: Annotated[bool, Option(name="--pkvm", positive=True)] = False,
    guest: Annotated[bool, Option(positive=True)] = False,
    spmc: Literal["s-el2", "s-el1", "el3"] = "s-el2",
    kernel: Path | None = None,
    module: Annotated[list[str] | None, Option(positive=True)] = None,
    files: Path | None = None,
    disk: Annotated[list[Path] | None, Option(positive=True)] = None,
    side: Annotated[Literal["sp", "vm"], Option(name="--from")] = "sp",
    generation: GenerationName = "v2",
    fifo: Annotated[bool, Option(positive=True)] = False,
    folder: Annotated[Path | None, Option(name="--packages")] = None,
    refresh: bool = False,
    shell: bool = False,
    trace: Path | None = None,
    extract: Path | None = None,
    timeout: float = 120,
    gdb: int | None = None,
    quiet: bool = False,
) -> int:
    """Boot Debian's Linux in QEMU as the normal world, and see what its FF-A drivers find.

    Kernel and tools come from this machine's Debian package sources, once. In the secure world run
    the SPs that are named, or else a Python OP-TEE and a plain SP. With an OP-TEE of your own Linux
    runs cases of its tests (xtest), with Debian's tee-supplicant. With a kernel, modules, files or
    disks of your own it runs those, and no OP-TEE. Exit status 1 if Linux does not find what is
    there, or if something fails.

    Parameters
    ----------
    sps
        Secure partitions in Python: 'module:Class' or 'file.py:Class'.
    cpus
        How many CPUs Linux has.
    memory
        How much memory it has, in MiB.
    op_tee
        The output folder of a build of OP-TEE for an SPMC at S-EL2 (CFG_CORE_SEL2_SPMC=y), or its
        image; 'python': the core in Python.
    op_tee_engine
        What executes that build: a QEMU of its own, or Unicorn, beside the firmware.
    cases
        Numbers of cases of xtest's regression suite with commas between, or ranges such as
        4001-4999; if there are none, 1001 to 1005 and 6001, or all that the core in Python passes.
        Only with --op-tee.
    protected
        Linux is a protected hypervisor (pKVM), whose EL2 is between its drivers and the monitor.
    guest
        Linux is a VM of the hypervisor; its VMM raises the interrupts of its notifications.
    spmc
        Where the SPMC runs. At s-el1 and el3 an SP that does not say where it runs is at S-EL0; at
        s-el1 there is no OP-TEE.
    kernel
        A kernel of your own: Image, Image.gz or vmlinuz, for arm64; without Debian's modules.
    module
        A module to load: FILE.ko, or the name of one of Debian's; as often as you like, in order.
        What it depends on is loaded before it.
    files
        Files for Linux, in /root there. A script 'run' among them is executed when all modules are
        loaded; the exit status is 1 if it fails.
    disk
        An image that is a virtio disk behind virtio-msg over FF-A, for a driver of yours; as often
        as you like. What Linux writes reaches the image.
    side
        Where the device side of those disks is: in an SP, or in a VM beside Linux.
    generation
        The generation of virtio-msg that it speaks.
    fifo
        It offers the FIFO of the bus over FF-A, too, which drivers of Linux take before all else.
    folder
        Take the packages (kernel and busybox-static, for arm64) from this folder instead.
    refresh
        Look for a newer kernel than that of the last time.
    shell
        Give a shell on Linux's console before it turns itself off.
    trace
        Where to write a trace: every call, answer and refusal.
    extract
        Only write kernel and initial file system to this folder, for a system's TOML file.
    timeout
        Seconds after which the run is ended; 0: never. A shell or gdb has no limit.
    gdb
        Let gdb debug Linux, at this port of this computer; 0: any port. Nothing runs before it is
        there. An OP-TEE in QEMU is at the port behind it.
    quiet
        Print no lines of Linux's console, only what came out.
    """
    check_number("--cpus", cpus, 1, MAX_CPUS)
    check_number("--memory", memory, 1)
    check_number("--timeout", timeout, 0)
    terminal = Terminal(sys.stdout)
    progress = Progress(terminal)
    asked = _asked_cases(cases, op_tee)
    software = _software(sps)
    optee = optees.find(op_tee, cpus, op_tee_engine) if op_tee else None
    theirs = bool(kernel or module or files or disk)
    if not disk and (side != "sp" or fifo or generation != DEFAULT.name):
        raise UsageError("--from, --generation and --fifo are of disks: say --disk, too")
    if fifo and not as_generation(generation).configures_events:
        raise UsageError(f"--fifo: {generation} has no FIFO")
    if protected and disk and side == "vm":
        raise UsageError("--pkvm: Linux is the hypervisor, and there are no other VMs: --from sp")
    _check_guest(guest, protected=protected, op_tee=op_tee)
    if theirs and optee is not None:
        raise UsageError("--op-tee is for Debian's kernel, without modules, files and disks")
    if spmc != S_EL2 and op_tee:
        raise UsageError(f"--op-tee: such an OP-TEE is below an SPMC at {S_EL2}, not at {spmc}")
    try:
        if optee is not None:
            found, tests = optees.kernel_and_tests(folder, progress, refresh=refresh)
        else:
            found, tests = _kernel(folder, progress, refresh=refresh), None
        if kernel is not None:
            found = owns.own_kernel(kernel, found)
        own = owns.own(module or (), files, found, folder)
        devices = owns.disks_side(disk, generation, fifo=fifo) if disk else None
        if extract is not None:
            _extract(found, own, extract, progress)
            return 0
        check_program()
        if optee is not None and tests is not None:
            linuxes = Linuxes(
                found, tests, [run.NAME], cpus=cpus, sizes=[memory << 20], protected=protected
            )
            spec = as_secure_partition(linuxes, optee, sps=software, pes=cpus)
            chosen = numbers_of(asked, tests) or optee.cases
        else:
            there = [devices] if devices is not None else []
            own_sps = [*software, *(there if side == "sp" else [])]
            spec = run.system(
                found,
                [placed(each, spmc) for each in own_sps]
                or ([] if theirs else default_software(cpus, spmc)),
                cpus=cpus,
                memory=memory << 20,
                shell=shell,
                own=own,
                vms=there if side == "vm" else (),
                protected=protected,
                confined=guest,
                spmc=spmc,
            )
    except (PackageError, SystemErrors) as error:
        raise UsageError(str(error)) from None
    progress.say(
        f"booting Linux {found.release} with {cpus} CPU{'s' * (cpus != 1)} and {memory} MiB"
    )
    timeout = timeout if gdb is None else 0
    if optee is not None and tests is not None:
        return regression(
            spec,
            chosen,
            terminal=terminal,
            progress=progress,
            trace=trace,
            timeout=timeout,
            shown=None if quiet else _is_of_the_boot,
            log=LOG,
            gdb=gdb,
        )
    return probe(
        spec,
        found,
        terminal=terminal,
        progress=progress,
        tee=not sps and not theirs and spmc != S_EL1,
        script=own.has_script,
        devices=devices,
        protected=protected,
        guest=guest,
        shell=shell,
        quiet=quiet,
        trace=trace,
        timeout=timeout,
        log=LOG,
        gdb=gdb,
    )


def _check_guest(guest: bool, *, protected: bool, op_tee: str) -> None:
    """UsageError for what Linux cannot be besides."""
    if guest and protected:
        raise UsageError("--guest: with --pkvm Linux is the hypervisor")
    if guest and op_tee:
        raise UsageError("--guest: VMs that run xtest are those of ffabric xtest --over ffa")


def _asked_cases(cases: str, op_tee: str) -> tuple[str, ...]:
    if not cases:
        return ()
    if not op_tee:
        raise UsageError("--cases are run with an OP-TEE: say --op-tee, too")
    asked = tuple(cases.split(","))
    check_cases(asked)
    return asked


def _is_of_the_boot(name: str, line: str) -> bool:
    """Whether it is OP-TEE's, or what Linux has found, not what xtest prints."""
    return name != run.NAME or line.startswith(_FOUND)


def _kernel(folder: Path | None, progress: Progress, *, refresh: bool) -> kernels.Kernel:
    if folder is not None:
        return kernels.from_folder(folder)
    return kernels.cached(packages.cache_folder(), progress.say, refresh=refresh)


def _software(targets: Sequence[str]) -> list[Software]:
    try:
        return [resolve_program(PythonSource(target, Path())) for target in targets]
    except TargetError as error:
        raise UsageError(str(error)) from None


def _extract(kernel: kernels.Kernel, own: initramfs.Own, folder: Path, progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("vmlinuz", kernel.image), ("initrd", initramfs.build(kernel, own))):
        with named(folder / name):
            (folder / name).write_bytes(data)
        progress.say(f"{folder / name}: {len(data) / 1e6:.1f} MB")
    progress.say(f"bootargs: {initramfs.ARGUMENTS}")
