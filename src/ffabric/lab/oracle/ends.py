"""What events say of a partition's end, of its new beginning, and of memory that its host moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ffabric.abi.words import PAGE
from ffabric.firmware.state.events import (
    Aborted,
    Activation,
    MemoryDonated,
    MemoryReturned,
    Restarted,
    VmDestroyed,
    VmGone,
)
from ffabric.lab.oracle.accounts import Accounts
from ffabric.lab.oracle.address_spaces import Space
from ffabric.lab.oracle.transactions import SECURE, end_access
from ffabric.machine.events import Event

PROTECTED = object()
"""The mark of a page that its host has donated to a VM which is protected from it."""


def _donated(accounts: Accounts, space: Space, event: MemoryDonated) -> None:
    """A host has given memory up for a VM that is protected from it."""
    for ipa in _pages(event):
        space.own(ipa, "a donation")
        space.marks[ipa] = PROTECTED
        space.set(ipa, 0)


def _came_back(accounts: Accounts, space: Space, event: MemoryReturned) -> None:
    """A host has some of that memory again."""
    for ipa in _pages(event):
        if space.marks.pop(ipa, None) is not PROTECTED:
            raise space.wrong(f"gets {ipa:#x}, which it has not donated")
        space.renew(ipa)


def _pages(event: MemoryDonated | MemoryReturned) -> Iterator[int]:
    """Each page of an event's memory."""
    for ipa, _, pages in event.memory:
        yield from range(ipa, ipa + pages * PAGE, PAGE)


def _activated(accounts: Accounts, space: Space, event: Activation) -> None:
    """A new image has its memory with the permissions of the beginning, and may map buffers."""
    space.is_new = event.step == "stopped"
    if space.is_new:
        space.image_replaced()


def _aborted(accounts: Accounts, space: Space, event: Aborted) -> None:
    """An SP gives back at once what it has; a VM when it is taken apart."""
    if space.id & SECURE:
        _settle(accounts, space)


def _restarted(accounts: Accounts, space: Space, event: Restarted) -> None:
    """An SP begins as at boot: what it gave is taken from its borrowers.

    What was given to it before is for it again.
    """
    others = {each.id: each for each in accounts.spaces.values()}
    for handle, transaction in [*accounts.transactions.items()]:
        if transaction.owner is space:
            for endpoint in [*transaction.holders]:
                end_access(others[endpoint], transaction)
            accounts.end(handle, transaction)
    for transaction in accounts.transactions.values():
        transaction.void.discard(space.id)
    accounts.departed.discard(space)
    space.begin_again()


def _destroyed(accounts: Accounts, space: Space, event: VmDestroyed) -> None:
    """Nobody runs in a VM any more, and its tables are taken apart."""
    space.dead = True


def _gone(accounts: Accounts, space: Space, event: VmGone) -> None:
    """A VM has been taken apart: other VMs lose what it gave them, SPs keep it till they let go."""
    others = {each.id: each for each in accounts.spaces.values()}
    for transaction in accounts.transactions.values():
        if transaction.owner is space:
            for endpoint in [each for each in transaction.holders if not each & SECURE]:
                end_access(others[endpoint], transaction)
            accounts.world.loose |= {at for at, _ in transaction.mirror}
    _settle(accounts, space)


def _settle(accounts: Accounts, space: Space) -> None:
    """What ``space`` has goes back; what it gave and nobody has is over."""
    accounts.departed.add(space)
    for handle, transaction in [*accounts.transactions.items()]:
        if space.id in transaction.offers:
            transaction.void.add(space.id)
        if space.id in transaction.holders:
            end_access(space, transaction)
        if transaction.owner in accounts.departed and not transaction.holders:
            over = accounts.end if transaction.owner is space else accounts.leave
            over(handle, transaction)


ENDS: Final[dict[type[Event], Callable[[Accounts, Space, Any], None]]] = {
    Aborted: _aborted,
    Activation: _activated,
    MemoryDonated: _donated,
    MemoryReturned: _came_back,
    Restarted: _restarted,
    VmDestroyed: _destroyed,
    VmGone: _gone,
}
"""What an event means for the partition that it names."""
