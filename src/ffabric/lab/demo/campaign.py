"""The demo with many seeds: each seed another run, each run replayed to the same bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence

import msgspec

from ffabric.lab.demo.programme import Programme
from ffabric.lab.demo.vms import DemoFailed
from ffabric.lab.processes import spread
from ffabric.machine.choices import ReplayError

_CHUNK = 8


class Played(msgspec.Struct, frozen=True):
    """A run of the demo: the digest of its trace, and what was wrong with it, if anything."""

    seed: int
    digest: str
    choices: int
    failure: str = ""


def play(seed: int | None, replay: Sequence[int] | None = None) -> tuple[bytes, list[int]]:
    """Play the demo: its trace, and its choices. Raises DemoFailed."""
    sink = io.BytesIO()
    programme = Programme(seed, replay, sink)
    for _ in programme.play():
        pass
    return sink.getvalue(), programme.choices


def play_twice(seed: int) -> Played:
    """Play the demo by a seed, and once more by the choices that this led to."""
    try:
        trace, choices = play(seed)
    except DemoFailed as failure:
        return Played(seed, "", 0, str(failure))
    digest = hashlib.sha256(trace).hexdigest()
    try:
        again, _ = play(seed, choices)
    except (DemoFailed, ReplayError) as failure:
        return Played(seed, digest, len(choices), f"replay: {failure}")
    wrong = "" if again == trace else "the replay left another trace"
    return Played(seed, digest, len(choices), wrong)


def campaign(seeds: Sequence[int], processes: int | None = None) -> Iterator[Played]:
    """Play the demo with each seed, in ``processes`` processes (None: one for each CPU)."""
    yield from spread(play_twice, seeds, processes, _CHUNK)
