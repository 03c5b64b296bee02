"""The devicetree that firmware hands to software which looks for memory there."""

from __future__ import annotations

from collections.abc import Sequence

from ffabric.system.files.dtb import Node, build_dtb, cells, texts, wide
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
            {"device_type": texts("memory"), "reg": wide(base, end - base)},
        )
        for base, end in runs
    ]
    properties = {
        "#address-cells": cells(2),
        "#size-cells": cells(2),
        "compatible": texts("linux,dummy-virt"),
    }
    return build_dtb(Node("", properties, nodes))
