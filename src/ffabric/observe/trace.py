"""The trace: what the firmware did, recorded cheaply and written as JSON lines.

A trace is a program: its ``call`` lines are what ``ffabric calls`` executes, with the bytes that a
call reads from TX, and its ``choices`` lines are what ``--replay`` feeds to the next run. Numbers
are hexadecimal strings where they are registers or addresses, so that no reader rounds them.

Kinds of line, in the order they can appear::

    header   format, system, seed, hypervisor, endpoints, services
    call     endpoint, vcpu, x, write?      an endpoint makes a call
    hop      endpoint, vcpu, x              a partition manager passes a call on
    return   endpoint, vcpu, x              a context resumes with these registers
    refuse   endpoint, vcpu, rule, section, status, text, got, expected
    world    to                             the monitor switches worlds
    (others) the fields of an event: share, retrieve, abort, interrupt, vm_destroyed ...
    choices  list                           what the scheduler chose since the last such line

Those between header and choices have ``t``, nanoseconds, and ``pe`` if they concern one. ``x``
leaves trailing zeros out; ``write`` lists an IPA and the bytes there, as hexadecimal digits. The
number of a line in its file is its sequence number.

Recording appends to one flat list, and only numbers and strings: nothing is decoded, and the
garbage collector finds nothing to trace. A record is a code, a time, a PE and what follows from the
code (``_LINES``); it becomes text when the trace is flushed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state.rules import show
from ffabric.machine.context import REGISTERS
from ffabric.machine.host.interruption import uninterrupted
from ffabric.system.files.reading import opened
from ffabric.system.files.reading import read_lines as lines_of

if TYPE_CHECKING:
    from ffabric.firmware.state.mailbox import Buffer
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.firmware.state.rules import Refused
    from ffabric.machine.context import Context
    from ffabric.machine.machine import PE
    from ffabric.system.system import System

FORMAT = 1
MOST_CHOICES = 1 << 26
"""Choices of a trace that are replayed."""
BATCH = 1 << 20
"""Entries of the flat list that are kept before they are written."""

CALL, HOP, RETURN, REFUSE, EVENT = range(5)
_KINDS = ("call", "hop", "return")
_NO_PE = -1
_LARGEST = 1 << 16
_RELINQUISH_BYTES = 64
_MESSAGE_HEADER = 20
_HEAD = 5
"""Entries of a record before its registers."""
_BETWEEN = '","'
_INTEGERS = {int}


class Trace:
    """Records what a system does. Attach it with ``system.attach(trace)``; close it at the end.

    ``sink`` is a binary file to write to, None to keep the records in memory.
    """

    def __init__(self, system: System, sink: IO[bytes] | None = None) -> None:
        self.records: list[Any] = []
        """The records that are not written yet, one behind the other."""
        self._system = system
        self._clock = system.machine.clock
        self._sink = sink
        firmware = system.firmware
        self._kernel = None if firmware.hypervisor else firmware.spmc.normal_world
        """Who has the mailbox of a kernel without a hypervisor: the SPMC's normal world."""
        self._has_header = False
        self._chosen = 0

    # What the firmware tells (the Tracer protocol of the partition managers).

    def call(self, pe: PE, ctx: ExecutionContext, x: list[int]) -> None:
        """``ctx`` makes the call in its registers."""
        records = self.records
        if ctx.gate is not None:
            records += (HOP, self._clock.now, pe.index, ctx.name, None, *x)
            return
        tx = self._transmitted(ctx, x) if x[0] & MASK32 in _READS_TX else None
        records += (CALL, self._clock.now, pe.index, ctx.name, tx, *x)
        if len(records) >= BATCH and self._sink is not None:
            self.flush()

    def resume(self, pe: PE, ctx: Context) -> None:
        """``ctx`` runs next, with the registers it holds."""
        self.records += (RETURN, self._clock.now, pe.index, ctx.name, None, *ctx.x)

    def refused(self, pe: PE, ctx: ExecutionContext, refusal: Refused) -> None:
        """A rule refused the call of ``ctx``."""
        compared = show(refusal.got), show(refusal.expected)
        self.records += (REFUSE, self._clock.now, pe.index, ctx.name, refusal.rule, *compared)

    def event(self, pe: PE | None, kind: str, **fields: Any) -> None:
        """Anything else."""
        index = _NO_PE if pe is None else pe.index
        values = fields.values()
        self.records += (EVENT, self._clock.now, index, kind, len(fields), *fields, *values)

    def _transmitted(self, ctx: ExecutionContext, x: list[int]) -> tuple[int, bytes] | None:
        """(IPA, bytes) that the call reads from the caller's TX."""
        box = ctx.partition.mailbox
        if box is None and self._kernel is not None and not ctx.secure:
            box = self._kernel.mailbox
        if box is None:
            return None
        tx = box.tx
        return tx.ipa, tx.snapshot(_READS_TX[x[0] & MASK32](x, tx))

    # Writing.

    def lines(self, records: list[Any]) -> Iterator[dict[str, Any]]:
        """The JSON objects of ``records``."""
        return map(msgspec.json.decode, _texts(records))

    def header(self) -> dict[str, Any]:
        """The first line: whose run this is. Endpoints are told by id, services by UUID."""
        system = self._system
        return {
            "kind": "header",
            "format": FORMAT,
            "system": system.spec.name,
            "seed": system.machine.choices.seed,
            "hypervisor": system.firmware.hypervisor is not None,
            "endpoints": {each.name: f"{each.id:#x}" for each in system.endpoints.values()},
            "services": {
                each.name: [str(uuid) for uuid in each.partition.uuids]
                for each in system.endpoints.values()
                if each.partition.uuids
            },
        }

    def flush(self) -> None:
        """Write the records so far, and the choices that led to them."""
        if self._sink is not None:
            with uninterrupted():
                self._write(self._sink)

    def _write(self, sink: IO[bytes]) -> None:
        if not self._has_header:
            self._has_header = True
            sink.write(msgspec.json.encode(self.header()) + b"\n")
        data = "".join(_texts(self.records)).encode()
        self.records.clear()
        sink.write(data)
        log = self._system.machine.choices.log
        if len(log) > self._chosen:
            fresh = log[self._chosen :]
            sink.write(msgspec.json.encode({"kind": "choices", "list": fresh}) + b"\n")
            self._chosen = len(log)
        sink.flush()

    def close(self) -> None:
        """Write the rest."""
        self.flush()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a trace file, as JSON objects.

    Raises ValueError with the line for a file that is no trace, OSError for one that is no regular
    file or has a line of more than `ffabric.system.files.reading.LINE` bytes.
    """
    with opened(path) as file:
        yield from parse_lines(file, str(path))


def parse_lines(file: IO[bytes], name: str) -> Iterator[dict[str, Any]]:
    """As `read_lines`, of a file that is open; errors call it ``name``."""
    number = 0
    for number, line in enumerate(lines_of(file, name), 1):
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}:{number}: not a line of a trace: {error}") from None
    if not number:
        raise ValueError(f"{name}: not a trace: there is nothing in it")


def read_choices(path: Path) -> list[int]:
    """The choices that a trace file records, for a replay. Raises ValueError as `read_lines`."""
    choices: list[int] = []
    for number, line in enumerate(read_lines(path), 1):
        if line.get("kind") == "choices":
            try:
                choices += msgspec.convert(line.get("list"), list[int])
            except msgspec.ValidationError as error:
                raise ValueError(f"{path}:{number}: not a line of a trace: {error}") from None
        if len(choices) > MOST_CHOICES:
            raise ValueError(f"{path}:{number}: more than {MOST_CHOICES} choices")
    return choices


def read_seed(path: Path) -> int | None:
    """The seed of the run that a trace file records. Raises ValueError for a file that is none."""
    header = next(read_lines(path), {})
    if header.get("kind") != "header" or header.get("format") != FORMAT:
        raise ValueError(f"{path}: not a trace of format {FORMAT}")
    seed = header.get("seed")
    return seed if isinstance(seed, int) else None


def _message_bytes(_x: list[int], tx: Buffer) -> int:
    head = tx.snapshot(_MESSAGE_HEADER)
    offset = int.from_bytes(head[8:12], "little")
    size = int.from_bytes(head[16:20], "little")
    return max(_MESSAGE_HEADER, min(offset + size, _LARGEST))


_READS_TX: dict[int, Callable[[list[int], Buffer], int]] = {
    **dict.fromkeys(
        (
            *(fid.FFA_MEM_DONATE_32, fid.FFA_MEM_DONATE_64),
            *(fid.FFA_MEM_LEND_32, fid.FFA_MEM_LEND_64),
            *(fid.FFA_MEM_SHARE_32, fid.FFA_MEM_SHARE_64),
            *(fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64),
        ),
        lambda x, _tx: min(x[2] & MASK32, _LARGEST),
    ),
    fid.FFA_MEM_FRAG_TX: lambda x, _tx: min(x[3] & MASK32, _LARGEST),
    fid.FFA_MEM_RELINQUISH: lambda _x, _tx: _RELINQUISH_BYTES,
    fid.FFA_MSG_SEND2: _message_bytes,
}
"""Functions that read TX -> how many bytes, from the registers and what is there."""


def _texts(records: list[Any]) -> list[str]:
    """The lines of ``records`` as JSON text, each with its newline."""
    texts: list[str] = []
    append = texts.append
    at = 0
    end = len(records)
    while at < end:
        code = records[at]
        if code > RETURN:
            text, at = _LINES[code](records, at)
            append(text)
            continue
        _, now, pe, name, tx, a, b, c, d, e, f, g, h = records[at : at + _HEAD + 8]
        at += _HEAD + REGISTERS
        beyond = records[at - REGISTERS + 8 : at]
        if any(beyond):
            x = [a, b, c, d, e, f, g, h, *beyond]
            while not x[-1]:
                x.pop()
        else:
            x = [a, b, c, d, e, f, g, h]
            del x[8 if h else 7 if g else 6 if f else 5 if e else 4 if d else 3 if c else 2 :]
            if not b and len(x) == 2:
                x.pop()
        write = "" if tx is None else f',"write":[["{tx[0]:#x}","{tx[1].hex()}"]]'
        append(
            f'{{"kind":"{_KINDS[code]}","t":{now},"pe":{pe},{_WHOSE[name]}'
            f',"x":["{_BETWEEN.join(map(hex, x))}"]{write}}}\n'
        )
    return texts


def _refuse_line(records: list[Any], at: int) -> tuple[str, int]:
    _, now, pe, name, rule, got, expected = records[at : at + 7]
    said = {
        "rule": rule.id,
        "section": rule.section,
        "status": rule.status.name,
        "text": rule.text,
        "got": got,
        "expected": expected,
    }
    head = f'{{"kind":"refuse","t":{now},"pe":{pe},{_WHOSE[name]},'
    return f"{head}{msgspec.json.encode(said)[1:].decode()}\n", at + 7


def _event_line(records: list[Any], at: int) -> tuple[str, int]:
    _, now, pe, kind, count = records[at : at + 5]
    names = at + 5
    values = names + count
    where = f',"pe":{pe}' if pe != _NO_PE else ""
    end = values + count
    fields = [
        f',"{name}":{_PLAIN[type(value)](value)}'
        for name, value in zip(records[names:values], records[values:end], strict=True)
    ]
    return f'{{"kind":"{kind}","t":{now}{where}{"".join(fields)}}}\n', end


_LINES: dict[int, Callable[[list[Any], int], tuple[str, int]]] = {
    REFUSE: _refuse_line,
    EVENT: _event_line,
}
"""(records, index) -> the line of the record there, and where the next one begins."""


class _Whose(dict[str, str]):
    """A context's name ("sp1.3") -> the fields of its endpoint's name and its index."""

    def __missing__(self, context: str) -> str:
        name, _, index = context.rpartition(".")
        text = self[context] = f'"endpoint":{_quoted(name)},"vcpu":{int(index)}'
        return text


_WHOSE = _Whose()


@lru_cache
def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _listed(values: list[Any] | tuple[Any, ...]) -> str:
    if {*map(type, values)} == _INTEGERS:
        return f'["{_BETWEEN.join(map(hex, values))}"]'
    return f"[{','.join([_PLAIN[type(each)](each) for each in values])}]"


class _Plain(dict[type, Callable[[Any], str]]):
    """A type -> how a field of an event that has it is written as JSON."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        return next((write for known, write in self.items() if issubclass(kind, known)), _said)


def _said(value: object) -> str:
    return _quoted(str(value))


_PLAIN = _Plain(
    {
        str: _quoted,
        bool: {False: "false", True: "true"}.__getitem__,
        type(None): {None: "null"}.__getitem__,
        int: '"{:#x}"'.format,
        list: _listed,
        tuple: _listed,
    }
)


@contextmanager
def traced(system: System, path: Path | None) -> Iterator[None]:
    """Write a trace of ``system`` to ``path`` while the ``with`` block runs; None: none."""
    if path is None:
        yield
        return
    with path.open("wb") as sink:
        tracer = Trace(system, sink)
        system.attach(tracer)
        try:
            yield
        finally:
            tracer.close()
