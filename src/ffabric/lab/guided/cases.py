"""A case: the calls of hostile endpoints in one run of a system, which a file of calls holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from ffabric.lab.calls.lines import Call, Mistake, read_line

MOST = 48
"""The most calls of a case."""


def encode(calls: Iterable[Call]) -> bytes:
    """The calls as `ffabric calls` reads them, one a line."""
    return b"".join(_line(call) + b"\n" for call in calls)


def _line(call: Call) -> bytes:
    said: dict[str, object] = {"endpoint": call.endpoint}
    if call.pe is not None:
        said["pe"] = call.pe
    if call.x is not None:
        said["x"] = [f"{each:#x}" for each in call.x]
    if call.write:
        said["write"] = [[f"{address:#x}", data.hex()] for address, data in call.write]
    return msgspec.json.encode(said)


def decode(text: bytes) -> tuple[list[Call], list[Mistake]]:
    """The calls of a file, and what is wrong with it."""
    calls: list[Call] = []
    wrong: list[Mistake] = []
    for number, line in enumerate(text.splitlines(), 1):
        call, mistakes = read_line(number, line)
        wrong += mistakes
        if call is not None:
            calls.append(call)
    return calls, wrong


def numbered(calls: Iterable[Call]) -> list[Call]:
    """The calls with the lines that they have in a file."""
    return [msgspec.structs.replace(call, line=at) for at, call in enumerate(calls, 1)]


def name_of(text: bytes) -> str:
    """What a case is called: whoever has the same calls has the same name."""
    return hashlib.sha256(text).hexdigest()[:16]
