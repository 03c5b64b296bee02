"""The OP-TEE that a command line names, and the tests of OP-TEE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ffabric.cli.errors import UsageError
from ffabric.lab.linux import kernel as kernels
from ffabric.lab.linux import packages
from ffabric.lab.optee.build import Build, BuildError, read_build
from ffabric.lab.xtest import software as programs
from ffabric.lab.xtest.optee import Engine, SecureOpTee, built, in_python
from ffabric.system.options.problems import did_you_mean

if TYPE_CHECKING:
    from ffabric.cli.terminal import Progress

PYTHON = "python"
"""The build of OP-TEE that is no build, but the core in Python."""


def find(named: str, vcpus: int, engine: Engine) -> SecureOpTee:
    """The OP-TEE that is ``named``, a build or `PYTHON`, with so many vCPUs. UsageError."""
    if named == PYTHON:
        return in_python(vcpus=vcpus)
    return built(_build(named, vcpus), engine=engine, vcpus=vcpus)


def virtualized(named: str, vms: int, pes: int, engine: Engine) -> tuple[SecureOpTee, int]:
    """The OP-TEE for so many VMs, with a vCPU on each PE; for how many it has room. UsageError."""
    if named == PYTHON:
        return in_python(vcpus=pes, vms=vms), vms
    build = _build(named, pes)
    if not build.guests:
        wanted = "build it with CFG_NS_VIRTUALIZATION=y"
        raise UsageError(f"{named}: an OP-TEE for one client: {wanted}")
    return built(build, engine=engine, vcpus=pes), build.guests


def _build(named: str, vcpus: int) -> Build:
    if hint := "" if Path(named).exists() else did_you_mean(named, [PYTHON]):
        raise UsageError(f"{named}: there is no such file or folder{hint}")
    try:
        build = read_build(Path(named))
    except BuildError as error:
        raise UsageError(str(error)) from None
    if vcpus > build.cores:
        room = f"has room for {build.cores} (CFG_TEE_CORE_NB_CORE)"
        raise UsageError(f"{named}: {vcpus} vCPUs: this OP-TEE {room}")
    return build


def kernel_and_tests(
    folder: Path | None, progress: Progress, *, refresh: bool
) -> tuple[kernels.Kernel, programs.Software]:
    """Find Debian's kernel, too, with one look at the package sources; or PackageError."""
    if folder is not None:
        return kernels.from_folder(folder), programs.from_folder(folder)
    return programs.with_kernel(packages.cache_folder(), progress.say, refresh=refresh)
