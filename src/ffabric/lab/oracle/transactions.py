"""Memory that was sent, and what its receivers may get of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.machine.translation.descriptors import (
    ADDRESS,
    AF,
    MEMATTR_DEVICE_NGNRNE,
    MEMATTR_MASK,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_MASK,
    SW_NS,
    VALID,
    XN,
)

if TYPE_CHECKING:
    from ffabric.lab.oracle.address_spaces import Space

SECURE = 1 << 15
SHARE, LEND, DONATE = "share", "lend", "donate"
Told = tuple[int, int]
"""Of a retrieve response: the permissions, the memory attributes."""


class Transaction:
    """Memory that was sent: what its sender said, and who has it."""

    def __init__(
        self, kind: str, owner: Space, sent: abi.Transaction, pages: list[tuple[int, int]]
    ) -> None:
        self.kind = kind
        self.owner = owner
        self.flags: int = sent.flags
        self.attributes: int = sent.attributes
        self.offers: dict[int, int] = {each.endpoint: each.permissions for each in sent.receivers}
        self.pages = pages
        """(owner's IPA, leaf) of each page, as it was before."""
        self.mirror: list[tuple[int, int]] = []
        """(PA, leaf) of each page in the account of the normal world, if an SP is a receiver."""
        self.holders: dict[int, list[int]] = {}
        """Borrower -> the IPA of each page."""
        self.void: set[int] = set()
        """Receivers that are gone: whoever has their id one day is not meant."""


def judge_offers(transaction: Transaction) -> None:
    """Raise Discrepancy if the sender has offered what it must not."""
    owner = transaction.owner
    for endpoint, rights in transaction.offers.items():
        if owner.id & SECURE and not endpoint & SECURE:
            raise owner.wrong(f"{transaction.kind} to the normal world")
        needed = S2AP_R | S2AP_W if rights & mem.PERM_DATA_RW else S2AP_R
        if any(leaf & needed != needed for _, leaf in transaction.pages):
            raise owner.wrong(f"{transaction.kind} with more rights than it has")


def judge_rights(space: Space, transaction: Transaction, offered: int, rights: int) -> None:
    """Raise Discrepancy if a borrower has got more than it was offered."""
    owned = transaction.pages[0][1]
    limit = offered & mem.PERM_DATA_MASK
    if rights & mem.PERM_DATA_MASK == mem.PERM_DATA_RW and (
        limit == mem.PERM_DATA_RO or not owned & S2AP_W
    ):
        raise space.wrong("may write what it was given to read")
    foreign = owned & SW_NS and space.id & SECURE
    if rights & mem.PERM_INSTRUCTION_MASK == mem.PERM_INSTRUCTION_X and (
        transaction.kind == SHARE or len(transaction.offers) > 1 or foreign
    ):
        raise space.wrong("may execute what it must not")


def judge_type(space: Space, transaction: Transaction, told: int) -> None:
    """Raise Discrepancy if a borrower is told of Normal memory that was sent as a device's."""
    is_device = transaction.pages[0][1] & MEMATTR_MASK != MEMATTR_NORMAL_WB
    sent_as_device = transaction.attributes & mem.MEM_ATTR_TYPE_MASK == mem.MEM_ATTR_TYPE_DEVICE
    if told & mem.MEM_ATTR_TYPE_MASK != mem.MEM_ATTR_TYPE_DEVICE and (
        is_device or (sent_as_device and transaction.kind != DONATE)
    ):
        raise space.wrong("got Normal memory of what is, or was sent as, device memory")


def place(
    space: Space, transaction: Transaction, held: list[int], at: list[int], told: Told
) -> None:
    """The next pages of ``given`` appear at ``at`` in a borrower's space."""
    if len(held) + len(at) > len(transaction.pages):
        raise space.wrong("got more pages than were given")
    for ipa in at:
        if space.leaf(ipa) or ipa in space.marks:
            raise space.wrong(f"memory appears at {ipa:#x}, where there is some already")
        space.set(ipa, borrowed(transaction.pages[len(held)][1], told))
        space.marks[ipa] = transaction
        held.append(ipa)


def end_access(space: Space, transaction: Transaction) -> None:
    """A borrower has nothing of ``given`` any more."""
    for at in transaction.holders.pop(space.id):
        del space.marks[at]
        space.set(at, 0)


def borrowed(leaf: int, told: Told) -> int:
    """The leaf of a borrower's page, from the owner's and what the response says that it is."""
    rights, attributes = told
    kept = leaf & (ADDRESS | MEMATTR_MASK | SH_MASK | SW_NS) | VALID | AF | S2AP_R
    if attributes & mem.MEM_ATTR_TYPE_MASK == mem.MEM_ATTR_TYPE_DEVICE:
        kept = kept & ~MEMATTR_MASK | MEMATTR_DEVICE_NGNRNE
    if rights & mem.PERM_DATA_MASK == mem.PERM_DATA_RW:
        kept |= S2AP_W
    if rights & mem.PERM_INSTRUCTION_MASK != mem.PERM_INSTRUCTION_X:
        kept |= XN
    return kept
