"""Debian's kernel for arm64, and what else an initial file system needs, out of their packages.

A kernel is found through its meta package: that depends on the image of today, which is in one
package or in several (image, binary, modules). A kernel is of use here if the driver of FF-A is one
of its modules; the older ones have none, so the suites are tried in turn.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ffabric.lab.linux.apt import OWN_SUITE, Apt, Fields, Suite
from ffabric.lab.linux.deb import PackageError, dependencies, files
from ffabric.lab.linux.kept import load, made
from ffabric.lab.linux.packages import Folder, NoSuchPackage, Packages, Say
from ffabric.system.files.reading import size_text

META = "linux-image-cloud-arm64"
BUSYBOX = "busybox-static"
KERNEL_SUITES = ("stable-backports", "testing", "unstable")
TOOL_SUITES = (OWN_SUITE, "stable")
FIRST_SUITES = (TOOL_SUITES[0], KERNEL_SUITES[0])
"""Where most machines find all that they need."""
FFA = ("ffa-core", "ffa-module")
"""The modules of the FF-A driver, in the order in which they are loaded."""
TEE = ("tee", "optee")
"""Those of the OP-TEE driver."""

_MOST_OF_A_MODULE = 64 << 20
KEPT = "kernel.msgpack"
"""The file of what was found before."""
_OF_A_KERNEL = re.compile(r"^linux-(image|binary|modules|main-modules)-")
_RELEASE = re.compile(r"lib/modules/([^/]+)/")
_VMLINUZ = re.compile(r"(^|/)vmlinuz(-[^/]+)?$")
_MODULE = re.compile(rf"/({'|'.join((*FFA, *TEE))})\.ko(\.[a-z]+)?$")
_PACKED = re.compile(r"\.ko(\.\w+)$")
_BUSYBOX = re.compile(r"(^|/)bin/busybox$")


class Kernel(msgspec.Struct, frozen=True):
    """A kernel: its release, its image, its modules by name; a static busybox; all packages."""

    release: str
    image: bytes
    modules: dict[str, bytes]
    busybox: bytes
    packages: tuple[str, ...]


def kept(cache: Path) -> Kernel | None:
    """The kernel that was found before, if one was."""
    return load(cache / KEPT, Kernel)


def cached(cache: Path, say: Say, *, refresh: bool = False) -> Kernel:
    """The kernel that was found before; ``refresh``, or if there is none: see `from_sources`."""
    found = None if refresh else kept(cache)
    if found is not None:
        say(f"kernel {found.release}, from {cache}")
        return found
    kernel = made(cache / KEPT, Kernel, lambda: from_sources(cache, say), say)
    say(f"kernel {kernel.release}, from Debian's packages")
    return kernel


def from_folder(folder: Path) -> Kernel:
    """The kernel whose packages lie in ``folder``."""
    packages = Folder(folder)
    names = [name for name in packages.names if _OF_A_KERNEL.match(name)]
    if not names:
        raise NoSuchPackage("linux-image-* (or linux-binary-* and linux-modules-*)", str(folder))
    return _kernel(packages.get(names), *packages.get([BUSYBOX]))


def plan(apt: Apt) -> list[Fields]:
    """What `from_sources` will want of the first suite that has a kernel."""
    suite = _with(META, apt, KERNEL_SUITES)
    return [
        _with(BUSYBOX, apt, TOOL_SUITES).fields(BUSYBOX),
        *(suite.fields(name) for name in _parts(suite)),
    ]


def from_sources(cache: Path, say: Say, apt: Apt | None = None) -> Kernel:
    """The newest kernel with FF-A that the machine's package sources have."""
    apt = apt or Apt(cache, FIRST_SUITES, say)
    tool = _with(BUSYBOX, apt, TOOL_SUITES).fields(BUSYBOX)

    def of(suite: Suite) -> Kernel:
        busybox, *debs = apt.fetch([tool, *(suite.fields(each) for each in _parts(suite))])
        return _kernel(debs, busybox)

    return apt.first(KERNEL_SUITES, of)


def _with(name: str, apt: Apt, suites: Sequence[str]) -> Suite:
    """The first of ``suites`` that has a package; the list of another one is read if none has."""
    for each in suites[:-1]:
        with suppress(NoSuchPackage):
            apt.suite(each).fields(name)
            return apt.suite(each)
    return apt.suite(suites[-1])


def _parts(packages: Packages) -> list[str]:
    """The packages of the kernel that the meta package depends on."""
    parts = []
    waiting = _related(packages, META)
    while waiting:
        name = waiting.pop(0)
        if name not in parts:
            parts.append(name)
            waiting += _related(packages, name)
    return parts


def _related(packages: Packages, name: str) -> list[str]:
    return [each for each in dependencies(packages.fields(name)) if _OF_A_KERNEL.match(each)]


def _kernel(debs: Sequence[Path], busybox: Path) -> Kernel:
    image, release = b"", ""
    modules: dict[str, bytes] = {}
    wanted = re.compile(f"{_VMLINUZ.pattern}|{_MODULE.pattern}")
    for deb in debs:
        for path, data in files(deb, wanted):
            if found := _MODULE.search(path):
                modules[found[1]] = decompress(path, data)
            else:
                image = data
            if where := _RELEASE.search(path):
                release = where[1]
    names = ", ".join(deb.name for deb in debs)
    if not image:
        raise PackageError(f"there is no kernel image in {names}")
    for module in FFA:
        if module not in modules:
            raise PackageError(f"the kernel {release} has no FF-A driver ({module}.ko)")
    tool = next((data for _, data in files(busybox, _BUSYBOX)), b"")
    if not tool:
        raise PackageError(f"there is no busybox in {busybox.name}")
    return Kernel(release, image, modules, tool, tuple(deb.name for deb in (*debs, busybox)))


def decompress(path: str, data: bytes) -> bytes:
    """A kernel module as busybox loads it, whatever its file is compressed with."""
    found = _PACKED.search(path)
    if found is None:
        return data
    suffix = found[1]
    try:
        if suffix == ".xz":
            return _whole(path, lzma.LZMAFile(io.BytesIO(data)))
        if suffix == ".gz":
            return _whole(path, gzip.GzipFile(fileobj=io.BytesIO(data)))
    except (lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise PackageError(f"{path}: broken: {error}") from None
    raise PackageError(f"{path}: modules compressed as {suffix} cannot be read here")


def _whole(path: str, file: lzma.LZMAFile | gzip.GzipFile) -> bytes:
    content = file.read(_MOST_OF_A_MODULE + 1)
    if len(content) > _MOST_OF_A_MODULE:
        raise PackageError(f"{path}: it expands to more than {size_text(_MOST_OF_A_MODULE)}")
    return content
