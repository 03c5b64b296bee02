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

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ffabric.lab.xtest.forger import Forger, SmcForger
from ffabric.lab.xtest.guest import Guest, told
from ffabric.lab.xtest.lives import SURVIVED, Lives
from ffabric.system.description.python import vm

if TYPE_CHECKING:
    from ffabric.system.spec import PartitionDraft
    from ffabric.system.system import System

MORTAL: Final = "1005"
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


class Sharing(msgspec.Struct, frozen=True):
    """What VMs that share an OP-TEE go through besides the cases.

    It has `room` for so many (None: for all); calls of the others are refused by the rule
    `refusal`. The last of those that it serves is destroyed and created anew, as `anew` makes it,
    so many `lives`; or it is killed if `kill`, and what comes in its place is a `forger`.
    """

    room: int | None = None
    refusal: str = ""
    kill: bool = False
    forger: type[Forger] = SmcForger
    lives: int = 0
    anew: Callable[[str], PartitionDraft] | None = None


ALONE: Final = Sharing()


class Campaign:
    """The run on ``system``, whose VMs are ``names``."""

    def __init__(
        self,
        system: System,
        names: Sequence[str],
        cases: Sequence[str],
        *,
        say: Say,
        sharing: Sharing = ALONE,
    ) -> None:
        self.system = system
        self.sharing = sharing
        names, self.refused = names[: sharing.room], names[len(names[: sharing.room]) :]
        self.guests = {name: Guest(system.endpoints[name]) for name in names}
        self.lives: Lives | None = None
        """Those that the last VM has besides its first one, or None."""
        self.mortal = self.guests[names[-1]] if sharing.kill else None
        """The one that is killed, or None."""
        self.forger: Forger | None = None
        """The one that comes in its place."""
        self.before = len(cases)
        """How many cases a VM runs before one is killed."""
        self.began = time.perf_counter()
        self.causes: list[Cause] = []
        """What has kept the run from going on as it should, the first first."""
        self.say = say
        if sharing.lives:
            assert sharing.anew is not None
            self.lives = Lives(
                system,
                self.guests,
                names[-1],
                anew=sharing.anew,
                times=sharing.lives,
                before=self.before,
                say=say,
            )
        self._killing = False
        self._dead: list[str] = []
        for guest in self.guests.values():
            guest.waiting += cases
        system.listeners.append(self._line)
        self._look()

    def _line(self, name: str, line: str) -> None:
        """A console has printed a line."""
        guest = self._guest(name)
        if guest is None:
            return
        self._see_deaths()
        guest.lines.append(line)
        key = guest.report.line(line)
        if key == "ready":
            self.say(f"{name} is ready")
        elif key == "ends":
            self.say(f"{name}: {told(guest.report.cases[-1])}")
        elif key == "supplicant":
            case = guest.report.current
            inside = f" in the middle of {case.number}" if case is not None else ""
            status = guest.report.supplicant
            self._cause(guest, f"tee-supplicant has ended with exit status {status}{inside}")
            guest.helpless = self.causes[-1].when
        if guest is self.mortal and self._killing:
            self._kill_in_the_middle(guest)
        guest.go_on()
        self.next()

    def _guest(self, name: str) -> Guest | None:
        """Who has that name now."""
        if self.lives is not None and self.lives.guest is not None and name == self.lives.name:
            return self.lives.guest
        return self.guests.get(name)

    def _look(self) -> None:
        """See who has died, once a second, if nobody prints anything."""
        self._see_deaths()
        self.next()
        clock = self.system.machine.clock
        clock.at(clock.now + _LOOK, self._look)

    def _see_deaths(self) -> None:
        """Who has died since the last look? Without OP-TEE nobody goes on."""
        for crash in self.system.deaths[len(self._dead) :]:
            self._dead.append(crash.name)
            guest = self._guest(crash.name)
            self.say(f"{crash.name} is gone: {crash.reason}")
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

    def next(self) -> None:
        """If nobody has anything to do, let the next part of the run begin."""
        if self.lives is not None and self.lives.begun:
            busy = self.lives.go_on()
        else:
            busy = any(guest.busy for guest in self.guests.values())
        if busy or self.forger is not None:
            return
        if self.lives is not None and not self.lives.begun:
            self.lives.go_on()
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
            self.say(f"{guest.name} is killed in the middle of {MORTAL} (process {guest.kill()})")

    def _forge(self, victim: Guest) -> None:
        """Create the VM that forges; it ends the run."""
        (memory, *_) = self.system.endpoints[victim.name].spec.memory
        self.forger = self.sharing.forger(memory.pa, self.system.machine.stop)
        self.say(f"{self.forger.name} lists a page of {victim.name}'s as its own: {memory.pa:#x}")
        self.system.create_vm(vm(self.forger, mem_size=_FORGER_MEMORY))

    # What came of it.

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
        if self.refused and not self.causes and not self.system.refusals.get(self.sharing.refusal):
            found.append(f"{', '.join(self.refused)}: not refused by {self.sharing.refusal}")
        if self.lives is not None and not self.causes:
            found += self.lives.problems()
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
        elif self.forger.answers != [*self.forger.expected]:
            wanted = " and ".join(self.forger.expected)
            found.append(f"the forger was answered {self.forger.answers}, not {wanted}")
        elif not self.system.refusals.get(self.forger.rule):
            found.append(f"nothing was refused by {self.forger.rule}")
        return found
