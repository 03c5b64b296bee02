"""What history implies: what each endpoint reaches, and what memory is sent and not yet back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE, pages_for
from ffabric.lab.oracle.address_spaces import MAILBOX
from ffabric.lab.oracle.transactions import Transaction
from ffabric.machine.translation.descriptors import ADDRESS

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition
    from ffabric.lab.oracle.address_spaces import Space
    from ffabric.lab.oracle.tables import Tables
    from ffabric.machine.memory import PhysicalMemory


class Accounts:
    """What each endpoint of a system should reach, and which transactions there are.

    ``world`` is the SPMC's account of the normal world; without a hypervisor, the kernel's memory.
    """

    def __init__(self, memory: PhysicalMemory, tables: Tables, world: Space) -> None:
        self.memory = memory
        self.tables = tables
        self.world = world
        self.spaces: dict[Partition, Space] = {}
        self.transactions: dict[int, Transaction] = {}
        self.pending: dict[int, tuple[str, bytearray]] = {}
        """Handle of a transaction in pieces -> its kind, and what has been sent of it."""
        self.unread: dict[tuple[int, int], list[int]] = {}
        """(handle, endpoint) -> where the pages are that no piece of a response has told yet."""
        self.departed: set[Space] = set()
        """Endpoints that have died: what they gave ends when nobody has it any more."""

        self.left: dict[int, Transaction] = {}
        """Memory of dead VMs that SPs had and have let go. The hypervisor is not told of that, and
        reclaims it when it asks for it; until then an SP may retrieve it again.
        """

    def named(self, name: str) -> Space | None:
        """The space of the endpoint with a name, if there is one."""
        return next((each for each in self.spaces.values() if each.name == name), None)

    def everybody(self) -> tuple[Space, ...]:
        """The account of the normal world, then the endpoints' spaces."""
        return self.world, *self.spaces.values()

    def known(self, space: Space, handle: int) -> Transaction:
        """The transaction with a handle. Discrepancy if ``space`` was let have one that is not."""
        transaction = self.transactions.get(handle)
        if transaction is None:
            raise space.wrong(f"{handle:#x} was accepted and stands for nothing")
        return transaction

    def offered(self, space: Space, handle: int) -> Transaction:
        """As `known`, or of a dead VM's that was `left`: it is offered to SPs as it was."""
        transaction = self.left.pop(handle, None)
        if transaction is not None:
            self.transactions[handle] = transaction
            self.world.marks.update((at, transaction) for at, _ in transaction.mirror)
        return self.known(space, handle)

    def leave(self, handle: int, transaction: Transaction) -> None:
        """Nobody has any more what a dead endpoint gave."""
        self.end(handle, transaction)
        if transaction.mirror:
            self.left[handle] = transaction

    def reuse(self, frames: Iterable[int]) -> None:
        """Frames have a new owner: what was left of theirs is reclaimed."""
        if self.left:
            owned = {*frames}
            for handle, transaction in [*self.left.items()]:
                if any(at in owned for at, _ in transaction.mirror):
                    del self.left[handle]

    def sides(self, transaction: Transaction) -> list[tuple[Space, int, int]]:
        """(space, IPA, leaf) of each page, in the owner's space and in `world`."""
        found = [(transaction.owner, at, leaf) for at, leaf in transaction.pages]
        return found + [(self.world, at, leaf) for at, leaf in transaction.mirror]

    def end(self, handle: int, transaction: Transaction) -> None:
        """The owner has its pages again, as they were."""
        for side, at, leaf in self.sides(transaction):
            side.marks.pop(at, None)
            side.set(at, leaf)
        del self.transactions[handle]

    def buffer(self, pages: list[int], length: int) -> bytes:
        """The first ``length`` bytes of RX or TX."""
        return b"".join(map(self._page, pages[: pages_for(length)]))[:length]

    def _page(self, pa: int) -> bytes:
        bank = self.memory.bank_at(pa)
        return self.memory.read(pa, PAGE, secure=bank.secure) if bank is not None else b""

    def check_cleared(self, transaction: Transaction) -> None:
        """Raise Discrepancy unless all pages of a transaction read as zeros."""
        for at, leaf in transaction.pages:
            if any(self._page(leaf & ADDRESS)):
                raise transaction.owner.wrong(f"its page {at:#x} was to be cleared and is not")

    def check_settled(self) -> None:
        """Raise Discrepancy if anything is still given or borrowed, or reached by two."""
        for handle, transaction in self.transactions.items():
            raise transaction.owner.wrong(f"{handle:#x} ({transaction.kind}) has not come back")
        living = [s for s in self.spaces.values() if s is not self.world and not s.dead]
        for space in living:
            for ipa, mark in space.marks.items():
                if mark is not MAILBOX:
                    raise space.wrong(f"{ipa:#x} is still marked as given or borrowed")
            for ipa, leaf in space.moved().items():
                for other in living if leaf else ():
                    at = other.address_of(leaf & ADDRESS)
                    if at is not None and (other is not space or at != ipa):
                        raise space.wrong(f"{ipa:#x} is also what {other.name} has at {at:#x}")
