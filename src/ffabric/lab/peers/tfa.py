"""TF-A as the firmware of QEMU's ``virt`` board, with the payload in BL33's place.

The flash that TF-A's build makes for QEMU (``qemu_fw.bios``) is BL1 and behind it a package (TF-A
documentation, "Firmware Design", section "Firmware Image Package (FIP)"), which is made anew with
another BL33. A build with trusted boot would not take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ffabric.abi.errors import DecodeError
from ffabric.lab.peers.payload import KERNEL, UART
from ffabric.machine.engines.qemu.process import PROGRAM
from ffabric.machine.host.process import find
from ffabric.system.files import fip

_MACHINE = "virt,secure=on,virtualization=on,gic-version=3"
_BLOCK = 4096
"""A package begins at a multiple of that."""


def command(flash: Path, counts: Sequence[int], folder: Path) -> list[str]:
    """What runs the kernel above the TF-A in ``flash``; files that it takes go into ``folder``.

    Raises DecodeError if there is no package with a BL33, MissingProgram if there is no QEMU.
    """
    changed = folder / "flash.bin"
    changed.write_bytes(with_bl33(flash.read_bytes(), KERNEL.image(counts, UART)))
    board = ["-machine", _MACHINE, "-cpu", "cortex-a57", "-m", "1024"]
    console = ["-nodefaults", "-display", "none", "-serial", "stdio"]
    return [find(PROGRAM, "qemu-system-arm"), *board, *console, "-bios", str(changed)]


def with_bl33(flash: bytes, image: bytes) -> bytes:
    """The flash with that image as BL33. Raises DecodeError if it has none."""
    at = next((at for at in range(0, len(flash), _BLOCK) if fip.is_fip(flash[at : at + 4])), None)
    if at is None:
        raise DecodeError("flash", 0, len(flash), "no firmware image package in it")
    package = fip.parse_fip(flash[at:])
    if package.find(fip.BL33) is None:
        raise DecodeError("flash", at, fip.BL33, "the firmware image package has none")
    images = {each.uuid: each.data for each in package.entries}
    images |= {each.uuid: image for each in package.entries if each.name == fip.BL33}
    return flash[:at] + fip.build_fip(images, package.flags)
