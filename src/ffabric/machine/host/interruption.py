"""Signals that ask a process to end: a person's Ctrl-C, a supervisor's SIGTERM, a closed terminal.

All of them are answered alike. Without a handler of our own the last two would end the process at
once, with traces unwritten, temporary files in place and other processes still at work.

While a machine runs, an exception could be raised anywhere: in an emulator's callback, which loses
it, or in the middle of a change of tables. So the run is ended after the present exit, and raises
`Interrupted` then. Code that may never come to an exit is a partition's own: there, for a second
signal, and if no machine runs, `Interrupted` is raised where the process is.

What a command tells of a run, and what it gives back after it, is the work of a moment (`telling`):
a person who presses Ctrl-C twice gets it all the same. So is what it tells of several runs, the
last of which a signal has cut short (`SeveralRuns`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

_SAID = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
"""Name of a signal -> what it does to a command, in a word."""
SIGNALS = tuple(getattr(signal, name) for name in _SAID if hasattr(signal, name))
"""The signals; Windows has no SIGHUP."""
AT_ONCE: set[CodeType] = set()
"""Functions that execute a partition's own Python."""
RESUMING: set[CodeType] = set()
"""Functions that resume a partition's coroutines, and call others besides."""
_SUSPENDABLE = 0x80 | 0x20
"""`inspect.CO_COROUTINE` and `CO_GENERATOR`, without that module, which is slow to import."""


class Interrupted(KeyboardInterrupt):
    """A signal asks for the end; ``number`` is the signal."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        self.number: signal.Signals = signal.Signals(number)
        super().__init__(_SAID[self.number.name])

    @classmethod
    def of(cls, error: KeyboardInterrupt) -> Interrupted:
        """``error`` itself, or Ctrl-C if it does not say which signal it was."""
        return error if isinstance(error, cls) else cls()

    @property
    def status(self) -> int:
        """The exit status that a shell reports for a process that this signal has ended."""
        return 128 + self.number


class _Runs:
    """The runs that are under way, and the signal that ends them."""

    def __init__(self) -> None:
        self._stops: list[Callable[[], object]] = []
        self._held = 0
        self._tells = False
        self._pending: Interrupted | None = None

    def begin(self, stop: Callable[[], object]) -> None:
        """A run begins, which ``stop`` ends after the present exit."""
        self._stops.append(stop)

    def end(self) -> None:
        """It has ended. Raises Interrupted if a signal was the reason."""
        self._stops.pop()
        if self._tells and not self._stops:
            self._stops.append(_go_on)
        self._raise()

    def tell(self) -> None:
        """From the end of the next run on a signal is kept until `told`."""
        self._tells = True

    def told(self) -> None:
        """What has run is told. Raises Interrupted if there was a signal meanwhile."""
        self._tells = False
        self._stops.clear()
        self._raise()

    def hold(self) -> None:
        """From now on no signal may raise anything."""
        self._held += 1

    def deliver_held(self) -> None:
        """The opposite. Raises Interrupted if there was a signal, and no run is to end first."""
        self._held -= 1
        if not self._stops:
            self._raise()

    def _raise(self) -> None:
        if self._pending is not None and not self._held:
            pending, self._pending = self._pending, None
            raise pending

    def forget(self) -> None:
        """Nobody waits for a signal any more."""
        self._pending = None

    def begin_afresh(self) -> None:
        """This process has been forked from another, whose runs are not its own."""
        self._stops.clear()
        self._held = 0
        self._tells = False
        self._pending = None

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """The handler of `SIGNALS`."""
        again, self._pending = self._pending, Interrupted(number)
        if self._stops:
            self._stops[-1]()
        if again is not None or not self._stops or in_partition(frame):
            self._raise()


def _go_on() -> None:
    """What a signal does to the telling of a run: nothing yet."""


RUNS = _Runs()


def in_partition(frame: FrameType | None) -> bool:
    """Whether ``frame`` executes code of a Python partition."""
    while frame is not None and frame.f_back is not None:
        callee, frame = frame.f_code, frame.f_back
        if frame.f_code in AT_ONCE or (frame.f_code in RESUMING and callee.co_flags & _SUSPENDABLE):
            return True
    return False


@contextmanager
def interruptible() -> Iterator[None]:
    """Let `SIGNALS` raise Interrupted while the block runs, if this is the thread that gets them.

    A signal that is ignored stays ignored: nohup wants that, and a shell for background jobs. In a
    block within such a block nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {each: signal.getsignal(each) for each in SIGNALS}
    taken = [each for each in SIGNALS if former[each] not in (signal.SIG_IGN, RUNS.interrupt)]
    if not taken:
        yield
        return
    RUNS.forget()
    try:
        for each in taken:
            signal.signal(each, RUNS.interrupt)
        yield
    finally:
        for each in taken:
            signal.signal(each, former[each])
        RUNS.forget()


@contextmanager
def telling() -> Iterator[None]:
    """Let what follows a run in the block come to the end of the block, whatever signal is sent.

    It is raised there then. A second one is raised at once, and so is one before the run.
    """
    RUNS.tell()
    try:
        yield
    finally:
        RUNS.told()


@contextmanager
def kept_back() -> Iterator[None]:
    """Raise a signal at the end of the block; a second one is raised at once."""
    RUNS.begin(_go_on)
    try:
        yield
    finally:
        RUNS.end()


class SeveralRuns:
    """The runs of a command, one after the other, and what is told of those that are through."""

    def __init__(self) -> None:
        self.interruption: Interrupted | None = None
        """The signal that has cut them short."""

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Let a signal end the block, and no more than that."""
        try:
            yield
        except KeyboardInterrupt as error:
            self.interruption = Interrupted.of(error)

    @contextmanager
    def told(self) -> Iterator[None]:
        """The block tells of them. Raises Interrupted after it if there was a signal."""
        with kept_back():
            yield
        if self.interruption is not None:
            raise self.interruption


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep `SIGNALS` back while the block runs; processes started in it do not get them either.

    Those processes cannot be had on Windows.
    """
    main = threading.current_thread() is threading.main_thread()
    masks = hasattr(signal, "pthread_sigmask")
    if main:  # as other threads may get a signal, for which handlers then run in this one
        RUNS.hold()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if masks else None
    try:
        yield
    finally:
        if former is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        if main:
            RUNS.deliver_held()
