"""What is killed in the middle of a case, and how the others go on.

When all have run their cases, all run one more (`Killing.case`), in the middle of which the last
VM's QEMU, or its tee-supplicant, gets SIGKILL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from ffabric.lab.xtest.lives import SURVIVED
from ffabric.system.description.python import vm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ffabric.lab.xtest.forger import Forger
    from ffabric.lab.xtest.guest import Guest
    from ffabric.lab.xtest.report import Case
    from ffabric.system.system import System

Victim = Literal["vm", "supplicant"]
_FORGER_MEMORY: Final = 16 << 20


class Killing(ABC):
    """Something of ``mortal``, one of the ``guests`` on ``system``, is killed."""

    what: ClassVar[str]
    """What is killed, in a word."""
    case: ClassVar[str]
    """The case in the middle of which that is."""
    lines: ClassVar[int]
    """After so many lines of it."""

    def __init__(
        self,
        system: System,
        guests: Mapping[str, Guest],
        mortal: Guest,
        *,
        forger: type[Forger],
        say: Callable[[str], object],
    ) -> None:
        self.system, self.guests, self.mortal, self.say = system, guests, mortal, say
        self.begun = False
        """All run the case, or have run it."""
        self.done = False
        """It is killed."""
        self.forger: Forger | None = None
        """The VM that comes in its place."""
        self._forger = forger

    def begin(self) -> None:
        """Let all run the case."""
        self.begun = True
        for guest in self.guests.values():
            guest.waiting.append(self.case)
            if guest is not self.mortal:
                guest.waiting.append(SURVIVED)
            guest.go_on()

    def line(self, guest: Guest) -> None:
        """A guest has printed a line: kill if it is the one after which that is to be."""
        if guest is self.mortal and self.begun and not self.done:
            case = guest.report.current
            if case is not None and case.number == self.case and case.seen >= self.lines:
                self.done = True
                self.say(f"{self.kill()} is killed in the middle of {self.case}")

    @abstractmethod
    def kill(self) -> str:
        """Kill it; what it was."""

    @abstractmethod
    def go_on(self) -> bool:
        """The case is over; False: and there is nothing more to do."""

    @abstractmethod
    def lost(self, guest: Guest, what: Victim) -> bool:
        """A guest has lost its QEMU, or its tee-supplicant: whether that is what was to be."""

    @abstractmethod
    def excuses(self, guest: Guest, case: Case) -> bool:
        """Whether a case that has failed is not to be judged."""

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """What is not as it must be."""


class OfTheVm(Killing):
    """The QEMU of the VM is killed, while it has several sessions open.

    Then a VM is created that lists another one's page as its own: OP-TEE has room for it because it
    has forgotten the dead one.
    """

    what = "VM"
    case = "1005"
    lines = 20

    def kill(self) -> str:
        """Its QEMU."""
        return f"{self.mortal.name} (process {self.mortal.kill()})"

    def go_on(self) -> bool:
        """Create the VM that forges; it ends the run."""
        victim = next(iter(self.guests.values()))
        if self.forger is not None or victim.fate:
            return self.forger is not None
        (memory, *_) = self.system.endpoints[victim.name].spec.memory
        self.forger = self._forger(memory.pa, self.system.machine.stop)
        self.say(f"{self.forger.name} lists a page of {victim.name}'s as its own: {memory.pa:#x}")
        self.system.create_vm(vm(self.forger, mem_size=_FORGER_MEMORY))
        return True

    def lost(self, guest: Guest, what: Victim) -> bool:
        """Its QEMU."""
        return what == "vm" and self.begun and guest is self.mortal

    def excuses(self, guest: Guest, case: Case) -> bool:
        """The dead one's."""
        return guest is self.mortal and (guest.killed or bool(guest.fate))

    def problems(self) -> Iterator[str]:
        """What is not as it must be."""
        mortal, forger = self.mortal, self.forger
        if not mortal.fate:
            yield f"{mortal.name} was not killed"
        elif [case for case in mortal.report.cases[:-1] if not case.passed]:
            yield f"{mortal.name} had failed before it was killed"
        elif forger is None:
            yield "nobody came in its place"
        elif forger.answers != [*forger.expected]:
            wanted = " and ".join(forger.expected)
            yield f"the forger was answered {forger.answers}, not {wanted}"
        elif not self.system.refusals.get(forger.rule):
            yield f"nothing was refused by {forger.rule}"


class OfTheSupplicant(Killing):
    """The tee-supplicant of the VM is killed, while OP-TEE has a file open with it.

    Linux ends the client that waits for it, too. The VM starts another tee-supplicant, and passes
    `SURVIVED` as the others do.
    """

    what = "supplicant"
    case = "6001"
    lines = 12
    _replaced = False

    def kill(self) -> str:
        """The process in the VM."""
        self.mortal.kill_supplicant()
        return f"{self.mortal.name}'s tee-supplicant"

    def go_on(self) -> bool:
        """Nothing more."""
        return False

    def lost(self, guest: Guest, what: Victim) -> bool:
        """The one that was killed: another one is started."""
        expected = what == "supplicant" and self.done and not self._replaced
        if not expected or guest is not self.mortal:
            return False
        self._replaced = True
        self.say(f"{guest.name} starts another tee-supplicant")
        guest.start_supplicant()
        guest.waiting.append(SURVIVED)
        return True

    def excuses(self, guest: Guest, case: Case) -> bool:
        """The one in the middle of which it was killed."""
        return guest is self.mortal and self._replaced and case.number == self.case

    def problems(self) -> Iterator[str]:
        """What is not as it must be."""
        if not self._replaced:
            yield f"{self.mortal.name}'s tee-supplicant was not killed"


KILLINGS: Final[dict[Victim, type[Killing]]] = {"vm": OfTheVm, "supplicant": OfTheSupplicant}
"""By what is killed."""
