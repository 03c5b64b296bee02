"""An episode: random, malformed and legal calls and events from outside, judged after each.

It boots a system with hostile VMs (or a kernel), hostile SPs and partitions that behave, lets them
make calls while VMs come and go, SPs crash and interrupts arrive, and at its end unwinds what is
under way and takes everything back. Nothing may raise, disturb those who behave, or stay behind.
What happens depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import IO, TYPE_CHECKING, Self

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32, MASK64, PAGE
from ffabric.lab.fuzz.actors import POISON, Actor
from ffabric.lab.fuzz.calls.activation import Activation
from ffabric.lab.fuzz.calls.chains import Chains
from ffabric.lab.fuzz.calls.descriptors import Descriptors
from ffabric.lab.fuzz.calls.power import Powers
from ffabric.lab.fuzz.calls.registers import LAST, Registers
from ffabric.lab.fuzz.calls.smmu import Programmer
from ffabric.lab.fuzz.events import DEADLY, EVENTS
from ffabric.lab.fuzz.settlement import Settlement
from ffabric.lab.fuzz.stage import Stage
from ffabric.lab.fuzz.systems import HOSTS, SYSTEMS, Cast
from ffabric.lab.fuzz.victims import Pair
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.stream_tables import Nowhere, StreamTables
from ffabric.machine.access import DataAbort
from ffabric.machine.translation.descriptors import ADDRESS, S2AP_W
from ffabric.machine.translation.smmu import DmaFault

if TYPE_CHECKING:
    from ffabric.lab.fuzz.report import Report
    from ffabric.machine.translation.smmu import Stream

MARK = b"somebody was here"
PATIENCE = 20
"""Tries to make a call for each that is made: somebody else may have the PE."""
_EXTENDED = frozenset(
    {
        fid.FFA_MSG_SEND_DIRECT_REQ2,
        fid.FFA_MSG_SEND_DIRECT_RESP2,
        fid.FFA_PARTITION_INFO_GET_REGS,
        fid.FFA_RUN,
        fid.FFA_MSG_WAIT,
    }
)
_PLAIN = (fid.FFA_ERROR, fid.FFA_SUCCESS_32)


_EVENTS = [name for name in EVENTS for _ in range(1 if name in DEADLY else 8)]
"""Names of events, those that end an SP for good seldom."""


class Episode:
    """A stage, its actors and what they do next.

    ``report`` counts what happens; ``sink`` is a binary file for the trace; ``hosts``: on a system
    of `HOSTS`, with protected VMs and DMA, instead of one of `SYSTEMS`.
    """

    def __init__(
        self, seed: str, report: Report, sink: IO[bytes] | None = None, *, hosts: bool = False
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - reproducible on purpose
        self.report = report
        cast: Cast = self.random.choice(HOSTS if hosts else SYSTEMS)
        choices = self.random.getrandbits(32)
        self.stage = Stage(cast.spec, cast.hostile, choices, sink, host=cast.host)
        self.report.episodes += 1
        actors = self.stage.actors
        self.hostile: list[Actor] = []
        first = {actor.endpoint.name: actor for actor in reversed(actors)}
        owner, borrower = (first[name] for name in cast.behaved)
        rest = [a for a in actors if a not in (owner, borrower) and not self.stage.is_hostile(a)]
        self.pair = Pair(self.random, owner, borrower, first[cast.guest], rest)
        self._activation = None
        if self.stage.system.firmware.monitor.live_activation is not None:
            self._activation = Activation(self.random, self.stage)
        self._powers = Powers(self.random, self.stage.machine) if cast.powers else None
        self._sources: dict[Actor, tuple[Registers, Descriptors, Chains]] = {}
        self._muster()
        self.stage.start_others()

    def _muster(self) -> None:
        """Who is there may have changed."""
        self.hostile = [actor for actor in self.stage.actors if self.stage.is_hostile(actor)]

    def _source(self, actor: Actor) -> tuple[Registers, Descriptors, Chains]:
        found = self._sources.get(actor)
        if found is None:
            ids = self.stage.ids
            found = self._sources[actor] = (
                Registers(self.random, actor, ids, self.stage.ledger.accounts),
                Descriptors(self.random, actor, ids, self.stage.ledger.accounts),
                Chains(self.random, actor, ids),
            )
        return found

    def play(self, calls: int) -> None:
        """Make calls until they are used up, or nobody hostile is alive."""
        random = self.random.random
        for step in range(PATIENCE * calls):
            if self.report.calls >= calls or (step % 16 == 0 and not self._goes_on()):
                return
            pick = random()
            if pick < 0.15:
                self._behave()
            elif pick < 0.17:
                self._happen()
            else:
                self._attack()
            self.stage.check()
        raise Discrepancy("nobody gets the PE")

    def _goes_on(self) -> bool:
        """Whether somebody hostile can do anything; a VM can be had."""
        if not any(pe.on for pe in self.stage.machine.pes):
            return False
        if any(actor.alive for actor in self.hostile):
            return True
        if self.stage.create():
            self._muster()
        return any(actor.alive for actor in self.hostile)

    def _happen(self) -> None:
        """Something happens from outside."""
        if EVENTS[self.random.choice(_EVENTS)](self.stage):
            self.report.events += 1
            self._muster()

    def _behave(self) -> None:
        before, made = self.pair.done, self.pair.calls
        self.pair.step()
        self.report.cycles += self.pair.done - before
        self.report.calls += self.pair.calls - made

    def _attack(self) -> None:
        if not self.hostile:
            return
        actor = self.random.choice(self.hostile)
        if not actor.ready():
            made = self.pair.calls
            self.pair.serve()
            self.report.calls += self.pair.calls - made
            return
        registers, descriptors, chains = self._source(actor)
        if self._activate(actor) or self._change_power(actor):
            return
        self._access_memory(actor, descriptors.address)
        pick = self.random.random()
        if not actor.tx and pick < 0.5:
            actor.map_buffers()
            self.report.calls += 1
        elif actor.serves and pick < 0.15:
            self._make(actor, actor.response)
        elif actor.secure and pick < 0.02:
            self._make(actor, [fid.FFA_MSG_WAIT])
        elif pick < 0.4:
            call = registers.call()
            if call[0] & MASK32 not in LAST or self.stage.may_die(actor):
                self._make(actor, call)
        elif pick < 0.5:
            self._make(actor, chains.call())
        else:
            call = descriptors.call(0.5)
            self._make(actor, call)
            descriptors.after(call)

    def _activate(self, actor: Actor) -> bool:
        """A host may have an image replaced; whether it has made a call for that."""
        if self._activation is None or actor.secure or self.random.random() >= 0.1:
            return False
        for call in self._activation.calls():
            if actor.ready():
                self._make(actor, call)
        return True

    def _change_power(self, actor: Actor) -> bool:
        """A kernel may change the power of a PE, an SP answer that it is told; whether it has."""
        often = 0.5 if actor.secure else 0.15
        if self._powers is None or self.random.random() >= often:
            return False
        call = self._powers.call(actor)
        if call is not None:
            self._make(actor, call)
        return call is not None

    def _access_memory(self, actor: Actor, address: Callable[[], int]) -> None:
        """A store, and one of each device, now and then; an SMMU may be programmed first."""
        base = self.stage.smmus.get(actor.endpoint.name)
        if base is not None and self.random.random() < 0.3:
            self._touch(actor, Programmer(self.random, actor, base, address).step())
        if self.random.random() < 0.1:
            self._touch(actor, address())

    def _touch(self, actor: Actor, ipa: int) -> None:
        """A store is possible exactly where the table says so, whatever was there before."""
        reach = self.stage.ledger.tables.reaches.get(actor.endpoint.partition)
        if reach is None or actor.kernel:
            return  # too new to be known, or without any table
        try:
            actor.memory.write(ipa, MARK)
            stored = True
        except DataAbort:
            stored = False
        leaf = reach.leaf(ipa)
        if stored != bool(leaf & S2AP_W):
            word = "stores" if stored else "cannot store"
            raise Discrepancy(f"{actor.name} {word} at {ipa:#x}, where the table says {leaf:#x}")
        for stream in self.stage.streams.get(actor.endpoint.name, ()):
            self._access(actor, stream, ipa, leaf)

    def _access(self, actor: Actor, stream: Stream, ipa: int, leaf: int) -> None:
        """A device of a partition reaches what the partition reaches, where that is memory.

        Before that, the SMMU that the partition programs leads it elsewhere, or nowhere.
        """
        base = self.stage.smmus.get(actor.endpoint.name)
        if base is not None:
            reach = self.stage.ledger.tables.reaches[actor.endpoint.partition]
            tables = StreamTables(actor.memory, base, reach, self.stage.machine.memory)
            try:
                leaf = reach.leaf(tables.leads(stream.id, ipa) & -PAGE)
            except Nowhere:
                leaf = 0
        try:
            self.stage.system.smmu.write(stream, ipa, MARK)
            stored = True
        except DmaFault:
            stored = False
        there = self.stage.machine.memory.bank_at(leaf & ADDRESS) is not None
        if stored != (there and bool(leaf & S2AP_W)):
            word = "stores" if stored else "cannot store"
            raise Discrepancy(
                f"a device of {actor.name} {word} at {ipa:#x}, where the table says {leaf:#x}"
            )

    def _make(self, actor: Actor, call: list[int]) -> None:
        self.report.calls += 1
        self.report.hostile += 1
        returned = actor.call(call)
        if not returned:
            self.report.blocked += 1
        if not actor.alive:
            self._muster()
        self._judge_answer(actor, call, returned=returned)

    def _judge_answer(self, actor: Actor, call: list[int], *, returned: bool) -> None:
        x = actor.x
        answer = x[0] & MASK32
        if min(x) < 0 or max(x) > MASK64:
            raise Discrepancy(f"{actor.name}: a register holds {x}")
        if not returned or not fid.is_ffa(call[0] & MASK32):
            return
        if answer == fid.FFA_ERROR:
            self.report.errors += 1
            if x[1] or any(x[3:8]) or x[0] != fid.FFA_ERROR:
                raise Discrepancy(f"{actor.name}: FFA_ERROR with {x[:8]}")
        if answer in _PLAIN and call[0] & MASK32 not in _EXTENDED:
            kept = [*call[8:], *(POISON | n for n in range(max(8, len(call)), 18))]
            if x[8:] != kept:
                raise Discrepancy(f"{actor.name}: x8 to x17 changed to {x[8:]}")

    def settle(self) -> None:
        """Unwind every chain, take everything back, and look that nothing is left."""
        Settlement(self.stage).settle()
        self.report.deaths += self.stage.deaths
        self.report.watched(self.stage.watch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stage.__exit__(*exc)
