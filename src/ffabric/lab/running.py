"""A run of a booted system to its end, whatever end that is, with the trace whole.

What a person at a terminal may do to a run (interrupt it) and what a partition may do (crash, power
the system off, spin) all end up as an :class:`Outcome`.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ffabric.firmware.state.interface.switches import SPEC
from ffabric.lab.printing import heard_prints
from ffabric.lab.watchdog import DEFAULT_SECONDS, Watchdog
from ffabric.machine.host.interruption import Interrupted, interruptible
from ffabric.machine.machine import OutOfExits
from ffabric.system.crash import PartitionCrashed
from ffabric.system.ending import Cause
from ffabric.system.spec import QEMU
from ffabric.system.waiting import Wait, waiting

if TYPE_CHECKING:
    from ffabric.system.system import System


class End(enum.Enum):
    """How a run ended."""

    IDLE = "nothing can run any more"
    STOPPED = "stopped"
    POWERED_OFF = "powered off"
    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    WEDGED = "wedged"
    OUT_OF_EVENTS = "out of events"
    OUT_OF_TIME = "out of time"
    HUNG = "hung"
    INTERRUPTED = "interrupted"


STATUS = {
    End.FAILED: 1,
    End.CRASHED: 3,
    End.WEDGED: 4,
    End.OUT_OF_EVENTS: 5,
    End.OUT_OF_TIME: 5,
    End.HUNG: 6,
}
"""Exit statuses of a command that runs a system; 0 for other ends, 2 is a bad input."""
NO_REPLAY = "none: what QEMU executes takes wall time"
"""What the summary of a run in which a QEMU takes part says of a replay."""
_AGAIN = 0.1
"""Seconds of wall time until a run that is out of time, and goes on, is told so again."""


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended, and why in a line; if nothing can run any more, what everybody waits for.

    `status` is the exit status of a command that ran the system: it says that a partition has
    crashed though the others went on, too.
    """

    end: End
    reason: str
    waiting: tuple[Wait, ...] = ()
    interruption: Interrupted | None = None
    status: int = 0

    @property
    def said(self) -> str:
        """All of it in one line."""
        waits = map(str, self.waiting)
        return "; ".join([self.end.value, *waits]) if self.waiting else self.reason

    def raise_interruption(self) -> None:
        """Raise what has interrupted the run, if anything has."""
        if self.interruption is not None:
            raise self.interruption


def run_to_end(system: System, *, watchdog: float = DEFAULT_SECONDS, timeout: float = 0) -> Outcome:
    """Run ``system`` until it ends; ``watchdog`` seconds without an exit are a partition's crash.

    ``timeout``: the seconds of wall time that the run may take (0: any). A signal that asks for the
    end, such as Ctrl-C's, ends the run after the present exit. Lines that consoles have begun are
    printed as they are.
    """
    try:
        with (
            heard_prints(system),
            Watchdog(system.machine, watchdog),
            interruptible(),
            _timeout(system, timeout),
        ):
            system.run()
    except PartitionCrashed as crash:
        outcome = Outcome(_end_of(crash), str(crash))
    except OutOfExits as spent:
        outcome = Outcome(End.OUT_OF_EVENTS, str(spent))
    except KeyboardInterrupt as error:
        interruption = Interrupted.of(error)
        outcome = Outcome(End.INTERRUPTED, str(interruption), interruption=interruption)
    else:
        system.flush_consoles()  # a line that nothing ends may be one that fails the run
        outcome = _quiet_end(system)
    finally:
        system.flush_consoles()
    return _judged(system, outcome)


@contextmanager
def _timeout(system: System, seconds: float) -> Iterator[None]:
    """Stop the run of the block after so many seconds of wall time; 0: never."""
    if not seconds:
        yield
        return
    reason, over = f"the timeout of {seconds:g} s is reached", threading.Event()

    def watch() -> None:
        left = seconds
        while not over.wait(left):
            system.stop(Cause.TIME, reason)
            left = _AGAIN  # a run that had not begun has not heard it

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _end_of(crash: PartitionCrashed) -> End:
    return End.WEDGED if crash.wedged else End.CRASHED


_STOPPED = {Cause.EXPECTED: End.PASSED, Cause.FORBIDDEN: End.FAILED, Cause.TIME: End.OUT_OF_TIME}


def _quiet_end(system: System) -> Outcome:
    state = system.firmware.monitor.power_state
    if state != "on" and system.stop_cause is not Cause.FORBIDDEN:
        return Outcome(End.POWERED_OFF, f"the system is powered off ({state})")
    if system.machine.stopping:
        end = End.STOPPED if system.stop_cause is None else _STOPPED.get(system.stop_cause)
        return Outcome(end or End.STOPPED, system.stop_reason)
    waits = waiting(system)
    stuck = [str(wait) for wait in waits if wait.stuck]
    hangs = any(wait.stuck or wait.hangs for wait in waits)
    reason = "; ".join([End.IDLE.value, *stuck])
    return Outcome(End.HUNG if hangs else End.IDLE, reason, tuple(waits))


def _judged(system: System, outcome: Outcome) -> Outcome:
    """The outcome of a run by what was expected of it."""
    status = STATUS.get(outcome.end, 0)
    if status or outcome.end in (End.PASSED, End.INTERRUPTED):
        return replace(outcome, status=status)
    if system.deaths:
        return replace(outcome, status=STATUS[_end_of(system.deaths[0])])
    if missing := system.verdict.missing:
        reason = f"{outcome.reason}; never printed: {', '.join(map(repr, missing))}"
        return replace(outcome, end=End.FAILED, reason=reason, status=STATUS[End.FAILED])
    return replace(outcome, end=End.PASSED) if system.spec.run.expect else outcome


def totals(system: System) -> list[tuple[str, str]]:
    """What a run amounted to, without a trace: (what, how much)."""
    machine = system.machine
    rows = [
        ("exits", str(machine.exits)),
        ("world switches", str(system.firmware.monitor.world_switches)),
        ("choices", str(machine.choices.position)),
        ("virtual time", f"{machine.clock.now / 1e6:.3f} ms"),
    ]
    rows += [(f"refused by {rule}", str(n)) for rule, n in sorted(system.refusals.items())]
    rows += [(f"waived {rule}", str(n)) for rule, n in sorted(system.waived.items())]
    if system.spec.personality != (SPEC,):
        rows.append(("personality", ", ".join(system.spec.personality)))
    if any(each.engine == QEMU for each in system.spec.partitions):
        rows.append(("replay", NO_REPLAY))
    return rows
