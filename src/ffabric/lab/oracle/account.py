"""The ledger of a system in hand."""

from __future__ import annotations

from ffabric.lab.oracle import ledger
from ffabric.lab.oracle.transactions import Transaction
from ffabric.session.system import System


class Ledger:
    """An account of all pages of a system, from now on: boot it with ``start=False``.

    Each call that concerns memory is compared with what the tables say; what a call does that it
    must not do raises Discrepancy where the call is made. Without ``strict`` only `check` compares.
    """

    def __init__(self, system: System, *, strict: bool = True) -> None:
        self._ledger = ledger.Ledger(system.system, strict=strict)
        system.system.attach(self._ledger)

    @property
    def transactions(self) -> dict[int, Transaction]:
        """The transactions that are under way, by handle."""
        return self._ledger.transactions

    def check(self) -> None:
        """Compare the account with all tables. Raises Discrepancy."""
        self._ledger.check()

    def check_settled(self) -> None:
        """Compare, and expect that no transaction is under way. Raises Discrepancy."""
        self._ledger.check_settled()

    def __repr__(self) -> str:
        return f"<Ledger: {len(self.transactions)} transactions under way>"
