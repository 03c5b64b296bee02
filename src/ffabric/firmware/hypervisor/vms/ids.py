"""Endpoint ids of VMs: 1 to 0x7FFF (DEN0077A 1.2, section 6.1: bit 15 is the secure world's).

An id is used again only when nothing of its former VM is left: no memory that an SP has not
relinquished, no memory that was sent to it, no message about it that an SP has not had. Those that
have been free the longest come first, so that who still remembers an id has time to forget it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

FIRST = 1
LAST = 0x7FFF


class NoIds(Exception):  # noqa: N818 - an answer to a request, not an error of the program
    """Every endpoint id of the normal world is taken."""


class VmIds:
    """Which ids are taken; ``remembered`` tells those of which something is left.

    It is asked once for each new id, however many of them there are.
    """

    def __init__(self, remembered: Callable[[], set[int]]) -> None:
        self._taken: set[int] = set()
        self._last = 0
        self._remembered = remembered

    def take(self, number: int) -> None:
        """Take the id ``number``."""
        self._taken.add(number)
        self._last = number

    def reserve(self, numbers: Iterable[int]) -> None:
        """Give these to no VM, for good."""
        self._taken.update(numbers)

    def release(self, number: int) -> None:
        """The VM with the id ``number`` is gone."""
        self._taken.discard(number)

    def begin_again(self) -> None:
        """The next id is the lowest that is free, for whoever wants to see ids used again soon."""
        self._last = 0

    def next(self) -> int:
        """The next id that is free; NoIds if there is none."""
        count = LAST - FIRST + 1
        taken, remembered = self._taken, self._remembered()
        for step in range(count):
            number = FIRST + (self._last + 1 - FIRST + step) % count
            if number not in taken and number not in remembered:
                return number
        raise NoIds(f"all {count} endpoint ids of VMs are taken")
