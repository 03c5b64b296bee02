"""A VM that is destroyed and created anew while the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from ffabric.lab.xtest.guest import Guest, told

if TYPE_CHECKING:
    from ffabric.system.spec import PartitionDraft
    from ffabric.system.system import System

SURVIVED: Final = "1004"
"""What is run by those that go on."""
_SOON: Final = 20_000_000


class Lives:
    """The VM ``name`` is destroyed and created anew, by ``anew`` and so many ``times``.

    In each life it runs `SURVIVED`; the others of the ``guests`` run that again and again
    meanwhile, after the ``before`` cases that all of them have run.
    """

    def __init__(
        self,
        system: System,
        guests: Mapping[str, Guest],
        name: str,
        *,
        anew: Callable[[str], PartitionDraft],
        times: int,
        before: int,
        say: Callable[[str], object],
    ) -> None:
        self.name = name
        self.times = times
        self.ended: list[Guest] = []
        """Its lives that are over."""
        self.guest: Guest | None = None
        """Its present life, but for the first one."""
        self._system, self._guests, self._anew = system, guests, anew
        self._before, self._say = before, say
        self._coming = False
        """It is to be created as soon as nothing is left of it."""

    @property
    def begun(self) -> bool:
        """Whether its first life is over."""
        return self._coming or self.guest is not None

    def go_on(self) -> bool:
        """Begin the next life if one is over, and keep the others busy; False: nobody is busy."""
        alive = self._coming or (self.guest is not None and self.guest.busy) or self._begins()
        others = [each for each in self._guests.values() if each.name != self.name]
        for guest in others:
            if alive and not guest.busy and not guest.fate:
                guest.waiting.append(SURVIVED)
                guest.go_on()
        return alive or any(guest.busy for guest in others)

    def _begins(self) -> bool:
        """A life is over: destroy the VM, if it is to have another one."""
        if self.guest is not None and self.guest not in self.ended:
            self.ended.append(self.guest)
        if len(self.ended) == self.times or self.name not in self._system.endpoints:
            return False
        self._coming = True
        self._system.destroy_vm(self.name)
        self._come()
        return True

    def _come(self) -> None:
        system = self._system
        if self.name in system.endpoints:  # it still has something under way
            clock = system.machine.clock
            clock.at(clock.now + _SOON, self._come)
            return
        self._coming = False
        self.guest = Guest(system.create_vm(self._anew(self.name)))
        self.guest.waiting.append(SURVIVED)
        self._say(f"{self.name} is created anew ({len(self.ended) + 1} of {self.times})")

    def meanwhile(self) -> Iterator[tuple[str, int]]:
        """The others, and how often each has passed `SURVIVED` meanwhile."""
        for guest in self._guests.values():
            if guest.name != self.name:
                later = guest.report.cases[self._before :]
                yield guest.name, sum(case.passed for case in later)

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = []
        for number, guest in enumerate(self.ended, 1):
            life = f"{self.name}, created anew {number}"
            found += [f"{life}: {each}" for each in guest.report.failed]
            found += [f"{life}: {told(case)}" for case in guest.report.cases if not case.passed]
            if guest.fate:
                found.append(f"{life}: {guest.fate}")
        if len(self.ended) < self.times:
            found.append(f"{self.name} was created anew {len(self.ended)} times, not {self.times}")
        return found
