"""Hafnium as the hypervisor of QEMU's ``virt`` board, with the payload for its VMs.

Hafnium finds its manifest and the VMs' images in an archive that is loaded as a Linux initrd: cpio
in the old binary format (Hafnium's documentation, "Hafnium RAM disk" and "Hafnium Manifest").
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from ffabric.abi.ffa.uuids import to_words
from ffabric.abi.ffa.version import V1_1
from ffabric.lab.peers.payload import VMS
from ffabric.machine.engines.qemu.process import PROGRAM
from ffabric.machine.host.process import find
from ffabric.system.files.dtb import Node, build_dtb
from ffabric.system.manifest.manifest import ExceptionLevel, ExecutionState, Messaging

_MACHINE = "virt,virtualization=on,gic-version=3"
_MAGIC = 0o070707
_REGULAR_FILE = 0o100644
_HEADER = struct.Struct("<13H")
_SERVERS_MEMORY = 1 << 20
_SERVICE = UUID("2c1b4f0e-8f5e-4d9c-9a36-6f0f5f1e7a01")


def command(hafnium: Path, counts: Sequence[int], folder: Path) -> list[str]:
    """What runs the payload below the image ``hafnium``; files that it takes go into ``folder``.

    Raises MissingProgram if there is no QEMU.
    """
    initrd = folder / "initrd.img"
    files = {
        "manifest.dtb": manifest(),
        "server.dtb": partition(),
        "payload.bin": VMS.image(counts),
    }
    initrd.write_bytes(archive(files))
    loaded = ["-kernel", str(hafnium), "-initrd", str(initrd)]
    board = ["-machine", _MACHINE, "-cpu", "cortex-a57", "-m", "512"]
    console = ["-nodefaults", "-display", "none", "-serial", "stdio"]
    return [find(PROGRAM, "qemu-system-arm"), *board, *console, *loaded]


def manifest() -> bytes:
    """Two VMs with the same image, of which the first is the primary VM."""
    kernel = {"kernel_filename": b"payload.bin\0"}
    server = {
        "is_ffa_partition": b"",
        "hyp_loaded": b"",
        "fdt_filename": b"server.dtb\0",
        "vcpu_count": _cell(1),
        "mem_size": _cell(_SERVERS_MEMORY),
    }
    vms = [
        Node("vm1", {"debug_name": b"client\0", **kernel}),
        Node("vm2", {"debug_name": b"server\0", **kernel, **server}),
    ]
    return build_dtb(Node(children=[Node("hypervisor", {"compatible": b"hafnium,hafnium\0"}, vms)]))


def partition() -> bytes:
    """The FF-A manifest of the second VM: Hafnium lets no VM without one receive notifications."""
    cells = {
        "ffa-version": V1_1,
        "execution-ctx-count": 1,
        "exception-level": ExceptionLevel.EL1,
        "execution-state": ExecutionState.AARCH64,
        "messaging-method": Messaging.DIRECT_REQ_RECV,
    }
    properties = {name: _cell(value) for name, value in cells.items()}
    uuid = b"".join(map(_cell, to_words(_SERVICE)))
    about = {"compatible": b"arm,ffa-manifest-1.0\0", "uuid": uuid, "notification-support": b""}
    return build_dtb(Node(props={**about, **properties}))


def archive(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive in the old binary format."""
    return b"".join(_entry(name, data) for name, data in {**files, "TRAILER!!!": b""}.items())


def _entry(name: str, data: bytes) -> bytes:
    path = name.encode() + b"\0"
    size = (len(data) >> 16, len(data) & 0xFFFF)
    header = _HEADER.pack(_MAGIC, 0, 0, _REGULAR_FILE, 0, 0, 1, 0, 0, 0, len(path), *size)
    return header + _even(path) + _even(data)


def _even(data: bytes) -> bytes:
    return data + bytes(len(data) & 1)


def _cell(value: int) -> bytes:
    return value.to_bytes(4, "big")
