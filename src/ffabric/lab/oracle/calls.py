"""What the success of a call means for the memory of its caller and of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.flags import VersionFlags
from ffabric.abi.ffa.version import V1_3
from ffabric.abi.words import MASK32, PAGE, join
from ffabric.lab.oracle.accounts import Accounts
from ffabric.lab.oracle.address_spaces import MAILBOX, Space
from ffabric.lab.oracle.transactions import (
    DONATE,
    LEND,
    SECURE,
    SHARE,
    Told,
    Transaction,
    borrowed,
    end_access,
    judge_offers,
    judge_rights,
    judge_type,
    place,
)
from ffabric.machine.translation.descriptors import ADDRESS, S2AP_R, S2AP_W, XN, XN_MASK

_KINDS = {
    fid.FFA_MEM_SHARE_32: SHARE,
    fid.FFA_MEM_SHARE_64: SHARE,
    fid.FFA_MEM_LEND_32: LEND,
    fid.FFA_MEM_LEND_64: LEND,
    fid.FFA_MEM_DONATE_32: DONATE,
    fid.FFA_MEM_DONATE_64: DONATE,
}
_PERM_BITS = {
    mem.MEM_PERM_NO_ACCESS: 0,
    mem.MEM_PERM_RW: S2AP_R | S2AP_W,
    mem.MEM_PERM_RO: S2AP_R,
}


class Made:
    """A call that has not returned: its registers, and the bytes of TX that it is about."""

    __slots__ = ("tx", "x")

    def __init__(self, x: list[int], tx: bytes) -> None:
        self.x = x
        self.tx = tx


def _version(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    answer, asked = x[0] & MASK32, made.x[1] & MASK32
    is_query = asked >= V1_3 and made.x[2] & VersionFlags.QUERY.mask
    if not answer >> 31 and not is_query:
        space.version = min(asked, answer)


def _map(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    tx, rx, count = made.x[1:4]
    if space is accounts.world and not tx | rx:
        return
    if space.is_new:
        _unmap(accounts, space, made, x)
    for ipa, buffer in ((tx, space.tx), (rx, space.rx)):
        buffer.clear()
        for at in range(ipa, ipa + count * PAGE, PAGE):
            leaf = space.own(at, "a mailbox")
            if not leaf & S2AP_W:
                raise space.wrong(f"a mailbox at {at:#x}, which it cannot write")
            space.marks[at] = MAILBOX
            buffer.append(leaf & ADDRESS)


def _unmap(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    if space is accounts.world and made.x[1] >> 16:
        return
    space.tx, space.rx = [], []
    for at in [at for at, mark in space.marks.items() if mark is MAILBOX]:
        del space.marks[at]


def _send(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    kind = _KINDS[made.x[0]]
    if x[0] & MASK32 == fid.FFA_MEM_FRAG_RX:
        accounts.pending[_handle(x, 1)] = kind, bytearray(made.tx)
    else:
        _begin(accounts, space, kind, made.tx, _handle(x, 2))


def _send_more(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    handle = _handle(made.x, 1)
    if handle not in accounts.pending:
        raise space.wrong(f"a fragment of {handle:#x}, which nobody has begun")
    kind, data = accounts.pending[handle]
    data += made.tx
    if x[0] & MASK32 == fid.FFA_SUCCESS_32:
        del accounts.pending[handle]
        _begin(accounts, space, kind, bytes(data), _handle(x, 2))


def _begin(accounts: Accounts, space: Space, kind: str, data: bytes, handle: int) -> None:
    try:
        sent = abi.parse_transaction(data, space.version)
    except DecodeError as error:
        raise space.wrong(f"a malformed {kind} was accepted: {error}") from error
    if space is not accounts.world and sent.sender != space.id:
        raise space.wrong(f"{kind} in the name of {sent.sender:#x}")
    pages = [
        (at, space.own(at, kind))
        for ipa, count in sent.constituents
        for at in range(ipa, ipa + count * PAGE, PAGE)
    ]
    if len({at for at, _ in pages}) != len(pages) or not pages:
        raise space.wrong(f"{kind} of no page, or of a page twice")
    transaction = Transaction(kind, space, sent, pages)
    judge_offers(transaction)
    former = accounts.transactions.get(handle)
    if former is not None:
        raise space.wrong(f"{kind} got the handle {handle:#x}, which stands for something")
    accounts.transactions[handle] = transaction
    accounts.left.pop(handle, None)
    if space is not accounts.world and not space.id & SECURE and not handle >> 63:
        transaction.mirror = [
            (leaf & ADDRESS, accounts.world.own(leaf & ADDRESS, kind)) for _, leaf in pages
        ]
    for side, at, _ in accounts.sides(transaction):
        side.marks[at] = transaction
        if kind != SHARE:
            side.set(at, 0)
    if transaction.flags & mem.FLAG_CLEAR:
        accounts.check_cleared(transaction)


def _retrieve(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    wanted = abi.parse_transaction(made.tx, space.version)
    if space is accounts.world and not wanted.receivers:
        return
    transaction = accounts.offered(space, wanted.handle)
    offered = transaction.offers.get(space.id)
    if offered is None or space.id in transaction.holders or space.id in transaction.void:
        raise space.wrong(f"retrieved {wanted.handle:#x}, which is not for it now")
    data = accounts.buffer(space.rx, x[2] & MASK32)
    response = abi.parse_transaction(data, space.version)
    told = response.receivers[0].permissions, response.attributes
    judge_rights(space, transaction, offered, told[0])
    judge_type(space, transaction, told[1])
    held = transaction.holders[space.id] = []
    place(space, transaction, held, _pages(response.constituents), told)
    if len(held) < len(transaction.pages):
        rest = _find_rest(accounts, space, transaction, held, told)
        accounts.unread[wanted.handle, space.id] = rest
        place(space, transaction, held, rest, told)
    if wanted.flags & mem.FLAG_CLEAR:
        accounts.check_cleared(transaction)
    if transaction.kind == DONATE:
        _taken(accounts, space, wanted.handle, transaction)


def _find_rest(
    accounts: Accounts, space: Space, transaction: Transaction, held: list[int], told: Told
) -> list[int]:
    """A response in pieces: where the other pages are, only the tables say so far."""
    pages = enumerate(transaction.pages)
    wanted = {borrowed(leaf, told): n for n, (_, leaf) in pages}
    accounts.tables.look()
    there = {wanted.get(leaf): at for at, leaf in space.changed().items()}
    missing = [n for n in range(len(held), len(transaction.pages)) if n not in there]
    if missing:
        raise space.wrong(f"{len(missing)} pages that it retrieved are not there")
    return [there[n] for n in range(len(held), len(transaction.pages))]


def _read_more(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    if space is accounts.world:
        return
    key = _handle(made.x, 1), space.id
    told = _pages(abi.parse_constituents(accounts.buffer(space.rx, x[3] & MASK32)))
    rest = accounts.unread.get(key, [])
    if told != rest[: len(told)] or not told:
        raise space.wrong("a piece of a response that says what is not there")
    if len(told) < len(rest):
        accounts.unread[key] = rest[len(told) :]
    else:
        del accounts.unread[key]


def _taken(accounts: Accounts, space: Space, handle: int, transaction: Transaction) -> None:
    """A donation is over: the pages are the receiver's own and nobody else's."""
    for side, at, _ in accounts.sides(transaction):
        side.marks.pop(at, None)
    for at in transaction.holders[space.id]:
        del space.marks[at]
    del accounts.transactions[handle]


def _relinquish(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    request = abi.parse_relinquish(made.tx)
    transaction = accounts.known(space, request.handle)
    if space.id not in transaction.holders:
        raise space.wrong(f"relinquished {request.handle:#x}, which it does not have")
    accounts.unread.pop((request.handle, space.id), None)
    end_access(space, transaction)
    if request.flags & mem.FLAG_CLEAR and not transaction.holders:
        accounts.check_cleared(transaction)
    if transaction.owner in accounts.departed and not transaction.holders:
        accounts.leave(request.handle, transaction)


def _reclaim(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    handle = _handle(made.x, 1)
    transaction = accounts.known(space, handle)
    if transaction.owner is not space:
        raise space.wrong(f"reclaimed {handle:#x}, which it did not give")
    if transaction.holders:
        raise space.wrong(f"reclaimed {handle:#x}, which {[*transaction.holders]} have")
    accounts.end(handle, transaction)
    if made.x[3] & mem.FLAG_CLEAR:
        accounts.check_cleared(transaction)


def _set_permissions(accounts: Accounts, space: Space, made: Made, x: list[int]) -> None:
    wanted = made.x[3]
    bits = _PERM_BITS[wanted & mem.MEM_PERM_DATA_MASK]
    bits |= XN if wanted & mem.MEM_PERM_XN else 0
    for n in range(made.x[2] & MASK32):
        at = made.x[1] + n * PAGE
        leaf = space.own(at, "permissions")
        space.set(at, leaf & ~(S2AP_R | S2AP_W | XN_MASK) | bits)


def _pages(ranges: list[tuple[int, int]]) -> list[int]:
    return [at for ipa, count in ranges for at in range(ipa, ipa + count * PAGE, PAGE)]


def _handle(x: list[int], at: int) -> int:
    return join(x[at], x[at + 1])


def tx_bytes(x: list[int]) -> int:
    """How much of TX a call reads."""
    register = _LENGTHS.get(x[0])
    if register is not None:
        return x[register] & MASK32
    return _RELINQUISH_BYTES if x[0] == fid.FFA_MEM_RELINQUISH else 0


_RELINQUISH_BYTES = 64
_LENGTHS = {
    **dict.fromkeys(_KINDS, 2),
    fid.FFA_MEM_RETRIEVE_REQ_32: 2,
    fid.FFA_MEM_RETRIEVE_REQ_64: 2,
    fid.FFA_MEM_FRAG_TX: 3,
}
"""The register that says how many bytes are in TX."""

CALLS: Final[dict[int, Callable[[Accounts, Space, Made, list[int]], None]]] = {
    **dict.fromkeys(_KINDS, _send),
    fid.FFA_VERSION: _version,
    fid.FFA_RXTX_MAP_32: _map,
    fid.FFA_RXTX_MAP_64: _map,
    fid.FFA_RXTX_UNMAP: _unmap,
    fid.FFA_MEM_FRAG_TX: _send_more,
    fid.FFA_MEM_FRAG_RX: _read_more,
    fid.FFA_MEM_RETRIEVE_REQ_32: _retrieve,
    fid.FFA_MEM_RETRIEVE_REQ_64: _retrieve,
    fid.FFA_MEM_RELINQUISH: _relinquish,
    fid.FFA_MEM_RECLAIM: _reclaim,
    fid.FFA_MEM_PERM_SET_32: _set_permissions,
    fid.FFA_MEM_PERM_SET_64: _set_permissions,
}
"""What the success of a call means."""
