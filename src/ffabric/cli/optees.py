"""The OP-TEE that a command line names, and the tests of OP-TEE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ffabric.cli.errors import UsageError
from ffabric.lab.linux import kernel as kernels
from ffabric.lab.linux import packages
from ffabric.lab.optee.build import BuildError, read_build
from ffabric.lab.xtest import software as programs
from ffabric.lab.xtest.optee import Engine, SecureOpTee, built, in_python

if TYPE_CHECKING:
    from ffabric.cli.terminal import Progress

PYTHON = "python"
"""The build of OP-TEE that is no build, but the core in Python."""


def find(named: str, vcpus: int, engine: Engine) -> SecureOpTee:
    """The OP-TEE that is ``named``, a build or `PYTHON`, with so many vCPUs. UsageError."""
    if named == PYTHON:
        return in_python(vcpus=vcpus)
    try:
        build = read_build(Path(named))
    except BuildError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    if vcpus > build.cores:
        room = f"{named} has room for {build.cores} (CFG_TEE_CORE_NB_CORE)"
        raise UsageError(f"--cpus {vcpus}: {room}")
    return built(build, engine=engine, vcpus=vcpus)


def kernel_and_tests(
    folder: Path | None, progress: Progress, *, refresh: bool
) -> tuple[kernels.Kernel, programs.Software]:
    """Find Debian's kernel, too, with one look at the package sources; or PackageError."""
    if folder is not None:
        return kernels.from_folder(folder), programs.from_folder(folder)
    return programs.with_kernel(packages.cache_folder(), progress.say, refresh=refresh)
