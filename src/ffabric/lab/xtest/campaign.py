"""The run: what the VMs are told to do, and when.

All VMs run all cases at the same time, each at its own pace. What comes after the last one is told
by `killings` and `lives`.

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
from ffabric.lab.xtest.killings import KILLINGS, Killing, Victim
from ffabric.lab.xtest.lives import Lives

if TYPE_CHECKING:
    from ffabric.system.spec import PartitionDraft
    from ffabric.system.system import System

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
    so many `lives`; or it is killed, or its tee-supplicant (`kill`), and what comes in the place of
    the VM is a `forger`.
    """

    room: int | None = None
    refusal: str = ""
    kill: Victim | None = None
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
        self.killing: Killing | None = None
        """What is killed of the last VM, or None."""
        if sharing.kill is not None:
            mortal = self.guests[names[-1]]
            kind = KILLINGS[sharing.kill]
            self.killing = kind(system, self.guests, mortal, forger=sharing.forger, say=say)
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
        if guest.killed or guest.cut:
            return
        key = guest.report.line(line)
        if key == "ready":
            self.say(f"{name} is ready")
        elif key == "ends":
            over = guest.report.cases[-1]
            excused = self.killing is not None and self.killing.excuses(guest, over)
            self.say(f"{name}: {told(over, 'cut short' if excused else '')}")
        elif key == "supplicant" and not self._was_to_be(guest, "supplicant"):
            case = guest.report.current
            inside = f" in the middle of {case.number}" if case is not None else ""
            status = guest.report.supplicant
            self._cause(guest, f"tee-supplicant has ended with exit status {status}{inside}")
            guest.helpless = self.causes[-1].when
        if self.killing is not None:
            self.killing.line(guest)
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
            if not self._was_to_be(guest, "vm"):
                self._cause(guest, crash.told)

    def _was_to_be(self, guest: Guest, lost: Victim) -> bool:
        return self.killing is not None and self.killing.lost(guest, lost)

    def _cause(self, guest: Guest | None, reason: str) -> None:
        """Remember what has happened, to ``guest`` or (None) to all of them."""
        self.causes.append(Cause(time.perf_counter(), guest, reason))

    def next(self) -> None:
        """If nobody has anything to do, let the next part of the run begin."""
        if self.lives is not None and self.lives.begun:
            busy = self.lives.go_on()
        else:
            busy = any(guest.busy for guest in self.guests.values())
        if busy:
            return
        killing = self.killing
        if self.lives is not None and not self.lives.begun:
            self.lives.go_on()
        elif killing is not None and not killing.begun and not killing.mortal.fate:
            killing.begin()
        elif killing is None or not killing.begun or not killing.go_on():
            self.system.machine.stop()

    def at_work(self) -> str:
        """What those are at that have something to do, in a line."""
        work: dict[str, list[str]] = {}
        for name in self.guests:
            guest = self._guest(name)
            if guest is not None and guest.at_work:
                work.setdefault(guest.at_work, []).append(name)
        return "; ".join(f"{', '.join(names)}: {what}" for what, names in work.items())

    # What came of it.

    def ended(self, reason: str) -> None:
        """The run was ended before it was over, for all of the VMs."""
        self._cause(None, reason)

    def problems(self) -> list[str]:
        """What is not as it must be: first what has kept the run from going on."""
        found = [each.told(self.began) for each in self.causes]
        for guest in self.guests.values():
            found += [f"{guest.name}: {each}" for each in guest.report.failed]
            end = min((each.when for each in self.causes if each.concerns(guest)), default=None)
            failed = [
                each
                for each in guest.report.cases
                if not each.passed and not (self.killing and self.killing.excuses(guest, each))
            ]
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
        if self.killing is not None and not self.causes:
            found += self.killing.problems()
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
