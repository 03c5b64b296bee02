"""A debugger at work on a system: it runs until something stops it, and it can run again.

A stop lies between two instructions of one vCPU and changes nothing of the run. So going back is to
boot the system again and to run it up to the *place* that is wanted: a thread, and how many
instructions it has executed by then. What gdb writes into registers or memory is not done again:
after that there is no way back.

================ ============================================================================
while            what ends a stretch of execution
================ ============================================================================
running          a breakpoint, a watchpoint, the step that was asked for, Ctrl-C
going to a place the place
searching        nothing; each stop is noted, up to the place from which the search began
================ ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ffabric.lab.gdb.target import Place, Target, Thread
from ffabric.machine.engines.unicorn.probe import BREAK, Stop
from ffabric.machine.machine import OutOfExits
from ffabric.system.crash import PartitionCrashed

if TYPE_CHECKING:
    from ffabric.system.system import System

SIGINT, SIGTRAP = 2, 5
_WATCHED = {2: "watch", 3: "rwatch", 4: "awatch"}


class Again(BaseException):
    """Raised through a run: it is to be made again, up to somewhere."""


class Over(BaseException):
    """Raised through a run: nobody wants it any more."""


class Front(Protocol):
    """The debugger's end, whose the run is while it is stopped; see `ffabric.lab.gdb.stub.Stub`."""

    at_beginning: str
    """What a way back that has found no stop is answered."""

    def stopped(self, session: Session, reason: str, *, quietly: bool) -> None:
        """The run has stopped: do what the debugger wants, until that is to go on."""

    def is_interrupted(self) -> bool:
        """Whether the debugger wants the run to stop. Raises Over if it is gone."""

    def say(self, text: str) -> None:
        """Let the debugger print ``text``."""

    def tell_end(self, reason: str) -> None:
        """The run has ended."""


class Session:
    """Runs what ``boot`` boots, in the hands of a ``stub``; ``run`` returns when it is over."""

    def __init__(self, boot: Callable[[], System], stub: Front) -> None:
        self._boot = boot
        self._stub = stub
        self._points: frozenset[tuple[int, int, int]] = frozenset()
        self._stepping: int | None = None
        """The thread that is to execute one instruction."""
        self._from = 0
        """How many it had executed before."""
        self._goal: Place | None = None
        """Where the run is to be brought."""
        self._noted: list[tuple[Place, str]] | None = None
        """The stops that a search has found, and what is told of them."""
        self._told = ""
        """What is told of the stop at the goal."""
        self._begun = False
        self._written = False
        """Something was changed that is not done again."""
        self.current: Thread
        self.target: Target
        self.ended = ""
        """What gdb is told, once the run has ended."""

    def run(self) -> None:
        """Boot, run, and run again, until gdb is gone or the run has ended."""
        while True:
            system = self._boot()
            self.target = Target(system, self._between)
            if not self.target.threads:
                system.close()
                raise ValueError("no partition is an image that Unicorn executes")
            self.current = self.target.threads[1]
            self.target.set_points(self._points)
            try:
                system.run()
                self._stub.tell_end("W00")
            except Again:
                continue
            except Over:
                return
            except (PartitionCrashed, OutOfExits) as error:
                self._stub.say(f"{error}\n")
                self._stub.tell_end("X0b")
            finally:
                system.close()
            return

    def _between(self, thread: Thread, met: Stop | None, budget: int) -> int:
        """``thread`` is about to execute up to ``budget`` instructions: how many it may."""
        if self._goal is not None:
            budget, arrived = self._toward(thread, met, budget)
            if not arrived:
                return budget
            self._stop(thread, self._stub.at_beginning or f"T{SIGTRAP:02x}{self._told}")
        elif not self._begun:
            self._begun = True
            self._stop(thread, f"T{SIGTRAP:02x}", quietly=True)
        elif met is not None:
            self._stop(thread, f"T{SIGTRAP:02x}{_told(met)}")
        elif self._stepping == thread.number and thread.probe.runner.instructions > self._from:
            self._stop(thread, f"T{SIGTRAP:02x}")
        elif self._stub.is_interrupted():
            self._stop(thread, f"T{SIGINT:02x}")
        return 1 if self._stepping == thread.number else budget

    def _toward(self, thread: Thread, met: Stop | None, budget: int) -> tuple[int, bool]:
        """On the way to the goal: what may be executed, and whether it is reached."""
        assert self._goal is not None
        number, instructions = self._goal
        left = instructions - thread.probe.runner.instructions
        at_goal = thread.number == number and left <= 0
        if self._noted is not None and met is not None and not at_goal:
            self._noted.append((_before(thread, met), _told(met)))
        if thread.number != number:
            return budget, False
        if left > 0:
            return min(budget, left), False
        if self._noted is None:
            self._goal = None
            return budget, True
        noted, self._noted = self._noted, None
        self._stub.at_beginning = "" if noted else f"T{SIGTRAP:02x}replaylog:begin;"
        self._goal, self._told = noted[-1] if noted else ((1, 0), "")
        raise Again

    def _stop(self, thread: Thread, reason: str, *, quietly: bool = False) -> None:
        """The run is gdb's, until it lets it go on."""
        self.current = thread
        self._stepping = None
        self._stub.at_beginning = ""
        self._stub.stopped(self, reason, quietly=quietly)
        self.target.set_points(self._points)

    # What gdb wants. Each of these is called while the run is stopped.

    def go_on(self, step: int | None = None) -> None:
        """Go on; ``step``: the thread that is to execute one instruction only."""
        self._stepping = step
        if step is not None:
            self._from = self.target.threads[step].probe.runner.instructions

    def back(self, *, step: bool) -> None:
        """Go back: one instruction of the current thread, or to the stop before. Raises Again."""
        number, instructions = self.current.place
        self._told = ""
        if step and instructions:
            self._goal = number, instructions - 1
        else:
            self._goal = number, instructions
            self._noted = []
        raise Again

    @property
    def can_go_back(self) -> bool:
        """Whether the run made again would be the same."""
        return not self._written

    def wrote(self) -> None:
        """Registers or memory were changed."""
        self._written = True

    def point(self, kind: int, address: int, size: int, *, on: bool) -> None:
        """Stop, or stop no more, at an address."""
        point = BREAK if kind == 1 else kind, address, size
        self._points = self._points | {point} if on else self._points - {point}


def _before(thread: Thread, met: Stop) -> Place:
    """Where the stop is for whoever comes from behind: before the instruction that is met."""
    number, instructions = thread.place
    return number, instructions if met.kind == BREAK else instructions - 1


def _told(met: Stop) -> str:
    name = _WATCHED.get(met.kind)
    return "" if name is None else f"{name}:{met.address:x};"
