"""What a user gives to a Linux here: a kernel, modules, files, disks behind virtio-msg."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.generations import GenerationName
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.described import disk_image
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS, CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.lab.linux import cpio
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.linux.initramfs import HOME, SCRIPT, Own
from ffabric.lab.linux.kernel import FFA, TEE, Kernel
from ffabric.lab.linux.modules import Module, in_order, packaged, parse_module, read_kernel
from ffabric.lab.linux.packages import cache_folder
from ffabric.system.files.reading import IMAGE, names_beside, read_bytes
from ffabric.system.options.problems import did_you_mean

_MOST_BYTES: Final = 256 << 20
_FILE: Final = re.compile(r"\.ko(\.[a-z]+)?$")


def own_kernel(path: Path, busybox: Kernel) -> Kernel:
    """The kernel in a file, with the tools of another one. PackageError if it is none."""
    release, image = read_kernel(path)
    return replace(busybox, release=release, image=image, modules={}, packages=())


def own_modules(given: Sequence[str], kernel: Kernel, folder: Path) -> tuple[Module, ...]:
    """The modules that files, and names of modules in the kernel's packages, ask for, in order.

    A file is what has a suffix .ko, compressed or not, or is in a folder that is named.
    What they depend on comes from the packages, which are in ``folder``, too. PackageError with
    what is wrong.
    """
    wanted = [_module(each) if _is_path(each) else each for each in given]
    if not wanted:
        return ()
    debs = [folder / name for name in kernel.packages if name.startswith("linux-")]
    for deb in debs:
        if not deb.exists():
            raise PackageError(f"{deb}: the kernel's package is not there any more: say --refresh")
    loaded = [name.replace("-", "_") for name in (*FFA, *TEE) if name in kernel.modules]
    return tuple(in_order(wanted, kernel.release, packaged(debs), loaded))


def _is_path(module: str) -> bool:
    return "/" in module or bool(_FILE.search(module))


def _module(path: str) -> Module:
    try:
        return parse_module(path, read_bytes(Path(path), IMAGE))
    except FileNotFoundError:
        beside = [name for name in names_beside(Path(path)) if _FILE.search(name)]
        hint = did_you_mean(Path(path).name, beside)
        raise PackageError(f"no such file: {path}{hint}") from None


def own(modules: Sequence[str], files: Path | None, kernel: Kernel, folder: Path | None) -> Own:
    """Modules and files of a user's, for ``kernel``, whose packages are in ``folder``.

    PackageError with what is wrong.
    """
    place = folder or cache_folder() / "packages"
    entries = own_files(files) if files is not None else ()
    return Own(own_modules(modules, kernel, place), entries)


def own_files(folder: Path) -> tuple[cpio.Entry, ...]:
    """What is in a folder, as it is to be in the initial file system. PackageError if too much.

    The script `run` may be executed there, whatever its mode is here.
    """
    if not folder.is_dir():
        raise PackageError(f"{folder}: there is no such folder")
    entries: list[cpio.Entry] = []
    size = 0
    for path in sorted(folder.rglob("*")):
        where = f"{HOME}/{path.relative_to(folder)}"
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            entries.append(cpio.link(where, os.readlink(path)))
        elif stat.S_ISDIR(mode):
            entries.append(cpio.folder(where, mode & 0o7777))
        elif stat.S_ISREG(mode):
            size += path.stat().st_size
            if size > _MOST_BYTES:
                raise PackageError(f"{folder}: more than {_MOST_BYTES >> 20} MiB of files")
            executable = 0o111 if where == f"{HOME}/{SCRIPT}" else 0
            entries.append(cpio.file(where, path.read_bytes(), mode & 0o7777 | executable))
    return tuple(entries)


def disks_side(
    images: Sequence[Path], generation: GenerationName, *, fifo: bool = False
) -> DeviceSide:
    """A device side whose disks are images, to which is written. PackageError if one cannot be.

    With ``fifo`` it offers the FIFO of the bus, too.

    Linux's `arm_ffa` gives indirect messages to the driver that has bound the UUID of device sides,
    which they are addressed to therefore: all of a VM, and events of the older generations.
    """
    try:
        disks = [BlockDevice(disk_image(each, None, write_back=True)) for each in images]
    except ValueError as error:
        raise PackageError(str(error)) from None
    return DeviceSide(
        disks,
        generation=generation,
        answers_to=abi.DEVICE_UUID,
        carriers=ALL_CARRIERS if fifo else CARRIERS,
    )
