"""An episode: random, malformed and legal calls, the ledger compared after each.

It boots a system with a hostile VM (or kernel), a hostile SP and partitions that behave,
lets them make calls, and at its end unwinds what is under way and takes everything back. Nothing
may raise, disturb those who behave, or stay behind. What happens depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import IO, TYPE_CHECKING, Self

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import Sp
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.lab.fuzz.actors import POISON, Actor
from ffabric.lab.fuzz.chains import Chains, response_to
from ffabric.lab.fuzz.descriptors import Descriptors
from ffabric.lab.fuzz.registers import Registers
from ffabric.lab.fuzz.report import Report
from ffabric.lab.fuzz.settlement import Settlement
from ffabric.lab.fuzz.systems import SYSTEMS, Cast
from ffabric.lab.fuzz.victims import Pair
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.ledger import Ledger
from ffabric.observe.trace import Trace
from ffabric.session import system as sessions
from ffabric.system.booting.boot import boot

if TYPE_CHECKING:
    from ffabric.system.system import System

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


class Episode:
    """A booted system, its actors and what they do next.

    ``report`` counts what happens; ``sink`` is a binary file for the trace.
    """

    def __init__(self, seed: str, report: Report, sink: IO[bytes] | None = None) -> None:
        self.random = Random(seed)  # noqa: S311 - reproducible on purpose
        self.report = report
        cast: Cast = self.random.choice(SYSTEMS)
        self.system: System = boot(cast.spec, seed=self.random.getrandbits(32))
        self._trace = Trace(self.system, sink) if sink is not None else None
        self.ledger = Ledger(self.system, passing=self._trace)
        self.system.attach(self.ledger)
        self.session = sessions.System(self.system)
        self.report.episodes += 1
        for endpoint in self.system.endpoints.values():
            if isinstance(endpoint.partition, Sp):
                endpoint.partition.secondary_entry = endpoint.partition.entry
        self.system.run()
        self.actors = [actor for name in cast.names for actor in self._vcpus(name)]
        self.hostile = [actor for actor in self.actors if actor.endpoint.name in cast.hostile]
        first = {actor.endpoint.name: actor for actor in reversed(self.actors)}
        owner, borrower = (first[name] for name in cast.behaved)
        rest = [actor for actor in self.actors if actor not in (owner, borrower, *self.hostile)]
        self.pair = Pair(self.random, owner, borrower, first[cast.guest], rest)
        self._sources = [(actor, *self._make_sources(actor)) for actor in self.hostile]
        self._start_others()

    def _vcpus(self, name: str) -> Iterator[Actor]:
        endpoint = self.system.endpoint(name)
        first = Actor(self.session, endpoint)
        yield first
        for index in range(1, endpoint.spec.vcpus):
            yield Actor(self.session, endpoint, index, first)

    def _start_others(self) -> None:
        """Let the other vCPUs of VMs begin."""
        pes = self.system.machine.pes
        for actor in self.actors:
            if not actor.secure and actor.ctx.index:
                first = next(each for each in self.actors if each.id == actor.id)
                first.ready()
                first.call([psci.CPU_ON_64, pes[actor.ctx.index].mpidr])

    def _make_sources(self, actor: Actor) -> tuple[Registers, Descriptors, Chains]:
        others = [*{each.id: each for each in self.actors if each.id != actor.id}.values()]
        return (
            Registers(self.random, actor, others, self.ledger),
            Descriptors(self.random, actor, others, self.ledger),
            Chains(self.random, actor, others),
        )

    def play(self, calls: int) -> None:
        """Make calls until they are used up, or nobody hostile is alive."""
        random = self.random.random
        for _ in range(PATIENCE * calls):
            if self.report.calls >= calls or not any(actor.alive for actor in self.hostile):
                return
            if random() < 0.15:
                self._behave()
            else:
                self._attack()
            self.ledger.check()
        raise Discrepancy("nobody gets the PE")

    def _behave(self) -> None:
        before, made = self.pair.done, self.pair.calls
        self.pair.step()
        self.report.cycles += self.pair.done - before
        self.report.calls += self.pair.calls - made

    def _attack(self) -> None:
        actor, registers, descriptors, chains = self.random.choice(self._sources)
        if not actor.ready():
            made = self.pair.calls
            self.pair.serve()
            self.report.calls += self.pair.calls - made
            return
        pick = self.random.random()
        if not actor.tx and pick < 0.5:
            actor.map_buffers()
            self.report.calls += 1
        elif actor.ctx.request and pick < 0.15:
            self._make(actor, response_to(actor))
        elif actor.secure and pick < 0.02:
            self._make(actor, [fid.FFA_MSG_WAIT])
        elif pick < 0.4:
            self._make(actor, registers.call())
        elif pick < 0.5:
            self._make(actor, chains.call())
        else:
            call = descriptors.call(0.5)
            self._make(actor, call)
            descriptors.after(call)

    def _make(self, actor: Actor, call: list[int]) -> None:
        self.report.calls += 1
        self.report.hostile += 1
        returned = actor.call(call)
        if not returned:
            self.report.blocked += 1
        if not actor.alive:
            self.report.deaths += 1
        self._judge_answer(actor, call, returned=returned)
        self._judge_chain()

    def _judge_answer(self, actor: Actor, call: list[int], *, returned: bool) -> None:
        x = actor.x
        answer = x[0] & MASK32
        if any(not 0 <= value < 1 << 64 for value in x):
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

    def _judge_chain(self) -> None:
        """Whoever has a PE runs, and whoever lent it the cycles waits for it."""
        for pe in self.system.machine.pes:
            ctx = pe.current
            if not isinstance(ctx, ExecutionContext) or ctx.stage2 is None:
                continue
            if ctx.state not in (State.RUNNING, State.STARTING):
                raise Discrepancy(f"{ctx.name} has a PE and is {ctx.state.value}")
            asker = ctx.caller
            if asker is not None and asker.callee is not ctx:
                raise Discrepancy(f"{ctx.name} runs for {asker.name}, which does not wait for it")

    def settle(self) -> None:
        """Unwind every chain, take everything back, and look that nothing is left."""
        Settlement(self.system, self.ledger, self.actors).settle()
        self.report.refusals.update(self.system.refusals)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._trace is not None:
            self._trace.close()
        self.session.close()
