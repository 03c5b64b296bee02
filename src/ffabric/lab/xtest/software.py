"""What runs beside the kernel, out of Debian's packages: OP-TEE, xtest and what xtest needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ffabric.lab.linux import kernel
from ffabric.lab.linux.apt import Apt, Fields, Suite
from ffabric.lab.linux.cpio import Entry
from ffabric.lab.linux.deb import PackageError, entries, files
from ffabric.lab.linux.kept import keep, load, made, stamp
from ffabric.lab.linux.kernel import Kernel
from ffabric.lab.linux.packages import Folder, Packages, Say, closure, locked

OPTEE = "optee-os"
TOOLS = ("optee-test-qemu", "tee-supplicant")
SUITES = ("unstable", "testing")
"""Of a suite, all packages are taken, so that programs and libraries fit."""

_KEPT = "xtest.msgpack"
_IMAGE = re.compile(r"/vexpress-qemu_armv8a-virtualized/tee-pager_v2\.bin$")
_CASES = re.compile(rb"\bregression_(\d{4})(?!\.c)")  # not the names of its sources
_WANTED = re.compile(
    r"^(usr/)?("
    r"lib/(aarch64-linux-gnu/)?[^/]+\.so[^/]*"
    r"|s?bin/(xtest|tee-supplicant)"
    r"|lib/optee_armtz/[^/]+\.ta"
    r"|lib/tee-supplicant/plugins/[^/]+\.plugin"
    r")$"
)


class Software(msgspec.Struct, frozen=True):
    """OP-TEE's image, the files of the VMs with paths below "usr", and the packages they are of."""

    optee: bytes
    entries: tuple[Entry, ...]
    packages: tuple[str, ...]

    @property
    def cases(self) -> list[str]:
        """The numbers of xtest's regression suite, in order."""
        programs = (each.data for each in self.entries if each.path.endswith("/xtest"))
        found = {number for program in programs for number in _CASES.findall(program)}
        return sorted(number.decode() for number in found)


def kept(cache: Path) -> Software | None:
    """What was found before, if it was."""
    return load(cache / _KEPT, Software)


def cached(cache: Path, say: Say, *, refresh: bool = False) -> Software:
    """What was found before; ``refresh``, or if there is nothing: see `from_sources`."""
    found = None if refresh else kept(cache)
    if found is None:
        found = made(cache / _KEPT, Software, lambda: from_sources(cache, say), say)
    say(f"{found.packages[0]} and {len(found.packages) - 1} more packages, in {cache}")
    return found


def with_kernel(cache: Path, say: Say, *, refresh: bool = False) -> tuple[Kernel, Software]:
    """The kernel, too: if neither was found before, all packages are looked for and got at once.

    Who has waited for somebody else who did that takes what came of it.
    """
    kernels, own = cache / kernel.KEPT, cache / _KEPT
    if refresh or not (kernels.is_file() or own.is_file()):
        before = stamp(kernels), stamp(own)
        with locked(cache, say):
            if (stamp(kernels), stamp(own)) == before:
                apt = Apt(cache, (*kernel.FIRST_SUITES, SUITES[0]), say)
                apt.fetch([*kernel.plan(apt), *_plan(apt.suite(SUITES[0]))])
                keep(kernels, kernel.from_sources(cache, say, apt))
                keep(own, from_sources(cache, say, apt))
    return kernel.cached(cache, say), cached(cache, say)


def _plan(source: Suite) -> list[Fields]:
    """What `from_sources` will want of the first suite."""
    return [source.fields(name) for name in [OPTEE, *closure(source, TOOLS)]]


def from_sources(cache: Path, say: Say, apt: Apt | None = None) -> Software:
    """The newest that the machine's package sources have."""
    apt = apt or Apt(cache, SUITES[:1], say)
    return apt.first(SUITES, _software)


def from_folder(folder: Path) -> Software:
    """What the packages in ``folder`` have."""
    return _software(Folder(folder))


def _software(source: Packages) -> Software:
    source.fields(OPTEE)  # of all that may be missing, this is named first
    image, *debs = source.get([OPTEE, *closure(source, TOOLS)])
    optee = next((data for _, data in files(image, _IMAGE)), b"")
    if not optee:
        raise PackageError(f"there is no virtualized OP-TEE for QEMU's machine in {image.name}")
    found = {entry.path: entry for deb in debs for entry in _below_usr(deb)}
    _check(found, debs)
    return Software(optee, tuple(found.values()), tuple(deb.name for deb in (image, *debs)))


def _below_usr(deb: Path) -> list[Entry]:
    """Packages from before and after /lib and /usr/lib became one have either path."""
    return [
        msgspec.structs.replace(entry, path=f"usr/{entry.path.removeprefix('usr/')}")
        for entry in entries(deb, _WANTED)
    ]


def _check(found: dict[str, Entry], debs: Sequence[Path]) -> None:
    names = {Path(path).name for path in found}
    for program in ("xtest", "tee-supplicant"):
        if program not in names:
            raise PackageError(f"there is no {program} in {', '.join(deb.name for deb in debs)}")
