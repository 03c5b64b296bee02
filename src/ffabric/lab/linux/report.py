"""What a run of Linux has shown: what it said on its console, when, and what is wrong."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence

import msgspec

from ffabric.lab.linux.initramfs import MARK

INVOCATIONS = (2000, 200)
"""Of the TA, with a value and with shared memory, as `teeloop.S` has them."""

_MILESTONES = ("init", "probed", "done")


class Tee(msgspec.Struct, frozen=True):
    """What `teeloop.S` says: the result of opening, what went well, times in microseconds."""

    opened: int
    values: int
    memories: int
    median: float
    p99: float
    longest: float


class Report:
    """Made of the lines of a console, as they come."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.kernel = ""
        self.cpus = ""
        self.kvm = ""
        """What KVM says of itself, if there is one."""
        self.log: list[str] = []
        self.failed: list[str] = []
        self.partitions: list[tuple[int, str]] = []
        """Endpoint id and UUID of each device on Linux's FF-A bus."""
        self.notified = 0
        """How often Linux has taken the SRI, or as a VM the NPI, on all CPUs."""
        self.script: int | None = None
        """The exit status of the user's script."""
        self.tee: Tee | None = None
        self.reached: dict[str, tuple[float, float]] = {}
        """Milestones: seconds on our clock since the start, seconds on the guest's."""

    def line(self, text: str) -> bool:
        """Take a line of the console; whether it was meant for us."""
        if not text.startswith(MARK):
            return False
        key, _, rest = text.removeprefix(MARK).strip().partition(" ")
        words = rest.split()
        try:
            self._take(key, rest, words)
        except (ValueError, IndexError):
            self.failed.append(f"not understood: {text}")
        return True

    def _take(self, key: str, rest: str, words: Sequence[str]) -> None:
        if key in _MILESTONES:
            self.reached[key] = (time.perf_counter() - self.began, float(words[0]))
        elif key == "partition":
            self.partitions.append((int(words[0], 0), words[1]))
        elif key == "tee":
            tenths = [int(word) / 10 for word in words[3:6]]
            self.tee = Tee(int(words[0], 16), int(words[1]), int(words[2]), *tenths)
        elif key == "script":
            self.script = int(words[0])
        elif key in ("log", "failed"):
            getattr(self, key).append(rest)
        elif key == "sri":
            counts = itertools.takewhile(str.isdigit, words[1:])
            self.notified = sum(int(count) for count in counts)
        elif key in ("kernel", "cpus", "kvm"):
            setattr(self, key, rest)

    def problems(
        self,
        expected: Iterable[tuple[int, str]],
        *,
        tee: bool,
        script: bool = False,
        notified: bool = True,
    ) -> list[str]:
        """What is not as it must be.

        ``expected`` partitions, whether there is an OP-TEE, and a user's script that succeeds.
        ``notified``: OP-TEE's notifications have to come through.
        """
        found = list(self.failed)
        found += [
            f"Linux did not get to {name!r}" for name in _MILESTONES if name not in self.reached
        ]
        missing = [each for each in expected if each not in self.partitions]
        found += [
            f"Linux does not see partition {number:#06x} ({uuid})" for number, uuid in missing
        ]
        if script and self.script is None:
            found.append("the script did not get to its end")
        elif self.script:
            found.append(f"the script ended with status {self.script}")
        if tee and self.tee is None:
            found.append("Linux has no TEE")
        elif tee and notified and not self.notified:
            found.append("Linux was not interrupted by a notification (SRI, NPI)")
        elif self.tee is not None and self.tee.opened:
            found.append(f"opening a session failed: {self.tee.opened:#010x}")
        elif self.tee is not None and (self.tee.values, self.tee.memories) != INVOCATIONS:
            found.append(f"{self.tee.values} and {self.tee.memories} of {INVOCATIONS} invocations")
        return found
