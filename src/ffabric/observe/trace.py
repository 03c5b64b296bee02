"""The trace: what happened in a run, recorded cheaply and written as JSON lines.

A trace is a program: its ``call`` lines are what ``ffabric calls`` executes, with the bytes that a
call reads from TX, and its ``choices`` lines are what ``--replay`` feeds to the next run. What each
kind of line says is declared where it happens (`ffabric.machine.events`,
`ffabric.firmware.state.events`, `ffabric.observe.lines`).

Recording decodes nothing. With a file to write to, an event becomes text at once and is dropped:
its registers are at hand then, and nothing is left for the garbage collector to look at.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from ffabric.abi.words import MASK32, PAGE, SECURE_BIT
from ffabric.machine.events import Call
from ffabric.machine.host.interruption import uninterrupted
from ffabric.observe.lines import FORMAT, WRITERS, Choices, Header, NoTrace, read_lines, write
from ffabric.observe.transmitted import READS_TX, transmitted
from ffabric.system.files.writing import named
from ffabric.system.spec import RAM

if TYPE_CHECKING:
    from ffabric.machine.events import Event
    from ffabric.system.system import System

MOST_CHOICES = 1 << 26
"""Choices of a trace that are replayed."""
BATCH = 1 << 15
"""Lines that are kept before they are written."""


class Trace:
    """Records what a system does. Attach it with ``system.attach(trace)``; close it at the end.

    ``sink`` is a binary file to write to, None to keep the events in memory.
    """

    def __init__(self, system: System, sink: IO[bytes] | None = None) -> None:
        self.events: list[Event] = []
        """All of them, if there is no sink."""
        self.texts: list[str] = []
        """Lines that are not written yet."""
        self._system = system
        self._clock = system.machine.clock
        self._sink = sink
        self.header = header_of(system)
        """The first line: whose run this is, and what there was when the recording began."""
        self._has_header = False
        self._chosen = 0

    def record(self, event: Event) -> None:
        """``event`` has happened."""
        event.t = self._clock.now
        if type(event) is Call and event.x[0] & MASK32 in READS_TX:
            event.write = transmitted(self._system, event.endpoint, event.x)
        if self._sink is None:
            self.events.append(event)
            return
        texts = self.texts
        texts.append(WRITERS[type(event)](event))
        if len(texts) >= BATCH:
            self.flush()

    # Writing.

    def flush(self) -> None:
        """Write the events so far, and the choices that led to them."""
        sink = self._sink
        if sink is not None:
            with uninterrupted(), named(getattr(sink, "name", None)):
                self._write(sink)

    def _write(self, sink: IO[bytes]) -> None:
        if not self._has_header:
            self._has_header = True
            sink.write(write(self.header).encode())
        log = self._system.machine.choices.log
        if len(log) > self._chosen:
            self.texts.append(write(Choices(tuple(log[self._chosen :]))))
            self._chosen = len(log)
        sink.write("".join(self.texts).encode())
        self.texts.clear()
        sink.flush()

    def close(self) -> None:
        """Write the rest."""
        self.flush()


def header_of(system: System) -> Header:
    """The first line of a trace that begins now: whose run it is."""
    endpoints = system.endpoints.values()
    trusted = [each for each in endpoints if each.partition.secure and not each.id & SECURE_BIT]
    return Header(
        format=FORMAT,
        system=system.spec.name,
        seed=system.machine.choices.seed,
        hypervisor=system.firmware.hypervisor is not None,
        endpoints={each.name: each.id for each in endpoints if each not in trusted},
        services={
            each.name: tuple(map(str, each.partition.uuids))
            for each in endpoints
            if each.partition.uuids
        },
        levels={each.name: each.spec.el for each in endpoints},
        secure=tuple(each.name for each in trusted),
        memory={
            each.name: tuple(
                (piece.ipa, piece.pa, piece.size // PAGE)
                for piece in each.spec.memory
                if piece.name == RAM
            )
            for each in endpoints
        },
    )


def read_choices(path: Path) -> list[int]:
    """The choices that a trace file records, for a replay. Raises NoTrace as `read_lines`."""
    choices: list[int] = []
    for number, line in enumerate(read_lines(path), 1):
        if isinstance(line, Choices):
            choices += line.list
            if len(choices) > MOST_CHOICES:
                raise NoTrace(f"{path}:{number}: more than {MOST_CHOICES} choices")
    return choices


def read_seed(path: Path) -> int | None:
    """The seed of the run that a trace file records. Raises NoTrace for a file that is none."""
    header = next(read_lines(path), None)
    if not isinstance(header, Header):
        raise NoTrace(f"{path}:1: a trace begins with its header")
    return header.seed


def _take(sink: BinaryIO, path: Path) -> None:
    """Have a file to ourselves until it is closed, if it is a file that can be had."""
    try:
        import fcntl  # noqa: PLC0415 - not everywhere

        fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another run of ffabric writes it", str(path)) from None
    except (OSError, ImportError):
        return


@contextmanager
def traced(system: System, path: Path | None) -> Iterator[None]:
    """Write a trace of ``system`` to ``path`` while the ``with`` block runs; None: none.

    Raises OSError, which names the file, also for one that another run writes.
    """
    if path is None:
        yield
        return
    with path.open("ab") as sink:
        _take(sink, path)
        with suppress(OSError):  # what is no file has nothing of a former run
            sink.truncate(0)
        tracer = Trace(system, sink)
        system.attach(tracer)
        try:
            yield
        finally:
            with named(path), sink:
                tracer.close()
