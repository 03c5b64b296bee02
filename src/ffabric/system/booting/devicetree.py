"""The devicetree that firmware hands to software which looks for memory there."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ffabric.system.files.dtb import Node, build_dtb
from ffabric.system.spec import MemoryBank


def normal_world(banks: Sequence[MemoryBank]) -> bytes:
    """A blob with a memory node for each run of non-secure memory (Devicetree 0.4, 3.4)."""
    runs: list[list[int]] = []
    for bank in sorted((each for each in banks if not each.secure), key=lambda each: each.base):
        if runs and runs[-1][1] == bank.base:
            runs[-1][1] = bank.end
        else:
            runs.append([bank.base, bank.end])
    nodes = [
        Node(
            f"memory@{base:x}",
            {"device_type": b"memory\0", "reg": struct.pack(">QQ", base, end - base)},
        )
        for base, end in runs
    ]
    cells = {"#address-cells": struct.pack(">I", 2), "#size-cells": struct.pack(">I", 2)}
    return build_dtb(Node("", {**cells, "compatible": b"linux,dummy-virt\0"}, nodes))
