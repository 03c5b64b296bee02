"""Two processes by turns, by the time that the processor spends on each.

A process runs until it has made a round of all kinds of calls, and is stopped while the other one
runs. The payload prints a line before each kind; what the process has been given of the processor
between two lines, with all its threads, is what so many calls took. A line is read a little after
it was written, so rounds are long against that: how many calls a round is to have is found by
rounds that grow.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from ffabric.lab.bench.compare import Comparison, Pair
from ffabric.lab.peers.payload import REFUSED, Payload
from ffabric.machine.host.process import mortal

Command = Callable[[Sequence[int], Path], Sequence[str]]
"""(how many calls, a folder for files) -> the command line of a peer."""

_GROWTH = 16
_MOST = 1 << 28
_CHUNK = 1 << 16
SILENCE = 120
"""Seconds without a line after which a peer is given up."""
_SPOKEN = 40
"""Lines of a peer that are shown if it does not do what it should."""


class PeerError(Exception):
    """A peer does not run the payload; the message says what it printed."""


class Peer:
    """A process that runs a payload, stopped but for its turns."""

    def __init__(
        self, name: str, command: Sequence[str], payload: Payload, counts: Sequence[int]
    ) -> None:
        self.name = name
        self.counts = counts
        self._kinds = payload.kinds
        self._line_of_a_kind = re.compile(rf"\b({'|'.join((*payload.kinds, REFUSED))})\s*$")
        self._said: list[str] = []
        self._process = subprocess.Popen(  # noqa: S603 - what the user compares
            mortal(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._unread = b""
        self._spent = 0
        try:
            self._spent = self._until(self._kinds[0])
            self._send(signal.SIGSTOP)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def round(self) -> list[int]:
        """Let it make a round: nanoseconds of the processor for the calls of each kind."""
        self._send(signal.SIGCONT)
        took = []
        for following in (*self._kinds[1:], self._kinds[0]):
            now = self._until(following)
            took.append(now - self._spent)
            self._spent = now
        self._send(signal.SIGSTOP)
        return took

    def _until(self, wanted: str) -> int:
        """Read up to the line before calls of a kind: the nanoseconds it has been given so far."""
        while (line := self._line()) is not None:
            spent = self._nanoseconds()
            found = self._line_of_a_kind.search(line)
            if found is not None and found[1] == wanted:
                return spent
            self._said.append(line)
            if found is not None and found[1] == REFUSED:
                break
        said = "\n".join(self._said[-_SPOKEN:])
        raise PeerError(f"{self.name} does not run the payload:\n{said}")

    def _line(self) -> str | None:
        """The next line that it prints; None if it has ended, or is silent for long."""
        out = self._process.stdout
        assert out is not None
        while b"\n" not in self._unread:
            if not select.select([out], [], [], SILENCE)[0]:
                self._said.append(f"(silent for {SILENCE} s)")
                return None
            data = out.read(_CHUNK)
            if not data:
                return None
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace").rstrip()

    def _nanoseconds(self) -> int:
        """Of the processor, by all threads (Linux: Documentation/scheduler/sched-stats)."""
        total = 0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def _send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)


class Match(msgspec.Struct, frozen=True):
    """A payload above our firmware and above somebody else's."""

    payload: Payload
    ours: Command
    theirs: Command


def compare(
    match: Match,
    rounds: int,
    seconds: float,
    on_round: Callable[[int], object] = lambda number: None,
) -> list[Comparison]:
    """How many calls of each kind ours answers in a second, and theirs, in so many rounds.

    ``seconds`` is about how long a round spends on each kind. Raises PeerError.
    """
    found = [Comparison(kind, f"{unit}/s") for kind, unit in match.payload.units.items()]
    with (
        _peer("ffabric", match.ours, match.payload, seconds) as one,
        _peer("the peer", match.theirs, match.payload, seconds) as other,
    ):
        for number in range(rounds):
            on_round(number)
            pair = (one, other) if number % 2 == 0 else (other, one)
            rates = {peer.name: _rates(peer) for peer in pair}
            for row, here, there in zip(found, rates[one.name], rates[other.name], strict=True):
                row.pairs.append(Pair(here, there))
    return found


def _rates(peer: Peer) -> list[float]:
    """Calls of each kind a second, in one round."""
    took = peer.round()
    return [1e9 * count / max(ns, 1) for count, ns in zip(peer.counts, took, strict=True)]


@contextmanager
def _peer(name: str, command: Command, payload: Payload, seconds: float) -> Iterator[Peer]:
    """A peer whose rounds spend about ``seconds`` on each kind."""
    with TemporaryDirectory() as folder:
        counts, grown = payload.first, False
        while not grown:
            with _closing(Peer(name, command(counts, Path(folder)), payload, counts)) as peer:
                peer.round()  # what is translated and cached once
                factors = [min(_GROWTH, 1e9 * seconds / max(ns, 1)) for ns in peer.round()]
            grown = max(factors) < _GROWTH or max(counts) == _MOST
            more = (int(count * by) for count, by in zip(counts, factors, strict=True))
            counts = [min(_MOST, max(1, count)) for count in more]
        with _closing(Peer(name, command(counts, Path(folder)), payload, counts)) as peer:
            peer.round()
            yield peer


@contextmanager
def _closing(peer: Peer) -> Iterator[Peer]:
    try:
        yield peer
    finally:
        peer.close()
