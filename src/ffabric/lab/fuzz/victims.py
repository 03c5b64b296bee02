"""Two endpoints that behave, while others do not: what they do must work all the time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from random import Random
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32, PAGE, halves, join

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor

TRIES = 10
"""How often an owner asks for memory that a hostile borrower does not let go of."""

Step = Generator[None, None, list[int]]
RELEASE = [fid.FFA_RX_RELEASE]


class Disturbed(AssertionError):  # noqa: N818 - what an assertion says
    """A call of a partition that behaves was not answered as it should be."""


class Pair:
    """An owner and a borrower; ``step`` makes the next call of their life cycles.

    ``guest`` is a hostile endpoint to which the owner sometimes lends as well, ``others`` are
    endpoints that behave and do nothing of their own.
    """

    def __init__(
        self,
        random: Random,
        owner: Actor,
        borrower: Actor,
        guest: Actor,
        others: Sequence[Actor] = (),
    ) -> None:
        self._random = random
        self._owner = owner
        self._borrower = borrower
        self._guest = guest
        self._all = (owner, borrower, *others)
        self._work = self._cycles()
        self._busy: Actor | None = None
        """Who waits for the answer to a call."""
        self._received = b""
        """The last retrieve response."""
        self._pages = [*range(32, 512)]
        """Pages of the owner's memory that no hostile borrower keeps, by their number."""
        self.done = 0
        """Life cycles that are complete."""
        self.calls = 0

    def step(self) -> None:
        """One more call, if the scheduler lets it happen."""
        next(self._work)

    def serve(self) -> None:
        """Let those who behave answer requests, and let the PE go."""
        for actor in self._all:
            if actor.runner.in_control and actor is not self._busy:
                if actor.serves:
                    self.calls += 1
                    actor.call(actor.response)
                elif actor.secure:
                    self.calls += 1
                    actor.call([fid.FFA_MSG_WAIT])

    def _cycles(self) -> Generator[None, None, None]:
        for actor in (self._owner, self._borrower):
            yield from self._must(actor, actor.buffers)
        for number in range(1 << 30):
            yield from self._cycle(number)
            self.done += 1

    def _cycle(self, number: int) -> Generator[None, None, None]:
        owner, borrower, random = self._owner, self._borrower, self._random
        lends = random.random() < 0.5
        alone = random.random() < 0.7 or not self._guest.alive
        if not alone:
            yield from self._ready(owner)
            alone = not self._guest.alive
        page = self._pages[number % 16]
        ipa = owner.ram.base + page * PAGE
        mark = number.to_bytes(8, "little")
        owner.memory.write(ipa, mark)
        to = [borrower.id] if alone else [borrower.id, self._guest.id]
        typed = not lends or not alone
        sent = abi.Transaction(
            sender=owner.id,
            attributes=mem.MEM_ATTR_NORMAL_WB_INNER if typed else 0,
            receivers=[abi.Receiver(each, mem.PERM_DATA_RW) for each in to],
            constituents=[(ipa, 1)],
        )
        function = fid.FFA_MEM_LEND_64 if lends else fid.FFA_MEM_SHARE_64
        data = abi.build_transaction(sent, owner.version)
        x = yield from self._must(owner, [function, len(data), len(data)], data)
        handle = join(x[2], x[3])
        nx = mem.PERM_INSTRUCTION_NX if lends and alone else 0
        wanted = abi.Transaction(
            sender=owner.id,
            handle=handle,
            receivers=[abi.Receiver(each, mem.PERM_DATA_RW | nx) for each in to],
        )
        data = abi.build_transaction(wanted, borrower.version)
        call = [fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data)]
        x = yield from self._must(borrower, call, data)
        got = abi.parse_transaction(self._received, borrower.version)
        yield from self._must(borrower, RELEASE)
        there = got.constituents[0][0]
        if borrower.memory.read(there, 8) != mark and alone:
            raise Disturbed(f"{borrower.name} does not see what {owner.name} has written")
        data = abi.build_relinquish(abi.Relinquish(handle, 0, [borrower.id]))
        yield from self._must(borrower, [fid.FFA_MEM_RELINQUISH], data)
        yield from self._reclaim(handle, page, alone=alone)
        if alone and owner.memory.read(ipa, 8) != mark:
            raise Disturbed(f"{owner.name} does not have what it had")

    def _reclaim(self, handle: int, page: int, *, alone: bool) -> Generator[None, None, None]:
        call = [fid.FFA_MEM_RECLAIM, *halves(handle)]
        for _ in range(TRIES):
            x = yield from self._call(self._owner, call)
            if x[0] & MASK32 != fid.FFA_ERROR:
                return
            if alone or from_register(x[2]) is not Status.DENIED:
                raise Disturbed(f"{self._owner.name} cannot reclaim: {x[2]:#x}")
        self._pages.remove(page)

    def _must(self, actor: Actor, registers: list[int], data: bytes = b"") -> Step:
        """A call that succeeds; RX may be full of somebody's message, which is thrown away."""
        x = yield from self._call(actor, registers, data)
        for _ in range(TRIES):
            if x[0] & MASK32 != fid.FFA_ERROR or from_register(x[2]) is not Status.BUSY:
                break
            yield from self._call(actor, RELEASE)
            x = yield from self._call(actor, registers, data)
        if x[0] & MASK32 == fid.FFA_ERROR and registers is not RELEASE:
            raise Disturbed(f"{actor.name}: {registers[0]:#x} failed with {from_register(x[2])!r}")
        return x

    def _ready(self, actor: Actor) -> Generator[None, None, None]:
        while not actor.ready() or actor.serves:
            yield

    def _call(self, actor: Actor, registers: list[int], data: bytes = b"") -> Step:
        yield from self._ready(actor)
        actor.put(data)
        self.calls += 1
        self._busy = actor
        actor.call(registers)
        while not actor.runner.in_control:
            yield
            actor.ready()
        x = list(actor.x)
        if x[0] & MASK32 == fid.FFA_MEM_RETRIEVE_RESP:
            self._received = actor.got(x[2] & MASK32)
        self._busy = None
        yield
        return x
