"""A run of a booted system to its end, whatever end that is, with the trace whole.

What a person at a terminal may do to a run (interrupt it) and what a partition may do (crash, power
the system off, spin) all end up as an :class:`Outcome`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from ffabric.lab.watchdog import DEFAULT_SECONDS, Watchdog
from ffabric.machine.host.interruption import Interrupted, interruptible
from ffabric.machine.machine import OutOfExits
from ffabric.system.crash import PartitionCrashed
from ffabric.system.waiting import Wait, waiting

if TYPE_CHECKING:
    from ffabric.system.system import System


class End(enum.Enum):
    """How a run ended."""

    IDLE = "nothing can run any more"
    STOPPED = "stopped"
    POWERED_OFF = "powered off"
    CRASHED = "crashed"
    OUT_OF_EVENTS = "out of events"
    INTERRUPTED = "interrupted"


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended, and why in a line; if nothing can run any more, what everybody waits for."""

    end: End
    reason: str
    waiting: tuple[Wait, ...] = ()
    interruption: Interrupted | None = None

    @property
    def said(self) -> str:
        """All of it in one line."""
        waits = map(str, self.waiting)
        return "; ".join([self.end.value, *waits]) if self.waiting else self.reason

    def raise_interruption(self) -> None:
        """Raise what has interrupted the run, if anything has."""
        if self.interruption is not None:
            raise self.interruption


def run_to_end(system: System, *, watchdog: float = DEFAULT_SECONDS) -> Outcome:
    """Run ``system`` until it ends; ``watchdog`` seconds without an exit are a partition's crash.

    A signal that asks for the end, such as Ctrl-C's, ends the run after the present exit. Lines
    that consoles have begun are printed as they are.
    """
    try:
        with Watchdog(system.machine, watchdog), interruptible():
            system.run()
    except PartitionCrashed as crash:
        return Outcome(End.CRASHED, str(crash))
    except OutOfExits as spent:
        return Outcome(End.OUT_OF_EVENTS, str(spent))
    except KeyboardInterrupt as error:
        interruption = Interrupted.of(error)
        return Outcome(End.INTERRUPTED, str(interruption), interruption=interruption)
    finally:
        system.flush_consoles()
    return _quiet_end(system)


def _quiet_end(system: System) -> Outcome:
    state = system.firmware.monitor.power_state
    if state != "on":
        return Outcome(End.POWERED_OFF, f"the system is powered off ({state})")
    if system.machine.stopping:
        return Outcome(End.STOPPED, system.stop_reason)
    waits = waiting(system)
    stuck = [str(wait) for wait in waits if wait.stuck]
    return Outcome(End.IDLE, "; ".join([End.IDLE.value, *stuck]), tuple(waits))


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
    return rows
