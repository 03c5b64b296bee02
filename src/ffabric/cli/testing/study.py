"""``ffabric study``: what a choice costs, counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Final, Literal

import msgspec

from ffabric.cli import json_file
from ffabric.cli.errors import UsageError
from ffabric.cli.json_file import JsonFile
from ffabric.cli.terminal import Terminal
from ffabric.lab.bench import plot as plotting
from ffabric.lab.study import dma as lab
from ffabric.lab.study.dma import Costs, Row
from ffabric.system.options.problems import did_you_mean

_HEADINGS: Final = (
    "bytes", "depth", "mapping", "calls", "switches", "pages", "copied", "reserved",
    "untouched", "µs",
)  # fmt: skip
_SECTOR: Final = 512
_DEEPEST: Final = 32


def study(
    what: Literal["dma"],
    *,
    sizes: tuple[int, ...] = lab.SIZES,
    depths: tuple[int, ...] = lab.DEPTHS,
    costs: Path | None = None,
    plot: Path | None = None,
    json: JsonFile = None,
) -> None:
    """Count what each request costs, by how memory is mapped for a device of the other world.

    A VM reads a disk of a secure partition by virtio-msg over FF-A: with every buffer shared for
    itself (dynamic), with virtqueues shared in advance, and with a pool that the VM's manifest
    reserves (static). Counts are per request, and the same in every run; time is made of them by a
    table of costs.

    Parameters
    ----------
    what
        "dma": the mappings of memory.
    sizes
        Bytes of a request, whole sectors of 512.
    depths
        How many requests are under way at a time.
    costs
        A TOML file with nanoseconds: call, world_switch, page (shared), kib (copied).
    plot
        A file for an SVG: time over size.
    json
        A file for all counts as JSON; "-": standard output, instead of the table.
    """
    del what  # there is one study
    json_file.check(json)
    table = Costs() if costs is None else _read(costs)
    for size in sizes:
        if not 0 < size <= lab.LARGEST or size % _SECTOR:
            raise UsageError(f"a request has whole sectors of 512 bytes, up to 1 MiB, not {size}")
    for depth in depths:
        if not 0 < depth <= _DEEPEST or lab.ROUNDS % depth:
            raise UsageError(f"a depth is a power of 2 up to {_DEEPEST}, not {depth}")
    rows = list(lab.study(sizes, depths, table))
    if plot is not None:
        plot.write_text(plotting.svg(lab.growths(rows), _told(table)), encoding="utf-8")
    if json is not None:
        json_file.write([msgspec.to_builtins(row) for row in rows], json)
    if json == json_file.STDOUT:
        return
    terminal = Terminal(sys.stdout)
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADINGS))]
    for row in cells:
        parts = [
            text.ljust(width) if column == 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        terminal.line("  ".join(parts).rstrip())
    terminal.line(_told(table), "dim")
    for line in lab.verdicts(rows):
        terminal.line(line)


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.calls, row.world_switches, row.pages)
    return (
        f"{row.size:,}", str(row.depth), row.mapping, *(f"{each:.2f}" for each in counts),
        f"{row.copied:,.0f}", f"{row.reserved:,}", f"{row.untouched:,}", f"{row.microseconds:.1f}",
    )  # fmt: skip


def _told(costs: Costs) -> str:
    return (
        f"costs: {costs.call:g} ns a call, {costs.world_switch:g} a world switch, {costs.page:g} a"
        f" page that is shared, {costs.kib:g} a KiB that is copied"
    )


def _read(path: Path) -> Costs:
    try:
        values = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    if wrong := [*_mistakes(values)]:
        raise UsageError(f"{path}: {'; '.join(wrong)}")
    return Costs(**values)


def _mistakes(values: dict[str, object]) -> Iterator[str]:
    costs = Costs.__struct_fields__
    for name, value in values.items():
        if name not in costs:
            yield f"{name} is none of {', '.join(costs)}{did_you_mean(name, costs)}"
        elif not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < inf:
            yield f"{name} is not a number of nanoseconds: {value!r}"
