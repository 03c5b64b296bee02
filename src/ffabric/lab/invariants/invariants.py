"""The invariants of a system in hand: one face for all instruments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ffabric.lab.invariants import instruments
from ffabric.lab.invariants.optee.isolation import OpTeeIsolation
from ffabric.lab.oracle.ledger import Ledger
from ffabric.machine.events import Call
from ffabric.system.options.problems import did_you_mean

if TYPE_CHECKING:
    from ffabric.lab.invariants.instruments import Instrument
    from ffabric.lab.oracle.transactions import Transaction
    from ffabric.machine.events import Event
    from ffabric.session.system import System
    from ffabric.system import system as booted

OWNERSHIP = "ownership"
_KINDS: dict[str, Callable[[booted.System], Instrument]] = {
    "isolation": instruments.Isolation,
    "contexts": instruments.Contexts,
    "buffers": instruments.Buffers,
    "notifications": instruments.Notifications,
    "progress": instruments.Progress,
}
OPTEE = "optee"
_NAMED_ONLY: dict[str, Callable[[booted.System], Instrument]] = {OPTEE: OpTeeIsolation}
"""What does not hold of every system."""
NAMES = (OWNERSHIP, *_KINDS)
"""The invariants that hold of every system."""


def names_in(option: str) -> tuple[str, ...]:
    """The names with commas between them; ``all`` stands for `NAMES`. Raises ValueError."""
    words = [each.strip() for each in option.split(",")]
    found = dict.fromkeys(n for each in words for n in (NAMES if each == "all" else (each,)))
    check_names(found)
    return tuple(found)


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name of no invariant."""
    for name in names:
        known = (*NAMES, *_NAMED_ONLY)
        if name not in known:
            raise ValueError(f"there is no invariant {name!r}{did_you_mean(name, known)}")


class Judge:
    """Judges a booted system; see `Invariants`."""

    def __init__(self, inside: booted.System, *names: str) -> None:
        check_names(names)
        self.names = names or NAMES
        self._passing = inside.machine.tracer
        self._ledger = Ledger(inside) if OWNERSHIP in self.names else None
        kinds = _KINDS | _NAMED_ONLY
        self._instruments = [make(inside) for name, make in kinds.items() if name in self.names]
        inside.attach(self)

    def record(self, event: Event) -> None:
        """An event of the run: judge it. Raises Discrepancy."""
        if self._passing is not None:
            self._passing.record(event)
        if isinstance(event, Call):
            self._look()
        if self._ledger is not None:
            self._ledger.record(event)
        for each in self._instruments:
            each.hear(event)

    def _look(self) -> None:
        for each in self._instruments:
            each.look()

    @property
    def transactions(self) -> dict[int, Transaction]:
        """The memory transactions that are under way, by handle; of ``ownership``."""
        return {} if self._ledger is None else self._ledger.accounts.transactions

    def check(self) -> None:
        """Judge what there is now. Raises Discrepancy."""
        self._look()
        if self._ledger is not None:
            self._ledger.check()

    def check_settled(self) -> None:
        """Judge, and expect that no memory transaction is under way. Raises Discrepancy."""
        self.check()
        if self._ledger is not None:
            self._ledger.check_settled()


class Invariants:
    """Judges a system from now on, at every call: Discrepancy, an AssertionError, says what broke.

    ``names`` are some of these; without any, all but ``optee`` are judged:

    ================= ========================================================================
    ``ownership``     what the tables let each endpoint reach is what its calls imply; a page
                      has one owner. The system must not have run yet: boot it with
                      ``start=False``
    ``isolation``     nobody reaches what is another's, whatever was called: no secure memory in
                      the normal world, no page with two owners, no free frame in use
    ``contexts``      a vCPU runs on one PE, a PE runs one context, call chains are unbroken
    ``buffers``       RX goes to its consumer by a message, and back by the consumer's call
                      alone
    ``notifications`` what is set is got once: nothing is lost, made up, or doubled
    ``progress``      the firmware ends what it does for a call; nobody makes one refused call
                      for ever
    ``optee``         what a VM has in a virtualized OP-TEE (sessions, memory, threads, RPCs) is
                      nothing to another: OP-TEE as an SP with a bank for each VM, or below EL3
                      with a hypervisor that mediates; of an OP-TEE in Python also what its
                      TAs keep
    ================= ========================================================================

    Whoever traces the system, too, begins with that first. Raises ValueError for an unknown name.
    """

    def __init__(self, system: System, *names: str) -> None:
        self._judge = Judge(system.system, *names)

    @property
    def transactions(self) -> dict[int, Transaction]:
        """The memory transactions that are under way, by handle; of ``ownership``."""
        return self._judge.transactions

    def check(self) -> None:
        """Judge what there is now. Raises Discrepancy."""
        self._judge.check()

    def check_settled(self) -> None:
        """Judge, and expect that no memory transaction is under way. Raises Discrepancy."""
        self._judge.check_settled()

    def __repr__(self) -> str:
        return f"<Invariants: {', '.join(self._judge.names)}>"
