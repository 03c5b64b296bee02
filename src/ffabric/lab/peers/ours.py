"""The payload for VMs below our own hypervisor."""

from __future__ import annotations

import sys
from pathlib import Path

from ffabric.lab.peers.payload import Counts, image

_SYSTEM = """
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


def command(counts: Counts, folder: Path) -> list[str]:
    """What runs the payload; files that it takes go into ``folder``."""
    (folder / "payload.bin").write_bytes(image(counts))
    system = folder / "payload.toml"
    system.write_text(_SYSTEM)
    return [sys.executable, "-P", "-u", "-m", "ffabric.cli.main", "run", str(system)]
