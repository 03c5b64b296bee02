"""What a system file says of EL3: [monitor], [monitor.calls], [[logical_partition]]."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from ffabric.abi.words import MASK64
from ffabric.firmware.monitor.logical import FIRST_ID
from ffabric.system.description.monitor import CALLS_TABLE
from ffabric.system.description.python_target import TargetError, find_function
from ffabric.system.description.toml.keys import LOGICAL_PARTITION, MONITOR
from ffabric.system.options.keys import TableReader, read
from ffabric.system.options.problems import Problems
from ffabric.system.spec import LogicalSpec, MonitorSpec, PythonSource

CALLS = "calls"
Answer = tuple[int, ...] | PythonSource
"""What a call of EL3 answers: registers from x0 on, or a function's name."""


def read_monitor(
    table: Any, logical: Iterable[tuple[str, dict[str, Any]]], folder: Path, problems: Problems
) -> MonitorSpec:
    """What the tables say; ``folder`` is where Python files are looked for."""
    if not isinstance(table, dict):
        problems.add("", "monitor", "expected a table: [monitor]")
        return MonitorSpec()
    values: dict[str, Any] = read(TableReader(table, "[monitor]"), MONITOR, problems, also=(CALLS,))
    calls = table.get(CALLS, {})
    if not isinstance(calls, dict):
        problems.add("[monitor]", CALLS, f"expected a table: {CALLS_TABLE}")
        calls = {}
    found: dict[int, Answer] = {}
    for name, answer in calls.items():
        function = _number(name, problems)
        if function is None:
            continue
        if function in found:
            problems.add(CALLS_TABLE, name, f"{function:#010x} has an answer already")
        said = _answer(name, answer, folder, problems)
        if said is not None:
            found[function] = said
    partitions: list[LogicalSpec] = []
    for where, each in logical:
        given: dict[str, Any] = read(TableReader(each, where), LOGICAL_PARTITION, problems)
        if {"name", "uuid"} <= given.keys():
            partitions.append(_logical(given, where, partitions, folder, problems))
    return MonitorSpec(
        calls=tuple(found.items()),
        logical_partitions=tuple(partitions),
        **values,
    )


def _logical(
    given: dict[str, Any],
    where: str,
    others: list[LogicalSpec],
    folder: Path,
    problems: Problems,
) -> LogicalSpec:
    uuids: tuple[UUID, ...] = given["uuid"]
    if len(uuids) != 1:
        problems.add(where, "uuid", f"{len(uuids)} UUIDs: it has one")
    following = max([FIRST_ID, *(each.id for each in others)]) + 1
    serve = PythonSource(given["python"], folder) if "python" in given else None
    if serve is not None:
        _is_function(serve, where, "python", problems)
    number = given.get("id", following)
    return LogicalSpec(name=given["name"], uuid=(*uuids, UUID(int=0))[0], id=number, serve=serve)


def _number(name: str, problems: Problems) -> int | None:
    try:
        return int(name, 0)
    except ValueError:
        problems.add(CALLS_TABLE, name, "a key is a function ID, such as 0x82000001")
        return None


def _answer(name: str, answer: Any, folder: Path, problems: Problems) -> Answer | None:
    if isinstance(answer, str):
        origin = problems.origins.get((CALLS_TABLE, name))
        source = PythonSource(answer, Path(origin).parent if origin else folder)
        return source if _is_function(source, CALLS_TABLE, name, problems) else None
    words = answer if isinstance(answer, list) else [answer]
    if not all(type(word) is int and -1 - MASK64 // 2 <= word <= MASK64 for word in words):
        problems.add(CALLS_TABLE, name, "expected x0, a list of x0 and on, or 'module:function'")
        return None
    return tuple(words)


def _is_function(source: PythonSource, where: str, key: str, problems: Problems) -> bool:
    try:
        find_function(source)
    except TargetError as error:
        problems.add(where, key, str(error))
        return False
    return True
