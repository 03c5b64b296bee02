"""The [[virtio]] tables of a system's file: devices, and the partitions that have them.

A device is made where the partition is made, from its table as data: the class of the partition
(`ffabric.virtio.DeviceSide`, or one derived from it) gets them as its option ``described``. A
partition that has no table of its own is an SP of that class.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ffabric.system.description.toml.keys import VIRTIO, VIRTIO_TYPES
from ffabric.system.options.keys import TableReader, read
from ffabric.system.options.kinds import PATH
from ffabric.system.options.problems import Problems, did_you_mean

PARTITION: Final = "devices"
"""The partition of a device whose table names none."""
_CLASS = "ffabric.virtio:DeviceSide"


def described_devices(
    tables: Iterable[tuple[str, dict[str, Any]]], folder: Path, problems: Problems
) -> dict[str, list[dict[str, Any]]]:
    """By partition: its devices, each as its table says; every mistake goes to ``problems``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for where, table in tables:
        kind = table.get("type")
        own = VIRTIO_TYPES.get(kind, ()) if isinstance(kind, str) else ()
        values: dict[str, Any] = read(
            TableReader(table, where), (*VIRTIO, *own), problems, also=("options",)
        )
        if "type" in values and kind not in VIRTIO_TYPES:
            names = ", ".join(VIRTIO_TYPES)
            hint = did_you_mean(str(kind), VIRTIO_TYPES)
            problems.add(where, "type", f"{kind!r} is not one of {names}{hint}")
        elif "type" in values:
            options = table.get("options", {})
            if not isinstance(options, dict):
                problems.add(where, "options", "expected a table")
                continue
            for key in own:
                if key.kind is PATH and key.name in values:
                    values[key.name] = str(folder / str(values[key.name]))
            owner = values.pop("partition", PARTITION)
            entry = {"name": kind, "base": str(folder), "options": options, **values}
            found.setdefault(owner, []).append(entry)
    return found


def with_devices(
    sps: list[tuple[str, dict[str, Any]]],
    vms: list[tuple[str, dict[str, Any]]],
    devices: dict[str, list[dict[str, Any]]],
    problems: Problems,
) -> None:
    """Give the tables of partitions their devices; those that are missing are added to ``sps``."""
    left = dict(devices)
    for tables in (sps, vms):
        for index, (where, table) in enumerate(tables):
            own = left.pop(str(table.get("name")), None)
            if own is None:
                continue
            if "python" not in table:
                problems.add(where, "", "only a partition in Python can have [[virtio]] devices")
                continue
            options = table.get("options", {})
            if isinstance(options, dict):
                tables[index] = (where, {**table, "options": {**options, "described": own}})
    for name, own in left.items():
        table = {"name": name, "python": _CLASS, "options": {"described": own}}
        sps.append((f"[[virtio]] partition {name}", table))
