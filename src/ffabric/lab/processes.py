"""A function over many inputs in several processes, which end when nobody wants the rest."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def spread(
    function: Callable[[T], R], inputs: Sequence[T], processes: int | None = None, chunk: int = 1
) -> Generator[R]:
    """``function`` of each input, in their order, from ``processes`` processes (None: one per CPU).

    Ctrl-C is for whoever iterates: the processes never see it. They get ``chunk`` inputs at a time,
    and are ended when the iterator is closed.
    """
    if processes == 1 or len(inputs) == 1:
        yield from map(function, inputs)
        return
    with _uninterrupted():  # processes that are started inherit it
        pool = multiprocessing.Pool(processes)
    try:
        yield from pool.imap(function, inputs, chunk)
    finally:
        with _uninterrupted():
            pool.terminate()
            pool.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
