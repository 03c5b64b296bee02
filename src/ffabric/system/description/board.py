"""Boards: what a machine has, apart from the software on it, in a file of its own.

A board is a TOML file with [gic], [[memory]], [[device]], [monitor] and the PEs of a system file.
Some come with ffabric, and have names. What a system says itself is laid over its board: its tables
join those of the board, a device takes the place of one of the same name, a bank of memory that of
every bank it overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def sound(board: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """What a board can have of what its file says; all else is noted."""
    known = KEYS | TABLES | ARRAYS
    found = {}
    for key, value in board.items():
        if key not in known:
            hint = did_you_mean(key, known)
            problems.add("", key, f"no board has it: only {', '.join(sorted(known))}{hint}")
        elif key in TABLES and not isinstance(value, dict):
            problems.add("", key, f"expected a table: [{key}]")
        elif key in ARRAYS and not _is_array(value):
            problems.add("", key, f"expected tables: [[{key}]]")
        else:
            found[key] = value
    return found


def lay_over(system: dict[str, Any], board: dict[str, Any]) -> dict[str, Any]:
    """A system file's tables on those of its board, but for the memory, which `joined` does."""
    found = {key: board[key] for key in KEYS & board.keys()} | system
    for key in TABLES & board.keys():
        found[key] = _over(system.get(key, {}), board[key])
    if _is_array(own := system.get("device", [])):
        taken = {_name(each) for each in own}
        others = (each for each in board.get("device", []) if _name(each) not in taken)
        found["device"] = [*own, *({"name": _name(each), **each} for each in others)]
    return found


def brought(system: dict[str, Any], board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a system has from its board, as problems name it: a table and a key, or "" for all."""
    yield from (("", key) for key in KEYS & board.keys() - system.keys())
    for name in TABLES:
        for path, table in _paths(name, board.get(name)):
            own = dict(_paths(name, system.get(name))).get(path, {})
            yield from ((f"[{path}]", key) for key in table.keys() - own.keys())
    for name in ARRAYS:
        own_tables = {each for each, _ in _array(name, system)}
        yield from ((each, "") for each, _ in _array(name, board) if each not in own_tables)


def _is_array(value: object) -> bool:
    """Whether a value is an array of tables."""
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _over(own: Any, board: dict[str, Any]) -> Any:
    """A table of the system over one of the board, and so are the tables in them."""
    if not isinstance(own, dict):
        return own
    below = {
        key: _over(own[key], board[key])
        for key in own.keys() & board.keys()
        if isinstance(board[key], dict)
    }
    return {**board, **own, **below}


def _paths(name: str, table: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """A table and those in it, with their paths."""
    if isinstance(table, dict):
        yield name, table
        for key, below in table.items():
            yield from _paths(f"{name}.{key}", below)


def _array(name: str, root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables of an array with what problems call each, by its name and by its number."""
    tables = root.get(name, [])
    for number, table in enumerate(tables if _is_array(tables) else []):
        if (named := _name(table)) is None:
            yield f"[[{name}]] #{number + 1}", table
        yield f"[[{name}]] {named or f'{name}{number}'}", table


def _name(table: dict[str, Any]) -> object:
    """A device's name, or a bank's."""
    return table.get("name") or table.get("type")


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
