"""A trial of a property: small random systems in which it has to hold.

A property draws an input, right or with one thing wrong, and knows from the specification what the
answer has to be. That tells it what the judges of an episode cannot see: a call that is refused
though it is right, answered though it is wrong, or answered with something else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, MASK64, PAGE
from ffabric.guests.errors import FfaError, status_of
from ffabric.lab.faults.stage import MOST_EXITS, Side, Stage
from ffabric.lab.invariants.invariants import Invariants
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.session.booting import boot
from ffabric.session.ffa import Blocked

if TYPE_CHECKING:
    from types import TracebackType

    from ffabric.session.system import System
    from ffabric.system.description.fields import SystemFields

T = TypeVar("T")


class Trial(Stage):
    """Boots systems that are judged by the invariants as well.

    ``random`` decides everything. `calls` is how many calls were made; ``tried`` are inputs of
    what is no call: manifests, virtqueues.
    """

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.tried = 0
        self._exits = 0

    @property
    def calls(self) -> int:
        """Calls so far, and what else was tried."""
        exits: int = sum(each.system.machine.exits for each in self._systems)
        return self.tried + self._exits + exits

    def boot(self, *, initialising: Collection[str] = (), **fields: Unpack[SystemFields]) -> System:
        """Boot a system that ends with OutOfExits if it goes on for ever; see `ffabric.boot`."""
        system = boot(start=False, initialising=initialising, **fields)
        system.system.machine.exit_limit = MOST_EXITS
        self._systems.append(system)
        self.judge(system)
        system.run()
        return system

    def judge(self, system: System) -> None:
        """Attach what judges a system."""
        Invariants(system)

    def world_of(self, kinds: Collection[str], **fields: Any) -> tuple[Side, Side, Side]:
        """One of some `WORLDS`, chosen at random: ``a``, ``b`` and ``c``."""
        world = self.world(self.random.choice([*kinds]), **fields)
        return world.a, world.b, world.c

    def words(self, count: int, mask: int = MASK64) -> list[int]:
        """Random words, none of them zero."""
        return [self.random.randrange(1, mask + 1) for _ in range(count)]

    def chance(self, probability: float) -> bool:
        """True so often."""
        return self.random.random() < probability

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits = self.calls - self.tried
        super().__exit__(kind, error, trace)


def right(holds: object, what: str) -> None:
    """Raise Discrepancy if something does not hold."""
    if not holds:
        raise Discrepancy(what)


def passes(make: Callable[[], T], what: str) -> T | None:
    """``make`` makes a call that must pass: its result, None if somebody else has the PE then."""
    try:
        return make()
    except Blocked:
        return None
    except FfaError as error:
        raise Discrepancy(f"{what}: {error}") from error


def refused(make: Callable[[], object], what: str, *statuses: Status) -> None:
    """``make`` makes a call that must be refused, with one of ``statuses`` if any are given."""
    try:
        make()
    except Blocked:
        raise Discrepancy(f"{what}: not refused") from None
    except FfaError as error:
        if statuses and error.status not in statuses:
            names = " or ".join(each.name for each in statuses)
            raise Discrepancy(f"{what}: refused with {error.status.name}, not {names}") from error
        return
    raise Discrepancy(f"{what}: not refused")


def status(x: Collection[int]) -> Status | None:
    """The status of an answer in registers; None if it is no FFA_ERROR."""
    registers = [*x]
    return status_of(registers[2]) if registers[0] & MASK32 == fid.FFA_ERROR else None


def clean_after(side: Side, length: int) -> None:
    """Nothing stands in RX behind what was delivered."""
    right(not any(side.got(PAGE)[length:]), f"{side.handle.name}: something behind {length} bytes")
