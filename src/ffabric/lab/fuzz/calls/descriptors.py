"""Structured calls: memory transactions, their answers and messages, whole or with damage.

A descriptor is built as it should be, often of what the ledger knows to be possible, and then
damaged: a field gets a boundary value, bytes are flipped, the lengths in the registers lie.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import MASK32, PAGE, halves, join, pack_ids
from ffabric.lab.fuzz.calls.registers import BOUNDARIES
from ffabric.lab.oracle.transactions import DONATE, SHARE

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor
    from ffabric.lab.oracle.accounts import Accounts

KINDS = {
    "share": (fid.FFA_MEM_SHARE_32, fid.FFA_MEM_SHARE_64),
    "lend": (fid.FFA_MEM_LEND_32, fid.FFA_MEM_LEND_64),
    "donate": (fid.FFA_MEM_DONATE_32, fid.FFA_MEM_DONATE_64),
}
RETRIEVE = (fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64)
RO, RW = mem.PERM_DATA_RO, mem.PERM_DATA_RW
X, NX = mem.PERM_INSTRUCTION_X, mem.PERM_INSTRUCTION_NX
ARENA = 24
"""Pages at the start of its memory that an actor plays with."""


class Descriptors:
    """Structured calls of one actor among others."""

    def __init__(self, random: Random, actor: Actor, ids: list[int], accounts: Accounts) -> None:
        self._random = random
        self._actor = actor
        self._ids = [each for each in ids if each != actor.id]
        self._accounts = accounts
        self._pieces: dict[int, bytes] = {}
        """What remains to be sent of transactions in pieces, by handle."""
        self._seen: list[int] = []
        """Where it has had borrowed memory."""
        self._calls = [
            *[self._send] * 5,
            *[self._retrieve] * 5,
            *[self._relinquish] * 3,
            *[self._reclaim] * 3,
            self._more,
            self._ask_for_more,
            self._message,
            *[self._release] * 3,
        ]

    def call(self, damage: float) -> list[int]:
        """A call, its descriptor in TX; with probability ``damage`` something is wrong with it."""
        return self._random.choice(self._calls)(self._random.random() < damage)

    def after(self, registers: list[int]) -> None:
        """The call has been answered: remember a transaction whose rest is to be sent."""
        x = self._actor.x
        if x[0] & MASK32 == fid.FFA_MEM_FRAG_RX and self._rest:
            self._pieces[_handle(x)] = self._rest
        self._rest = b""

    _rest = b""

    # Giving

    def _send(self, damaged: bool) -> list[int]:
        random, actor = self._random, self._actor
        kind = random.choice([*KINDS])
        count = 1 if kind == "donate" or random.random() < 0.7 else 2
        to = random.sample(self._ids, min(count, len(self._ids)))
        several = len(to) > 1
        rights = 0 if kind == "donate" else random.choice((RO, RW, RW))
        typed = kind == "share" or (kind == "lend" and several)
        clears = kind != "share" and random.random() < 0.2
        transaction = abi.Transaction(
            sender=actor.id,
            attributes=mem.MEM_ATTR_NORMAL_WB_INNER if typed else 0,
            flags=mem.FLAG_CLEAR if clears else 0,
            tag=random.choice((0, 0, 0, 1)),
            receivers=[abi.Receiver(each, rights) for each in to],
            constituents=self._ranges(),
        )
        if damaged:
            self._spoil(transaction)
        data = bytearray(_build(transaction, actor.version))
        return self._transmit(random.choice(KINDS[kind]), data, damaged, pieces=True)

    def address(self) -> int:
        """A page that it has, had or may get."""
        random = self._random
        if random.random() < 0.3:
            held = [ipa for each in self._borrowed() for ipa in each] + self._seen
            self._seen = held[-ARENA:]
            if held:
                return random.choice(held)
        return self._actor.ram.base + random.randrange(ARENA) * PAGE

    def _ranges(self) -> list[tuple[int, int]]:
        random = self._random
        base = self._actor.ram.base
        own = [base + n * PAGE for n in range(ARENA)]
        if random.random() < 0.2:
            own += [ipa for known in self._borrowed() for ipa in known]
        count = random.choice((1, 1, 1, 2, 3, 5))
        if random.random() < 0.5:
            return [(ipa, 1) for ipa in random.sample(own, count)]
        return [(random.choice(own), random.choice((1, 1, 1, 2, 4))) for _ in range(count)]

    def _borrowed(self) -> list[list[int]]:
        me = self._actor.id
        return [
            each.holders[me] for each in self._accounts.transactions.values() if me in each.holders
        ]

    # Borrowing

    def _retrieve(self, damaged: bool) -> list[int]:
        random, actor = self._random, self._actor
        known = self._accounts.transactions
        mine = [
            handle
            for handle, each in known.items()
            if actor.id in each.offers and actor.id not in each.holders
        ]
        if not mine or random.random() < 0.1:
            mine = [*known] or [random.choice(BOUNDARIES)]
        handle = random.choice(mine)
        each = known.get(handle)
        offers = each.offers if each else {actor.id: RW}
        single = each is not None and each.kind != SHARE and len(offers) == 1
        donated = each is not None and each.kind == DONATE
        rights = random.choice((RO, RW, 0)) if donated else offers.get(actor.id, RW)
        transaction = abi.Transaction(
            sender=each.owner.id if each else random.choice(self._ids or [0]),
            handle=handle,
            tag=random.choice((0, 0, 0, 1)),
            flags=random.choice((0, 0, 0, mem.FLAG_CLEAR_RELINQUISH)) if single else 0,
            receivers=[
                abi.Receiver(endpoint, rights | (random.choice((NX, NX, X)) if single else 0))
                for endpoint in offers
            ],
        )
        if damaged:
            self._spoil(transaction)
        data = bytearray(_build(transaction, actor.version))
        return self._transmit(random.choice(RETRIEVE), data, damaged)

    def _relinquish(self, damaged: bool) -> list[int]:
        random, actor = self._random, self._actor
        held = [h for h, each in self._accounts.transactions.items() if actor.id in each.holders]
        if not held or random.random() < 0.1:
            held = [*self._accounts.transactions] or [0]
        flags = random.choice((0, 0, 0, mem.FLAG_CLEAR))
        request = abi.Relinquish(random.choice(held), flags, [actor.id])
        data = bytearray(abi.build_relinquish(request))
        if damaged:
            self._flip(data)
        actor.put(bytes(data))
        return [fid.FFA_MEM_RELINQUISH]

    def _reclaim(self, damaged: bool) -> list[int]:
        random, actor = self._random, self._actor
        mine = [h for h, each in self._accounts.transactions.items() if each.owner.id == actor.id]
        if not mine or damaged:
            mine = [*self._accounts.transactions] or [random.choice(BOUNDARIES)]
        handle = random.choice(mine)
        flags = random.choice((0, 0, 0, mem.FLAG_CLEAR, mem.FLAG_TIME_SLICE))
        if damaged:
            handle ^= random.choice((0, 1, 1 << 32, 1 << 63))
            flags = random.choice(BOUNDARIES)
        return [fid.FFA_MEM_RECLAIM, *halves(handle), flags]

    # In pieces

    def _more(self, damaged: bool) -> list[int]:
        random = self._random
        if not self._pieces:
            return self._send(damaged)
        handle = random.choice([*self._pieces])
        data = self._pieces.pop(handle)
        cut = random.choice((16, 32, len(data)))
        part, self._rest = data[:cut], data[cut:]
        length = random.choice(BOUNDARIES) if damaged else len(part)
        self._actor.put(part)
        return [fid.FFA_MEM_FRAG_TX, *halves(handle), length]

    def _ask_for_more(self, damaged: bool) -> list[int]:
        random = self._random
        unread = [handle for handle, me in self._accounts.unread if me == self._actor.id]
        handle = random.choice(unread or [*self._accounts.transactions] or [0])
        offset = random.choice((*BOUNDARIES, 4080, 4096, 8160))
        return [fid.FFA_MEM_FRAG_RX, *halves(handle), offset]

    # Messages

    def _message(self, damaged: bool) -> list[int]:
        random, actor = self._random, self._actor
        receiver = random.choice(self._ids or [0])
        size = random.choice((0, 1, 8, 100, 4056, 4057))
        words = [0, 0, 40, pack_ids(actor.id, receiver), size, 0, 0, 0, 0, 0]
        if damaged:
            words[random.randrange(len(words))] = random.choice(BOUNDARIES) & MASK32
        actor.put(b"".join(word.to_bytes(4, "little") for word in words))
        return [fid.FFA_MSG_SEND2, 0, random.choice((0, 0, 2))]

    def _release(self, damaged: bool) -> list[int]:
        return [fid.FFA_RX_RELEASE]

    # Damage

    def _spoil(self, transaction: abi.Transaction) -> None:
        """One field of a descriptor gets another value."""
        random = self._random
        value = random.choice(BOUNDARIES)
        kind = random.randrange(9)
        if kind == 0:
            transaction.sender = value & 0xFFFF
        elif kind == 1:
            transaction.attributes = value & 0xFF
        elif kind == 2:
            transaction.flags = value & MASK32
        elif kind == 3:
            transaction.handle ^= value
        elif kind == 4:
            transaction.tag = value
        elif kind == 5:
            transaction.total_pages = value & MASK32
        elif kind == 6 and transaction.receivers:
            random.choice(transaction.receivers).permissions = value & 0xFF
        elif kind == 7 and transaction.receivers:
            transaction.receivers.append(random.choice(transaction.receivers))
        elif transaction.constituents:
            at = random.randrange(len(transaction.constituents))
            transaction.constituents[at] = (value, random.choice(BOUNDARIES) & MASK32)
        else:
            transaction.constituents = [(value, 1)]

    def _flip(self, data: bytearray) -> None:
        """Some bytes change."""
        for _ in range(self._random.choice((1, 1, 2, 8))):
            data[self._random.randrange(len(data))] = self._random.getrandbits(8)

    def _transmit(
        self, function: int, data: bytearray, damaged: bool, *, pieces: bool = False
    ) -> list[int]:
        random = self._random
        if damaged and random.random() < 0.5:
            self._flip(data)
        total = length = len(data)
        if pieces and random.random() < 0.15:
            length = max(96, total - 16 * random.choice((1, 2, 3)))
            length = min(length, total)
        if damaged and random.random() < 0.3:
            total = random.choice((total + 16, total - 16, *BOUNDARIES)) & MASK32
        if damaged and random.random() < 0.3:
            length = random.choice((length + 16, length - 16, total, *BOUNDARIES)) & MASK32
        self._actor.put(bytes(data))
        self._rest = bytes(data[length:]) if pieces else b""
        return [function, total, length, 0, 0]


def _build(transaction: abi.Transaction, version: int) -> bytes:
    total = sum(pages for _, pages in transaction.constituents)
    transaction.total_pages = transaction.total_pages or total & MASK32 or 1
    return abi.build_transaction(transaction, version)


def _handle(x: list[int]) -> int:
    return join(x[1], x[2])
