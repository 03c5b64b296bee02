"""Boards: what a machine has, apart from the software on it, in a file of its own.

A board is a TOML file with [gic], [[memory]], [[device]], [monitor] and the PEs of a system file.
Some come with ffabric, and have names. What a system says itself is laid over its board: its tables
join those of the board, a device takes the place of one of the same name, a bank of memory that of
every bank it overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ffabric.system.options.problems import Problems, did_you_mean
from ffabric.system.spec import MemoryBank

FOLDER = Path(__file__).parents[1] / "boards"
KEYS = frozenset({"pes", "mpidrs", "cpu", "cpu_features"})
TABLES = frozenset({"gic", "monitor"})
ARRAYS = frozenset({"memory", "device"})


def names() -> list[str]:
    """The boards that come with ffabric."""
    return sorted(each.stem for each in FOLDER.glob("*.toml"))


def find_board(name: str, folder: Path, problems: Problems) -> Path | None:
    """The file of a board: a path relative to ``folder`` if it ends in .toml, else a name."""
    if name.endswith(".toml"):
        return folder / name
    if name in names():
        return FOLDER / f"{name}.toml"
    known = f"{', '.join(names())}, or a path that ends in .toml"
    problems.add("", "board", f"{name!r} is not one of {known}{did_you_mean(name, names())}")
    return None


def lay_over(system: dict[str, Any], board: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """A system file's tables on those of its board, but for the memory, which `joined` does."""
    for key in sorted(board.keys() - KEYS - TABLES - ARRAYS):
        problems.add("", key, f"no board has it: only {', '.join(sorted(KEYS | TABLES | ARRAYS))}")
    found = {key: board[key] for key in KEYS & board.keys()} | system
    for key in TABLES & board.keys():
        own = system.get(key, {})
        both = isinstance(own, dict) and isinstance(board[key], dict)
        found[key] = {**board[key], **own} if both else system.get(key, board[key])
    own, others = system.get("device", []), board.get("device", [])
    if isinstance(own, list) and isinstance(others, list):
        taken = {each.get("name") for each in own if isinstance(each, dict)}
        found["device"] = [*own, *(each for each in others if _name(each) not in taken)]
    return found


def _name(table: object) -> object:
    return table.get("name") if isinstance(table, dict) else None


def joined(*layers: Iterable[MemoryBank]) -> tuple[MemoryBank, ...]:
    """Banks of several descriptions: one that overlaps a bank of a layer before it is left out."""
    found: list[MemoryBank] = []
    for layer in layers:
        before = [*found]
        found += [
            bank
            for bank in layer
            if not any(bank.base < each.end and each.base < bank.end for each in before)
        ]
    return tuple(found)
