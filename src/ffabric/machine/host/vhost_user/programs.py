"""The programs of Debian's archive that are vhost-user back ends, and how they are started.

What is not installed is a MissingProgram with the command that installs it. Each function raises
that, and BackEndLost if the program ends at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

from ffabric.machine.host import process
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.host.vhost_user.daemon import LISTENING, SOCKET, Daemon
from ffabric.machine.host.vhost_user.front_end import PATIENCE, FrontEnd

__all__ = [
    "FILE_SYSTEM",
    "FILE_SYSTEM_C",
    "STORAGE",
    "VSOCK",
    "Daemon",
    "FrontEnd",
    "MissingProgram",
    "Program",
    "file_system_daemon",
    "storage_daemon",
    "vsock_daemon",
]


class Program(Struct, frozen=True):
    """A program: where it may be, beside the usual places, and Debian's packages of it."""

    name: str
    packages: str
    paths: tuple[str, ...] = ()
    usual: bool = True
    """Whether it may be in the usual places at all; if not, another program has its name there."""
    releases: str = ""
    """Which releases of Debian have these packages, if not all of them do."""

    def find(self) -> str:
        """Its path; MissingProgram if there is none."""
        for path in self.paths:
            if Path(path).exists():
                return path
        missing = MissingProgram(self.name, self.packages, self.releases)
        if not self.usual:
            raise missing
        try:
            return process.find(self.name, self.packages)
        except MissingProgram:
            raise missing from None


STORAGE: Final = Program("qemu-storage-daemon", "qemu-system-common qemu-utils")
"""In the first of these packages up to Debian 12, then in the second."""
_SINCE_13: Final = "Debian 13 or later"
FILE_SYSTEM: Final = Program(
    "virtiofsd", "virtiofsd", ("/usr/libexec/virtiofsd",), releases=_SINCE_13
)
"""In Rust."""
FILE_SYSTEM_C: Final = Program(
    "virtiofsd",
    "qemu-system-common",
    ("/usr/lib/qemu/virtiofsd",),
    usual=False,
    releases="Debian 12 or earlier",
)
"""In C."""
VSOCK: Final = Program("vhost-device-vsock", "vhost-device-vsock", releases=_SINCE_13)


def storage_daemon(
    image: Path,
    *,
    name: str = "disk",
    read_only: bool = False,
    form: str = "raw",
    patience: float = PATIENCE,
) -> Daemon:
    """qemu-storage-daemon, which serves the image at ``image`` as a block device.

    ``form`` is its format: "raw", or another one of QEMU's, such as "qcow2".
    """
    writable = "off" if read_only else "on"
    path = str(image).replace(",", ",,")
    node = f"driver=file,node-name=file,filename={path},read-only={'on' if read_only else 'off'}"
    export = f"type=vhost-user-blk,id=disk,node-name=disk,writable={writable}"
    command = [
        STORAGE.find(),
        *("--blockdev", node),
        *("--blockdev", f"driver={form},node-name=disk,file=file"),
        *("--export", f"{export},addr.type=fd,addr.str={LISTENING}"),
    ]
    return Daemon(command, name=name, kind=STORAGE.name, patience=patience)


def file_system_daemon(
    folder: Path,
    *,
    name: str = "files",
    program: Program | None = None,
    patience: float = PATIENCE,
) -> Daemon:
    """virtiofsd, which serves the files in ``folder`` (virtio-fs).

    ``program`` is the one in Rust (`FILE_SYSTEM`) or the one in C (`FILE_SYSTEM_C`, which only root
    may run); None: in Rust if it is there, or else in C, as Debian 12 has it.
    """
    path, program = _file_system_program(program)
    if program is FILE_SYSTEM_C:
        command = [path, f"--fd={LISTENING}", "-o", f"source={folder}", "-o", "sandbox=chroot"]
    else:
        command = [path, f"--fd={LISTENING}", f"--shared-dir={folder}", "--sandbox=none"]
    return Daemon(command, name=name, kind=program.name, patience=patience)


def _file_system_program(wanted: Program | None) -> tuple[str, Program]:
    """The path of a virtiofsd, and which one it is. MissingProgram names the first choice."""
    if wanted is not None:
        return wanted.find(), wanted
    try:
        return FILE_SYSTEM.find(), FILE_SYSTEM
    except MissingProgram as missing:
        try:
            return FILE_SYSTEM_C.find(), FILE_SYSTEM_C
        except MissingProgram:
            raise missing from None


def vsock_daemon(
    uds: Path, *, cid: int = 3, name: str = "vsock", patience: float = PATIENCE
) -> Daemon:
    """vhost-device-vsock: a socket device whose guest has ``cid``.

    Connections of the guest to port P of the host go to the Unix socket ``uds``_P; who connects to
    ``uds`` and says "CONNECT P" reaches port P of the guest.
    """
    vm = f"guest-cid={cid},socket={SOCKET},uds-path={uds}"
    return Daemon([VSOCK.find(), "--vm", vm], name=name, kind=VSOCK.name, patience=patience)
