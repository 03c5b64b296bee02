"""A function over many inputs in several processes, which end when nobody wants the rest.

Each process has a pipe of its own and gets a piece of the inputs when it has answered the last one.
There are no threads, and no locks that a process which is killed could hold.

``concurrent.futures`` would do for runs in which nothing goes wrong. Its processes share one pipe
for their answers: if one is killed in the middle of an answer, the others never get the lock of the
pipe, and whoever waits for an answer waits for ever. It does not interrupt those that work: an
image that spins would be waited for (Python 3.14 can end them, their traces unwritten).
Ctrl-C reaches the processes, too, and each would say so; they outlive a parent that is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol, TypeVar

from ffabric.machine.host.interruption import RUNS, SIGNALS, Interrupted, uninterrupted
from ffabric.machine.host.process import die_with_parent

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 20.0
"""Seconds of wall time for processes to end by themselves, with their traces written."""
_LOOK = 1.0
"""Seconds to wait for answers at a stretch: a signal that comes just before does not end a wait."""


class Spread(Protocol):
    """What has a function applied to inputs: `spread`, or something that does it elsewhere."""

    def __call__(
        self,
        function: Callable[[T], R],
        inputs: Sequence[T],
        processes: int | None = None,
        chunk: int = 1,
    ) -> Generator[R]:
        """As `spread`: the results, in the order of the inputs."""


class Players(NamedTuple):
    """Who plays a campaign: ``spread`` with so many ``processes`` (None: one for each CPU)."""

    spread: Spread
    processes: int | None = None


def spread(
    function: Callable[[T], R], inputs: Sequence[T], processes: int | None = None, chunk: int = 1
) -> Generator[R]:
    """``function`` of each input, in their order, from ``processes`` processes (None: one per CPU).

    They get ``chunk`` inputs at a time. When the iterator is closed, Interrupted is raised in those
    that work, and they end; so they do if this process dies. Ctrl-C is for whoever iterates: the
    processes never see it. What ``function`` raises is raised here; RuntimeError if a process dies.
    """
    if processes == 1 or len(inputs) == 1:
        yield from map(function, inputs)
        return
    pieces = [inputs[at : at + chunk] for at in range(0, len(inputs), chunk)]
    count = min(processes or os.cpu_count() or 1, len(pieces))
    workers: dict[Connection, BaseProcess] = {}
    resource_tracker.ensure_running()  # once it runs, nothing else lets interrupts in again
    try:
        with uninterrupted():  # processes that are started inherit it
            for _ in range(count):
                ours, worker = _started(function)
                workers[ours] = worker
        yield from _answers(workers, pieces)
    finally:
        with uninterrupted():
            for ours in workers:
                ours.close()  # whoever is about to wait for a piece gets no signal in time
            _end(workers.values())


def _started(function: Callable[[T], R]) -> tuple[Connection, BaseProcess]:
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.Process(target=_work, args=(function, ours, theirs), daemon=True)
    worker.start()
    theirs.close()
    return ours, worker


def _end(workers: Iterable[BaseProcess]) -> None:
    """Let them end; kill those that do not."""
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
        worker.kill()
        worker.join()


def _work(function: Callable[[T], R], far: Connection, pipe: Connection) -> None:
    """The life of a process; it ends with the other end of its ``pipe``, of which it has a copy."""
    far.close()
    die_with_parent()
    RUNS.begin_afresh()
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, RUNS.interrupt)
    status = 0
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _serve(function, pipe)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # it ends in any case, and says nothing
    except KeyboardInterrupt as error:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        status = Interrupted.of(error).status
    sys.exit(status)


def _serve(function: Callable[[T], R], pipe: Connection) -> None:
    with suppress(EOFError, BrokenPipeError):
        while True:
            piece = pipe.recv()
            try:
                answer: Any = [function(each) for each in piece]
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                error.add_note(traceback.format_exc())
                answer = error
            pipe.send(answer)


def _answers(
    workers: dict[Connection, BaseProcess], pieces: Sequence[Sequence[Any]]
) -> Iterator[Any]:
    assigned: dict[Connection, int] = {}
    done: dict[int, list[Any]] = {}
    waiting = iter(range(len(pieces)))

    def assign(pipe: Connection) -> None:
        number = next(waiting, None)
        if number is not None:
            assigned[pipe] = number
            pipe.send(pieces[number])

    for pipe in workers:
        assign(pipe)
    for number in range(len(pieces)):
        while number not in done:
            ready = wait([*assigned], _LOOK)
            for pipe in (each for each in ready if isinstance(each, Connection)):
                done[assigned.pop(pipe)] = _received(pipe, workers[pipe])
                assign(pipe)
        yield from done.pop(number)


def _received(pipe: Connection, worker: BaseProcess) -> list[Any]:
    try:
        answer = pipe.recv()
    except EOFError:
        worker.join()
        raise RuntimeError(f"a process has ended: {_end_of(worker)}") from None
    if isinstance(answer, Exception):
        raise answer
    found: list[Any] = answer
    return found


def _end_of(worker: BaseProcess) -> str:
    code = worker.exitcode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"
