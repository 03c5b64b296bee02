"""What the registers of a call may not hold, by version: a table for each call."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from docutils import nodes

from ffabric.abi.ffa.functions import Function
from ffabric.abi.ffa.registers import REGISTERS_32
from ffabric.abi.ffa.reserved import judged
from ffabric.abi.ffa.version import VERSIONS, format_version
from ffabric.abi.words import MASK32
from ffabric_docs import markup


def table(functions: list[Function]) -> nodes.table | None:
    """The reserved bits of a call, of one or two widths, with a column for each version.

    Registers in a row that are alike in all versions are one line. Where both widths are there,
    bits are those of the w register; what reaches its bit 31 reaches bit 63 of the x register.
    """
    versions = [version for version in VERSIONS if functions[0].defined_in(version)]
    cells = {
        register: tuple(_cell(functions, version, register) for version in versions)
        for register in range(1, REGISTERS_32 + 1)
    }
    rows = []
    for kinds, group in groupby(cells, cells.__getitem__):
        if any(kinds):
            registers = [*group]
            rows.append((_names(functions, registers[0], registers[-1]), *kinds))
    head = ("Reserved", *(f"v{format_version(version)}" for version in versions))
    return markup.table(head, rows, "ffa-reserved") if rows else None


def _names(functions: list[Function], first: int, last: int) -> str:
    letters = ["x" if function.is_64 else "w" for function in functions]
    spans = [f"{each}{first}" + (f"-{each}{last}" if last > first else "") for each in letters]
    return " or ".join(f"`{span}`" for span in spans)


def _cell(functions: list[Function], version: int, register: int) -> str:
    """What is reserved in a register: "MBZ", or "SBZ 31:16", or several of these."""
    function = next(each for each in functions if each.defined_in(version))
    everywhere = judged(function.id, version, virtual=False)
    masks: dict[tuple[str, bool], int] = {}
    for each in judged(function.id, version, virtual=True):
        if each.register == register:
            key = each.rule, each not in everywhere
            masks[key] = masks.get(key, 0) | each.mask
    parts = (
        (kind, " and ".join(_bits(mask)), "at virtual instances" * virtual)
        for (kind, virtual), mask in masks.items()
    )
    return ", ".join(" ".join(filter(None, each)) for each in parts)


def _bits(mask: int) -> Iterator[str]:
    """Runs of bits, the highest first; nothing for a whole register."""
    while mask & (mask + 1) or mask < MASK32:
        if not mask:
            return
        high = low = mask.bit_length() - 1
        while low and mask >> low - 1 & 1:
            low -= 1
        yield f"{high}:{low}" if high > low else f"{low}"
        mask &= (1 << low) - 1
