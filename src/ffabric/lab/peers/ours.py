"""The payloads above our own firmware."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ffabric.lab.peers.payload import KERNEL, UART, VMS

_VMS = """
primary_vm = "client"

[[vm]]
name = "client"
id = 1
image = "payload.bin"

[[vm]]
name = "server"
id = 2
image = "payload.bin"
"""

_KERNEL = f"""
hypervisor = false

[[vm]]
name = "kernel"
image = "payload.bin"

[[device]]
type = "pl011"
name = "uart"
base = {UART:#x}
"""


def vms(counts: Sequence[int], folder: Path) -> list[str]:
    """What runs the VMs; files that it takes go into ``folder``."""
    return _run(_VMS, VMS.image(counts), folder)


def kernel(counts: Sequence[int], folder: Path) -> list[str]:
    """What runs the kernel; files that it takes go into ``folder``."""
    return _run(_KERNEL, KERNEL.image(counts, UART), folder)


def _run(system: str, image: bytes, folder: Path) -> list[str]:
    (folder / "payload.bin").write_bytes(image)
    path = folder / "payload.toml"
    path.write_text(system)
    return [sys.executable, "-P", "-u", "-m", "ffabric.cli.main", "run", str(path)]
