"""The ledger: who owns each page and who reaches it, deduced from the calls alone.

It listens to a system's calls (it is a tracer) and follows those that succeed. It never asks the
firmware what it thinks; after each call it compares what history implies with what the stage-2
tables of all partitions let them reach. What it holds to be true:

- a page is given only by who owns it and shares it with nobody, so it has one owner at a time;
- an endpoint reaches its own pages unless they are lent or donated, and what it has retrieved and
  not relinquished, with no more rights than it was offered and its owner has;
- a call that fails changes nothing;
- what a flag says is cleared reads as zeros.

A success that history forbids, and a table that says something else, raise :class:`Discrepancy`.

A page, from its owner's point of view (shared memory is still reached, the other kinds are not)::

    own -> given -> own          given -> gone      (a donation that was retrieved)
    own <-> mailbox

and from a borrower's: nothing -> borrowed -> nothing, or its own if it was donated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.flags import VersionFlags
from ffabric.abi.ffa.version import V1_3
from ffabric.abi.smccc import SMC64
from ffabric.abi.words import MASK32, PAGE, join, pages_for
from ffabric.firmware.state.context import State
from ffabric.firmware.state.events import (
    Aborted,
    Activation,
    MemoryDonated,
    MemoryReturned,
    Restarted,
    VmDestroyed,
    VmGone,
)
from ffabric.lab.oracle.address_spaces import Space
from ffabric.lab.oracle.isolation import Isolation
from ffabric.lab.oracle.tables import Tables
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
from ffabric.machine.events import Call, ContextEvent, Event, Return, Tracer
from ffabric.machine.stage2 import ADDRESS, S2AP_R, S2AP_W, XN, XN_MASK

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.lab.oracle.stage2_reader import Reach
    from ffabric.machine.events import Tracer
    from ffabric.system.spec import PartitionSpec
    from ffabric.system.system import Endpoint, System

MAILBOX = object()
"""The mark of a page that is an RX or TX buffer."""
PROTECTED = object()
"""The mark of a page that its host has donated to a VM which is protected from it."""

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


class _Made:
    """A call that has not returned: its registers, and the bytes of TX that it is about."""

    __slots__ = ("tx", "x")

    def __init__(self, x: list[int], tx: bytes) -> None:
        self.x = x
        self.tx = tx


class Ledger:
    """An account of all pages of a system: ``system.attach(Ledger(system))`` before it runs.

    ``passing`` is another tracer, which hears everything first. ``strict`` compares after each
    call that concerns memory; without it, whoever holds the ledger calls ``check``.
    """

    def __init__(
        self, system: System, *, passing: Tracer | None = None, strict: bool = True
    ) -> None:
        self.system = system
        self.memory = system.machine.memory
        self.strict = strict
        self.transactions: dict[int, Transaction] = {}
        self.pending: dict[int, tuple[str, bytearray]] = {}
        """Handle of a transaction in pieces -> its kind, and what has been sent of it."""
        self.unread: dict[tuple[int, int], list[int]] = {}
        """(handle, endpoint) -> where the pages are that no piece of a response has told yet."""
        self.departed: set[Space] = set()
        """Endpoints that have died: what they gave ends when nobody has it any more."""
        self._passing = passing
        self._made: dict[ExecutionContext, _Made] = {}
        self.tables = Tables(system)
        self.world = _space(system.firmware.spmc.normal_world, self.tables.world)
        """The SPMC's account of the normal world; without a hypervisor, the kernel's memory."""
        self._at: dict[Partition, Space] = {}
        self._endpoints: list[Endpoint] = []
        self._follow()
        self.isolation = Isolation(system, self.tables)

    def _follow(self) -> None:
        """Endpoints have come, or are gone."""
        known = [*self.system.endpoints.values()]
        if known == self._endpoints:
            return
        former, self._endpoints = self._endpoints, known
        for endpoint in former:
            if endpoint not in known:
                self._leaves(endpoint.partition)
        for endpoint in known:
            if endpoint not in former:
                self._comes(endpoint, initial=not former)

    def _comes(self, endpoint: Endpoint, *, initial: bool) -> None:
        partition = endpoint.partition
        reach = self.tables.add(partition)
        if reach is self.tables.world:
            self._at[partition] = self.world
            return
        space = self._at[partition] = _with_buffers(_space(partition, reach), endpoint.spec)
        if initial:
            return
        self.isolation.add(partition, reach)
        for at in space.frames():
            if at in self.world.marks:
                raise space.wrong(f"gets the page {at:#x}, which is given or borrowed")
            self.world.renew(at)

    def _leaves(self, partition: Partition) -> None:
        space = self._at.pop(partition)
        space.dead = True
        self.isolation.remove(self.tables.remove(partition))
        for ctx in [each for each in self._made if each.partition is partition]:
            del self._made[ctx]

    # What the firmware tells

    def record(self, event: Event) -> None:
        """Follow ``event``, if it is a call, an answer or somebody's end."""
        if self._passing is not None:
            self._passing.record(event)
        handler = _HEARD.get(type(event))
        if handler is not None:
            handler(self, event)

    def _called(self, event: Call) -> None:
        """An endpoint makes a call: keep its registers and what it reads from TX."""
        function = event.x[0] & MASK32
        if function not in _JUDGES:
            return
        self._follow()
        ctx = self._context(event)
        space = None if ctx is None else self._at.get(ctx.partition)
        if ctx is not None and space is not None:
            words = [function, *event.x[1:8]]
            if not function & SMC64:
                words = [word & MASK32 for word in words]
            self._made[ctx] = _Made(words, self._buffer(space.tx, _tx_bytes(words)))

    def _returned(self, event: Return) -> None:
        """A context goes on with the answer to its call: follow what it means."""
        ctx = self._context(event) if self._made else None
        if ctx is not None and ctx in self._made:
            self._answered(ctx)
            if self.strict:
                self.check()

    def _context(self, event: ContextEvent) -> ExecutionContext | None:
        endpoint = self.system.endpoints.get(event.endpoint)
        return None if endpoint is None else endpoint.partition.contexts[event.vcpu]

    def _answered(self, ctx: ExecutionContext) -> None:
        """The answer to the call of ``ctx`` is in its registers."""
        made = self._made.pop(ctx)
        if ctx.x[0] & MASK32 != fid.FFA_ERROR:
            _JUDGES[made.x[0]](self, self._at[ctx.partition], made, ctx.x)

    def _catch_up(self) -> None:
        """A vCPU may lose its PE before its answer reaches it: the call is over all the same."""
        for ctx, made in [*self._made.items()]:
            if ctx.state is State.RUNNING and ctx.x[0] & MASK32 != made.x[0]:
                self._answered(ctx)

    def _ends(self, event: Aborted | Restarted | VmDestroyed | VmGone) -> None:
        """A partition has died, or is gone."""
        self._follow()
        space = next((each for each in self._at.values() if each.name == event.partition), None)
        if space is not None:
            _ENDS[type(event)](self, space)

    def _donated(self, event: MemoryDonated) -> None:
        """A host has given memory up for a VM that is protected from it."""
        for space, ipa in self._of_host(event):
            space.own(ipa, "a donation")
            space.marks[ipa] = PROTECTED
            space.set(ipa, 0)

    def _came_back(self, event: MemoryReturned) -> None:
        """It has some of that again."""
        for space, ipa in self._of_host(event):
            if space.marks.pop(ipa, None) is not PROTECTED:
                raise space.wrong(f"gets {ipa:#x}, which it has not donated")
            space.renew(ipa)

    def _of_host(self, event: MemoryDonated | MemoryReturned) -> Iterator[tuple[Space, int]]:
        """The host of an event, and each page of its memory."""
        self._follow()
        space = next((each for each in self._at.values() if each.name == event.partition), None)
        if space is not None:
            for ipa, _, pages in event.memory:
                for n in range(pages):
                    yield space, ipa + n * PAGE

    # Comparing

    def check(self) -> None:
        """Raise Discrepancy unless the tables say what history implies, and keep all apart."""
        self._catch_up()
        self._follow()
        self.tables.look()
        for space in (self.world, *self._at.values()):
            space.check()
        self.isolation.check()

    def leave_out(self) -> None:
        """Drop what the tables in memory say as well, until `take_in`; `check` was just now."""
        for space in (self.world, *self._at.values()):
            space.tidy()
        self.tables.leave_out()
        self.isolation.holders.leave_out()

    def take_in(self) -> None:
        """Have it again."""
        self.tables.take_in()
        self.isolation.holders.begin_again()

    def check_isolation(self) -> None:
        """Raise Discrepancy unless the tables keep all apart, whatever history says."""
        self._follow()
        self.tables.look()
        self.isolation.check()

    def check_tables(self) -> None:
        """Raise Discrepancy if a page that a manager took for tables is no table."""
        self._follow()
        self.tables.look()
        self.isolation.check_tables()

    def check_settled(self) -> None:
        """Raise Discrepancy if anything is still given or borrowed, or reached by two."""
        for handle, transaction in self.transactions.items():
            raise transaction.owner.wrong(f"{handle:#x} ({transaction.kind}) has not come back")
        living = [each for each in self._at.values() if each is not self.world and not each.dead]
        for space in living:
            for ipa, mark in space.marks.items():
                if mark is not MAILBOX:
                    raise space.wrong(f"{ipa:#x} is still marked as given or borrowed")
            for ipa, leaf in space.moved().items():
                for other in living if leaf else ():
                    at = other.address_of(leaf & ADDRESS)
                    if at is not None and (other is not space or at != ipa):
                        raise space.wrong(f"{ipa:#x} is also what {other.name} has at {at:#x}")

    def _buffer(self, pages: list[int], length: int) -> bytes:
        """The first ``length`` bytes of RX or TX."""
        return b"".join(map(self._page, pages[: pages_for(length)]))[:length]

    def _page(self, pa: int) -> bytes:
        bank = self.memory.bank_at(pa)
        return self.memory.read(pa, PAGE, secure=bank.secure) if bank is not None else b""

    def _cleared(self, transaction: Transaction) -> None:
        for at, leaf in transaction.pages:
            if any(self._page(leaf & ADDRESS)):
                raise transaction.owner.wrong(f"its page {at:#x} was to be cleared and is not")

    # Version and buffers

    def _version(self, space: Space, made: _Made, x: list[int]) -> None:
        answer, asked = x[0] & MASK32, made.x[1] & MASK32
        is_query = asked >= V1_3 and made.x[2] & VersionFlags.QUERY.mask
        if not answer >> 31 and not is_query:
            space.version = min(asked, answer)

    def _map(self, space: Space, made: _Made, x: list[int]) -> None:
        tx, rx, count = made.x[1:4]
        if space is self.world and not tx | rx:
            return
        if space.is_new:
            self._unmap(space, made, x)
        for ipa, buffer in ((tx, space.tx), (rx, space.rx)):
            buffer.clear()
            for at in range(ipa, ipa + count * PAGE, PAGE):
                leaf = space.own(at, "a mailbox")
                if not leaf & S2AP_W:
                    raise space.wrong(f"a mailbox at {at:#x}, which it cannot write")
                space.marks[at] = MAILBOX
                buffer.append(leaf & ADDRESS)

    def _unmap(self, space: Space, made: _Made, x: list[int]) -> None:
        if space is self.world and made.x[1] >> 16:
            return
        space.tx, space.rx = [], []
        for at in [at for at, mark in space.marks.items() if mark is MAILBOX]:
            del space.marks[at]

    # Giving

    def _send(self, space: Space, made: _Made, x: list[int]) -> None:
        kind = _KINDS[made.x[0]]
        if x[0] & MASK32 == fid.FFA_MEM_FRAG_RX:
            self.pending[_handle(x, 1)] = kind, bytearray(made.tx)
        else:
            self._begin(space, kind, made.tx, _handle(x, 2))

    def _send_more(self, space: Space, made: _Made, x: list[int]) -> None:
        handle = _handle(made.x, 1)
        if handle not in self.pending:
            raise space.wrong(f"a fragment of {handle:#x}, which nobody has begun")
        kind, data = self.pending[handle]
        data += made.tx
        if x[0] & MASK32 == fid.FFA_SUCCESS_32:
            del self.pending[handle]
            self._begin(space, kind, bytes(data), _handle(x, 2))

    def _begin(self, space: Space, kind: str, data: bytes, handle: int) -> None:
        try:
            sent = abi.parse_transaction(data, space.version)
        except DecodeError as error:
            raise space.wrong(f"a malformed {kind} was accepted: {error}") from error
        if space is not self.world and sent.sender != space.id:
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
        former = self.transactions.get(handle)
        if former is not None:
            raise space.wrong(f"{kind} got the handle {handle:#x}, which stands for something")
        self.transactions[handle] = transaction
        if space is not self.world and not space.id & SECURE and not handle >> 63:
            transaction.mirror = [
                (leaf & ADDRESS, self.world.own(leaf & ADDRESS, kind)) for _, leaf in pages
            ]
        for side, at, _ in self._accounts(transaction):
            side.marks[at] = transaction
            if kind != SHARE:
                side.set(at, 0)
        if transaction.flags & mem.FLAG_CLEAR:
            self._cleared(transaction)

    def _accounts(self, transaction: Transaction) -> list[tuple[Space, int, int]]:
        """(space, IPA, leaf) of each page, in the owner's space and in the SPMC's account."""
        found = [(transaction.owner, at, leaf) for at, leaf in transaction.pages]
        return found + [(self.world, at, leaf) for at, leaf in transaction.mirror]

    def _known(self, space: Space, handle: int) -> Transaction:
        transaction = self.transactions.get(handle)
        if transaction is None:
            raise space.wrong(f"{handle:#x} was accepted and stands for nothing")
        return transaction

    # Borrowing

    def _retrieve(self, space: Space, made: _Made, x: list[int]) -> None:
        wanted = abi.parse_transaction(made.tx, space.version)
        if space is self.world and not wanted.receivers:
            return
        transaction = self._known(space, wanted.handle)
        offered = transaction.offers.get(space.id)
        if offered is None or space.id in transaction.holders or space.id in transaction.void:
            raise space.wrong(f"retrieved {wanted.handle:#x}, which is not for it now")
        data = self._buffer(space.rx, x[2] & MASK32)
        response = abi.parse_transaction(data, space.version)
        told = response.receivers[0].permissions, response.attributes
        judge_rights(space, transaction, offered, told[0])
        judge_type(space, transaction, told[1])
        held = transaction.holders[space.id] = []
        place(space, transaction, held, _pages(response.constituents), told)
        if len(held) < len(transaction.pages):
            rest = self._find_rest(space, transaction, held, told)
            self.unread[wanted.handle, space.id] = rest
            place(space, transaction, held, rest, told)
        if wanted.flags & mem.FLAG_CLEAR:
            self._cleared(transaction)
        if transaction.kind == DONATE:
            self._taken(space, wanted.handle, transaction)

    def _find_rest(
        self, space: Space, transaction: Transaction, held: list[int], told: Told
    ) -> list[int]:
        """A response in pieces: where the other pages are, only the tables say so far."""
        pages = enumerate(transaction.pages)
        wanted = {borrowed(leaf, told): n for n, (_, leaf) in pages}
        self.tables.look()
        there = {wanted.get(leaf): at for at, leaf in space.changed().items()}
        missing = [n for n in range(len(held), len(transaction.pages)) if n not in there]
        if missing:
            raise space.wrong(f"{len(missing)} pages that it retrieved are not there")
        return [there[n] for n in range(len(held), len(transaction.pages))]

    def _read_more(self, space: Space, made: _Made, x: list[int]) -> None:
        if space is self.world:
            return
        key = _handle(made.x, 1), space.id
        told = _pages(abi.parse_constituents(self._buffer(space.rx, x[3] & MASK32)))
        rest = self.unread.get(key, [])
        if told != rest[: len(told)] or not told:
            raise space.wrong("a piece of a response that says what is not there")
        if len(told) < len(rest):
            self.unread[key] = rest[len(told) :]
        else:
            del self.unread[key]

    def _taken(self, space: Space, handle: int, transaction: Transaction) -> None:
        """A donation is over: the pages are the receiver's own and nobody else's."""
        for side, at, _ in self._accounts(transaction):
            side.marks.pop(at, None)
        for at in transaction.holders[space.id]:
            del space.marks[at]
        del self.transactions[handle]

    # Giving back

    def _relinquish(self, space: Space, made: _Made, x: list[int]) -> None:
        request = abi.parse_relinquish(made.tx)
        transaction = self._known(space, request.handle)
        if space.id not in transaction.holders:
            raise space.wrong(f"relinquished {request.handle:#x}, which it does not have")
        self.unread.pop((request.handle, space.id), None)
        end_access(space, transaction)
        if request.flags & mem.FLAG_CLEAR and not transaction.holders:
            self._cleared(transaction)
        if transaction.owner in self.departed and not transaction.holders:
            self._end(request.handle, transaction)

    def _reclaim(self, space: Space, made: _Made, x: list[int]) -> None:
        handle = _handle(made.x, 1)
        transaction = self._known(space, handle)
        if transaction.owner is not space:
            raise space.wrong(f"reclaimed {handle:#x}, which it did not give")
        if transaction.holders:
            raise space.wrong(f"reclaimed {handle:#x}, which {[*transaction.holders]} have")
        self._end(handle, transaction)
        if made.x[3] & mem.FLAG_CLEAR:
            self._cleared(transaction)

    def _end(self, handle: int, transaction: Transaction) -> None:
        """The owner has its pages again, as they were."""
        for side, at, leaf in self._accounts(transaction):
            side.marks.pop(at, None)
            side.set(at, leaf)
        del self.transactions[handle]

    def _set_permissions(self, space: Space, made: _Made, x: list[int]) -> None:
        wanted = made.x[3]
        bits = _PERM_BITS[wanted & mem.MEM_PERM_DATA_MASK]
        bits |= XN if wanted & mem.MEM_PERM_XN else 0
        for n in range(made.x[2] & MASK32):
            at = made.x[1] + n * PAGE
            leaf = space.own(at, "permissions")
            space.set(at, leaf & ~(S2AP_R | S2AP_W | XN_MASK) | bits)

    # The end of a partition

    def _aborted(self, space: Space) -> None:
        """An SP gives back at once what it has; a VM is taken apart, see ``vm_gone``."""
        if space.id & SECURE:
            self._settle(space)

    def _restarted(self, space: Space) -> None:
        """An SP begins as at boot: what it gave is taken from its borrowers.

        What was given to it before is for it again.
        """
        others = {each.id: each for each in self._at.values()}
        for handle, transaction in [*self.transactions.items()]:
            if transaction.owner is space:
                for endpoint in [*transaction.holders]:
                    end_access(others[endpoint], transaction)
                self._end(handle, transaction)
        for transaction in self.transactions.values():
            transaction.void.discard(space.id)
        self.departed.discard(space)
        space.begin_again()

    def _activated(self, event: Activation) -> None:
        """A new image has its memory with the permissions of the beginning, and may map buffers."""
        self._follow()
        space = next((each for each in self._at.values() if each.name == event.partition), None)
        if space is None:
            return
        space.is_new = event.step == "stopped"
        if space.is_new:
            space.image_replaced()

    def _destroyed(self, space: Space) -> None:
        space.dead = True

    def _gone(self, space: Space) -> None:
        others = {each.id: each for each in self._at.values()}
        for transaction in self.transactions.values():
            if transaction.owner is space:
                for endpoint in [each for each in transaction.holders if not each & SECURE]:
                    end_access(others[endpoint], transaction)
                self.world.loose |= {at for at, _ in transaction.mirror}
        self._settle(space)

    def _settle(self, space: Space) -> None:
        """What ``space`` has goes back; what it gave and nobody has is over."""
        self.departed.add(space)
        for handle, transaction in [*self.transactions.items()]:
            if space.id in transaction.offers:
                transaction.void.add(space.id)
            if space.id in transaction.holders:
                end_access(space, transaction)
            if transaction.owner in self.departed and not transaction.holders:
                self._end(handle, transaction)


def _space(partition: Partition, reach: Reach) -> Space:
    return Space(partition.name, partition.id, partition.version, reach)


def _with_buffers(space: Space, spec: PartitionSpec) -> Space:
    """Buffers are there from the start if the manifest says which memory they are."""
    granule = spec.manifest.xlat_granule.bytes
    for region, pages in zip(spec.buffers or (), (space.tx, space.rx), strict=False):
        base = region.base_address or 0
        for at in range(base, base + region.pages * granule, PAGE):
            space.marks[at] = MAILBOX
            pages.append(space.leaf(at) & ADDRESS)
    return space


def _pages(ranges: list[tuple[int, int]]) -> list[int]:
    return [at for ipa, count in ranges for at in range(ipa, ipa + count * PAGE, PAGE)]


def _handle(x: list[int], at: int) -> int:
    return join(x[at], x[at + 1])


def _tx_bytes(x: list[int]) -> int:
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

_JUDGES = {
    **dict.fromkeys(_KINDS, Ledger._send),
    fid.FFA_VERSION: Ledger._version,
    fid.FFA_RXTX_MAP_32: Ledger._map,
    fid.FFA_RXTX_MAP_64: Ledger._map,
    fid.FFA_RXTX_UNMAP: Ledger._unmap,
    fid.FFA_MEM_FRAG_TX: Ledger._send_more,
    fid.FFA_MEM_FRAG_RX: Ledger._read_more,
    fid.FFA_MEM_RETRIEVE_REQ_32: Ledger._retrieve,
    fid.FFA_MEM_RETRIEVE_REQ_64: Ledger._retrieve,
    fid.FFA_MEM_RELINQUISH: Ledger._relinquish,
    fid.FFA_MEM_RECLAIM: Ledger._reclaim,
    fid.FFA_MEM_PERM_SET_32: Ledger._set_permissions,
    fid.FFA_MEM_PERM_SET_64: Ledger._set_permissions,
}
"""What the success of a call means."""

_ENDS: dict[type[Event], Callable[[Ledger, Space], None]] = {
    Aborted: Ledger._aborted,
    Restarted: Ledger._restarted,
    VmDestroyed: Ledger._destroyed,
    VmGone: Ledger._gone,
}
"""What an event says of the end of a partition."""

_HEARD: dict[type[Event], Callable[[Ledger, Any], None]] = {
    Call: Ledger._called,
    Return: Ledger._returned,
    **dict.fromkeys(_ENDS, Ledger._ends),
    Activation: Ledger._activated,
    MemoryDonated: Ledger._donated,
    MemoryReturned: Ledger._came_back,
}
"""Events that the ledger follows."""
