"""The trace: what the firmware did, recorded cheaply and written as JSON lines.

Recording appends a tuple; nothing is decoded or encoded until the trace is flushed. A trace is a
program: its ``call`` lines are what ``ffabric calls`` executes, with the bytes that the call reads
from TX, and its ``choices`` lines are what ``--replay`` feeds to the next run. Numbers are
hexadecimal strings where they are registers or addresses, so that no reader rounds them.

Kinds of line, in the order they can appear::

    header   format, system, seed
    call     endpoint, pe, x, write?        an endpoint makes a call
    hop      endpoint, pe, x                a partition manager passes a call on
    return   endpoint, pe, x                a context resumes with these registers
    refuse   endpoint, pe, rule, section, status, got, expected
    world    pe, to                         the monitor switches worlds
    (others) pe and the fields of an event: share, retrieve, abort, interrupt, vm_destroyed ...
    choices  list                           what the scheduler chose since the last such line
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager.partition import ExecutionContext
from ffabric.firmware.rules import show

if TYPE_CHECKING:
    from ffabric.firmware.rules import Refused
    from ffabric.machine.context import Context
    from ffabric.machine.machine import PE
    from ffabric.system.system import System

FORMAT = 1
BATCH = 1 << 16
"""Records kept in memory before they are written."""

CALL, HOP, RETURN, REFUSE, EVENT = range(5)
_KINDS = ("call", "hop", "return")

Record = tuple[Any, ...]
"""(code, time, PE index or -1, ...): see the methods of :class:`Trace`."""

_READS_FRAGMENT = frozenset(
    {
        fid.FFA_MEM_DONATE_32,
        fid.FFA_MEM_DONATE_64,
        fid.FFA_MEM_LEND_32,
        fid.FFA_MEM_LEND_64,
        fid.FFA_MEM_SHARE_32,
        fid.FFA_MEM_SHARE_64,
        fid.FFA_MEM_RETRIEVE_REQ_32,
        fid.FFA_MEM_RETRIEVE_REQ_64,
    }
)
_RELINQUISH_BYTES = 64
_MESSAGE_HEADER = 20


class Trace:
    """Records what a system does. Attach it with ``system.attach(trace)``; close it at the end.

    ``sink`` is a binary file to write to, None to keep the records in memory.
    """

    def __init__(self, system: System, sink: IO[bytes] | None = None) -> None:
        self.records: list[Record] = []
        self._system = system
        self._clock = system.machine.clock
        self._sink = sink
        self._written = 0
        self._chosen = 0
        self._header = {
            "kind": "header",
            "format": FORMAT,
            "system": system.spec.name,
            "seed": system.machine.choices.seed,
        }

    # What the firmware tells (the Tracer protocol of the partition managers).

    def call(self, pe: PE, ctx: ExecutionContext, x: list[int]) -> None:
        """``ctx`` makes the call in its registers."""
        code = CALL if ctx.gate is None else HOP
        tx = _transmitted(ctx, x) if code == CALL and x[0] & 0xFFFFFFFF in _READS_TX else None
        self.records.append((code, self._clock.now, pe.index, ctx.name, tuple(x), tx))
        if len(self.records) >= BATCH and self._sink is not None:
            self.flush()

    def resume(self, pe: PE, ctx: Context) -> None:
        """``ctx`` runs next, with the registers it holds."""
        self.records.append((RETURN, self._clock.now, pe.index, ctx.name, tuple(ctx.x), None))

    def refused(self, pe: PE, ctx: ExecutionContext, refusal: Refused) -> None:
        """A rule refused the call of ``ctx``."""
        compared = (show(refusal.got), show(refusal.expected))
        self.records.append((REFUSE, self._clock.now, pe.index, ctx.name, refusal.rule, *compared))

    def event(self, pe: PE | None, kind: str, **fields: Any) -> None:
        """Anything else."""
        index = -1 if pe is None else pe.index
        self.records.append((EVENT, self._clock.now, index, kind, fields))

    # Writing.

    def lines(self, records: Iterable[Record]) -> Iterator[dict[str, Any]]:
        """The JSON objects of ``records``."""
        for record in records:
            yield _LINES[record[0]](record)

    def flush(self) -> None:
        """Write the records so far, and the choices that led to them."""
        if self._sink is None:
            return
        encode = msgspec.json.encode
        if not self._written:
            self._sink.write(encode(self._header) + b"\n")
        self._written += len(self.records)
        self._sink.writelines(encode(line) + b"\n" for line in self.lines(self.records))
        self.records.clear()
        log = self._system.machine.choices.log
        if len(log) > self._chosen:
            fresh = log[self._chosen :]
            self._sink.write(encode({"kind": "choices", "list": fresh}) + b"\n")
            self._chosen = len(log)
        self._sink.flush()

    def close(self) -> None:
        """Write the rest."""
        self.flush()


def read_choices(path: Path) -> list[int]:
    """The choices that a trace file records, for a replay.

    Raises ValueError with the line for a file that is no trace.
    """
    choices: list[int] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = msgspec.json.decode(line)
            except msgspec.DecodeError as error:
                raise ValueError(f"{path}:{number}: not a line of a trace: {error}") from None
            if isinstance(found, dict) and found.get("kind") == "choices":
                choices += msgspec.convert(found.get("list"), list[int])
    return choices


def read_seed(path: Path) -> int | None:
    """The seed of the run that a trace file records. Raises ValueError for a file that is none."""
    with path.open("rb") as file:
        try:
            header = msgspec.json.decode(file.readline(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}:1: not a line of a trace: {error}") from None
    if header.get("kind") != "header" or header.get("format") != FORMAT:
        raise ValueError(f"{path}: not a trace of format {FORMAT}")
    seed = header.get("seed")
    return seed if isinstance(seed, int) else None


def registers(x: Iterable[int]) -> list[str]:
    """Registers as hexadecimal strings, without trailing zeros."""
    values = list(x)
    while len(values) > 1 and not values[-1]:
        values.pop()
    return [f"{value:#x}" for value in values]


def split_name(context: str) -> tuple[str, int]:
    """A context's name ("sp1.3") as its endpoint's name and its index."""
    name, _, index = context.rpartition(".")
    return name, int(index)


def _transmitted(ctx: ExecutionContext, x: list[int]) -> tuple[int, bytes] | None:
    """(IPA, bytes) that the call reads from the caller's TX."""
    box = ctx.partition.mailbox
    if box is None:
        return None
    return box.tx.ipa, box.tx.snapshot(_READS_TX[x[0] & 0xFFFFFFFF](x, box.tx.snapshot(64)))


def _message_bytes(x: list[int], head: bytes) -> int:
    offset = int.from_bytes(head[8:12], "little")
    size = int.from_bytes(head[16:20], "little")
    return max(_MESSAGE_HEADER, min(offset + size, 1 << 16))


_READS_TX = {
    **dict.fromkeys(_READS_FRAGMENT, lambda x, _: min(x[2] & 0xFFFFFFFF, 1 << 16)),
    fid.FFA_MEM_FRAG_TX: lambda x, _: min(x[3] & 0xFFFFFFFF, 1 << 16),
    fid.FFA_MEM_RELINQUISH: lambda _x, _head: _RELINQUISH_BYTES,
    fid.FFA_MSG_SEND2: _message_bytes,
}
"""Functions that read TX -> how many bytes, from the registers and the first bytes there."""


def _place(record: Record) -> dict[str, Any]:
    return {"t": record[1], "pe": record[2]} if record[2] >= 0 else {"t": record[1]}


def _registers_line(record: Record) -> dict[str, Any]:
    name, index = split_name(record[3])
    line = {"kind": _KINDS[record[0]], **_place(record), "endpoint": name, "vcpu": index}
    line["x"] = registers(record[4])
    if record[5] is not None:
        ipa, data = record[5]
        line["write"] = [[f"{ipa:#x}", data.hex()]]
    return line


def _refuse_line(record: Record) -> dict[str, Any]:
    name, index = split_name(record[3])
    rule = record[4]
    return {
        "kind": "refuse",
        **_place(record),
        "endpoint": name,
        "vcpu": index,
        "rule": rule.id,
        "section": rule.section,
        "status": rule.status.name,
        "text": rule.text,
        "got": record[5],
        "expected": record[6],
    }


def _event_line(record: Record) -> dict[str, Any]:
    fields = {name: _plain(value) for name, value in record[4].items()}
    return {"kind": record[3], **_place(record), **fields}


def _plain(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


_LINES = {
    CALL: _registers_line,
    HOP: _registers_line,
    RETURN: _registers_line,
    REFUSE: _refuse_line,
    EVENT: _event_line,
}
