"""The run: what the VMs are told to do, and when.

All VMs run all cases at the same time, each at its own pace. When the last one is through, and one
is to be killed, all run `MORTAL` once more, in the middle of which the last VM's QEMU gets SIGKILL.
The others go on with `SURVIVED`. Then a VM that forges a page list is created; OP-TEE has room for
it because it has forgotten the dead one.

Something may end all that: OP-TEE, a VM or a tee-supplicant dies, or the run has taken too long.
Such a *cause* is told, with the time when it came. What it kept from ending, and what failed
afterwards, follows from it and is no failure of its own.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ffabric.abi.optee.smc import Return
from ffabric.firmware.hypervisor.optee.rules import ADDRESS
from ffabric.lab.xtest.forger import Forger
from ffabric.lab.xtest.report import Case, Report
from ffabric.system.description.python import vm

if TYPE_CHECKING:
    from ffabric.system.system import Endpoint, System

CASES: Final = ("1001", "1002", "1003", "1004", "1005", "6001")
"""Regression 1001 to 1005, and one of secure storage."""
MORTAL: Final = "1005"
SURVIVED: Final = "1004"
LINES_TO_LIVE: Final = 20
"""Of the case `MORTAL`: several sessions are open then."""
_FORGER_MEMORY: Final = 16 << 20
_LOOK: Final = 1_000_000_000

Say = Callable[[str], object]


class Cause(NamedTuple):
    """What kept a guest (None: all of them) from going on, and when (`time.perf_counter`)."""

    when: float
    guest: Guest | None
    reason: str

    def concerns(self, guest: Guest) -> bool:
        """Whether it is of a guest, or of all."""
        return self.guest is None or self.guest is guest

    def told(self, began: float) -> str:
        """It in a line, with the seconds since the run began."""
        whose = f"{self.guest.name}: " if self.guest is not None else ""
        return f"{whose}{self.reason}, {self.when - began:.1f} s after the start"


class Guest:
    """A Linux VM: its console, the cases that it still has to run, and those that it has run."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.name
        self.report = Report()
        self.waiting: list[str] = []
        self.lines: list[str] = []
        self.fate = ""
        """Why it is no more."""
        self.helpless: float | None = None
        """When it lost its tee-supplicant (`time.perf_counter`)."""
        assert endpoint.guest is not None
        self._qemu = endpoint.guest
        self._told: list[str] = []
        """The cases that it was told to run."""

    @property
    def idle(self) -> bool:
        """Whether it waits to be told what to run."""
        return self.report.ready and self.report.ended == len(self._told)

    @property
    def busy(self) -> bool:
        """Whether there is something to wait for."""
        there = not self.fate and self.helpless is None
        return there and (bool(self.waiting) or not self.idle)

    @property
    def missed(self) -> list[str]:
        """The cases that have not come to their end."""
        return [*self._told[self.report.ended :], *self.waiting]

    def go_on(self) -> None:
        """Begin with the next case, if none runs."""
        if self.idle and self.waiting and self.helpless is None:
            self._told.append(self.waiting.pop(0))
            self._qemu.type(f"{self._told[-1]}\n".encode())

    def kill(self) -> int:
        """Kill its QEMU: the process."""
        pid = self._qemu.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid


class Campaign:
    """The run on ``system``, whose VMs are ``names``; the last of them is killed if ``kill``."""

    def __init__(
        self, system: System, names: Sequence[str], cases: Sequence[str], *, kill: bool, say: Say
    ) -> None:
        self.system = system
        self.guests = {name: Guest(system.endpoints[name]) for name in names}
        self.mortal = self.guests[names[-1]] if kill else None
        """The one that is killed, or None."""
        self.forger: Forger | None = None
        """The one that comes in its place."""
        self.before = len(cases)
        """How many cases a VM runs before one is killed."""
        self.began = time.perf_counter()
        self.causes: list[Cause] = []
        """What has kept the run from going on as it should, the first first."""
        self._say = say
        self._killing = False
        self._dead: list[str] = []
        for guest in self.guests.values():
            guest.waiting += cases
        system.listeners.append(self._line)
        self._look()

    def _line(self, name: str, line: str) -> None:
        """A console has printed a line."""
        guest = self.guests.get(name)
        if guest is None:
            return
        self._see_deaths()
        guest.lines.append(line)
        key = guest.report.line(line)
        if key == "ready":
            self._say(f"{name} is ready")
        elif key == "ends":
            self._say(f"{name}: {told(guest.report.cases[-1])}")
        elif key == "supplicant":
            case = guest.report.current
            inside = f" in the middle of {case.number}" if case is not None else ""
            status = guest.report.supplicant
            self._cause(guest, f"tee-supplicant has ended with exit status {status}{inside}")
            guest.helpless = self.causes[-1].when
        if guest is self.mortal and self._killing:
            self._kill_in_the_middle(guest)
        guest.go_on()
        self._next()

    def _look(self) -> None:
        """See who has died, once a second, if nobody prints anything."""
        self._see_deaths()
        self._next()
        clock = self.system.machine.clock
        clock.at(clock.now + _LOOK, self._look)

    def _see_deaths(self) -> None:
        """Who has died since the last look? Without OP-TEE nobody goes on."""
        for crash in self.system.deaths[len(self._dead) :]:
            self._dead.append(crash.name)
            guest = self.guests.get(crash.name)
            self._say(f"{crash.name} is gone: {crash.reason}")
            if guest is None:
                self._cause(None, f"{crash.name}: {crash.told}")
                self.system.machine.stop()
                continue
            guest.fate = crash.reason
            if guest is not self.mortal or not self._killing:
                self._cause(guest, crash.told)

    def _cause(self, guest: Guest | None, reason: str) -> None:
        """Remember what has happened, to ``guest`` or (None) to all of them."""
        self.causes.append(Cause(time.perf_counter(), guest, reason))

    def _next(self) -> None:
        """If nobody has anything to do, let the next part of the run begin."""
        if any(guest.busy for guest in self.guests.values()) or self.forger is not None:
            return
        first = next(iter(self.guests.values()))
        if self.mortal is not None and not self._killing and not self.mortal.fate:
            self._killing = True
            for guest in self.guests.values():
                guest.waiting += [MORTAL] if guest is self.mortal else [MORTAL, SURVIVED]
                guest.go_on()
        elif self._killing and not first.fate:
            self._forge(first)
        else:
            self.system.machine.stop()

    def _kill_in_the_middle(self, guest: Guest) -> None:
        case = guest.report.current
        if case is not None and case.seen == LINES_TO_LIVE:
            self._say(f"{guest.name} is killed in the middle of {MORTAL} (process {guest.kill()})")

    def _forge(self, victim: Guest) -> None:
        """Create the VM that forges; it ends the run."""
        (memory, *_) = self.system.endpoints[victim.name].spec.memory
        self.forger = Forger(memory.pa, self.system.machine.stop)
        self._say(f"{self.forger.name} lists a page of {victim.name}'s as its own: {memory.pa:#x}")
        self.system.create_vm(vm(self.forger, mem_size=_FORGER_MEMORY))

    # What came of it.

    def told_answers(self) -> list[str]:
        """What the forger was answered, in words."""
        answers = self.forger.answers if self.forger is not None else []
        return [Return(each).name if each in {*Return} else hex(each) for each in answers]

    def ended(self, reason: str) -> None:
        """The run was ended before it was over, for all of the VMs."""
        self._cause(None, reason)

    def problems(self) -> list[str]:
        """What is not as it must be: first what has kept the run from going on."""
        found = [each.told(self.began) for each in self.causes]
        for guest in self.guests.values():
            found += [f"{guest.name}: {each}" for each in guest.report.failed]
            killed = guest is self.mortal and bool(guest.fate)
            end = min((each.when for each in self.causes if each.concerns(guest)), default=None)
            failed = [each for each in guest.report.cases if not each.passed and not killed]
            if end is None and guest.waiting:
                found.append(f"{guest.name} has not run {', '.join(guest.waiting)}")
            found += [
                f"{guest.name}: {told(case)}"
                for case in failed
                if end is None or (case.status is not None and case.ended < end)
            ]
        if self.mortal is not None and not self.causes:
            found += self._problems_of_the_killing(self.mortal)
        return found

    def missed(self) -> str:
        """What did not come to its end because of the causes, in a line; "" if nothing did."""
        if not self.causes:
            return ""
        cut = [
            f"{guest.name}: {', '.join(guest.missed)}"
            for guest in self.guests.values()
            if guest.missed
        ]
        return "; ".join(cut)

    def _problems_of_the_killing(self, mortal: Guest) -> list[str]:
        found = []
        if not mortal.fate:
            found.append(f"{mortal.name} was not killed")
        elif [case for case in mortal.report.cases[:-1] if not case.passed]:
            found.append(f"{mortal.name} had failed before it was killed")
        elif self.forger is None:
            found.append("nobody came in its place")
        elif self.forger.answers != [Return.OK, Return.EBADADDR]:
            found.append(f"the forger was answered {self.told_answers()}, not OK and EBADADDR")
        elif not self.system.refusals.get(ADDRESS.id):
            found.append(f"nothing was refused by {ADDRESS.id}")
        return found


def told(case: Case) -> str:
    """A case in a line."""
    return f"{case.number} {case.title}: {case.result} in {case.seconds:.1f} s"
