"""A campaign: episodes of random, malformed and legal calls, the ledger compared after each.

An episode boots a system with a hostile VM (or kernel), a hostile SP and partitions that behave,
lets them make calls, and at its end unwinds what is under way and takes everything back. Nothing
may raise, disturb those who behave, or stay behind. An episode depends on its seed alone.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING

import msgspec

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.firmware.manager.memory.region import DONATE, Region
from ffabric.firmware.manager.partition import ExecutionContext, State
from ffabric.guests.session import Session
from ffabric.lab.fuzz.actors import POISON, Actor
from ffabric.lab.fuzz.chains import Chains, response_to
from ffabric.lab.fuzz.descriptors import Descriptors
from ffabric.lab.fuzz.registers import Registers
from ffabric.lab.fuzz.systems import SYSTEMS, Cast
from ffabric.lab.fuzz.victims import Pair
from ffabric.lab.ledger import Ledger
from ffabric.lab.spaces import Discrepancy
from ffabric.system.boot import boot

if TYPE_CHECKING:
    from ffabric.system.system import System

MASK32 = 0xFFFFFFFF
EPISODE = 2500
"""Calls of one episode."""
THOROUGH = 500
"""After so many calls all tables are compared, edited or not."""
NOBODY = 0x8ABC
"""An endpoint id that is nobody's."""
PATIENCE = 20
"""Tries to make a call for each that is made: somebody else may have the PE."""
ROUNDS = 400
"""Calls that may be needed to unwind all chains at the end of an episode."""
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


class Report(msgspec.Struct):
    """What a campaign has done."""

    seed: int
    calls: int = 0
    hostile: int = 0
    """Calls of the hostile partitions."""
    blocked: int = 0
    """Calls that gave the PE to somebody else."""
    errors: int = 0
    """Calls of theirs that were answered with FFA_ERROR."""
    cycles: int = 0
    """Life cycles of memory between partitions that behave."""
    episodes: int = 0
    deaths: int = 0
    seconds: float = 0.0
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    """How often each rule refused."""

    def __str__(self) -> str:
        rate = self.calls / self.seconds if self.seconds else 0
        return (
            f"{self.calls} calls in {self.episodes} episodes, {rate:.0f}/s: {self.hostile} hostile "
            f"({self.errors} refused by {len(self.refusals)} rules, {self.blocked} gave the PE "
            f"away), {self.cycles} life cycles undisturbed, {self.deaths} partitions died"
        )


class Failure(AssertionError):  # noqa: N818 - what an assertion says
    """An episode has found something: ``seed`` brings it back, ``history`` are its last calls."""

    def __init__(self, seed: str, number: int, history: list[str], cause: BaseException) -> None:
        lines = "\n  ".join(history)
        super().__init__(f"episode {seed}, call {number}: {cause!r}\n  {lines}")
        self.seed = seed
        self.number = number
        self.history = history


def campaign(seed: int, calls: int, *, progress: Callable[[Report], None] | None = None) -> Report:
    """Make ``calls`` calls; raises Failure for the first thing that is wrong.

    ``progress`` is told after every episode.
    """
    report = Report(seed)
    started = time.perf_counter()
    while report.calls < calls:
        run_episode(f"{seed}/{report.episodes}", min(EPISODE, calls - report.calls), report)
        report.episodes += 1
        report.seconds = time.perf_counter() - started
        if progress is not None:
            progress(report)
    return report


def run_episode(seed: str, calls: int, report: Report | None = None) -> None:
    """One episode; ``seed`` as Failure tells it."""
    episode = Episode(seed, report or Report(0))
    try:
        episode.play(calls)
        episode.settle()
    except Exception as error:
        raise Failure(seed, episode.number, [*episode.history()], error) from error
    finally:
        episode.close()


class Episode:
    """A booted system, its actors and what they do next."""

    def __init__(self, seed: str, report: Report) -> None:
        self.random = Random(seed)  # noqa: S311 - reproducible on purpose
        self.report = report
        self.number = 0
        self._calls: deque[tuple[str, list[int], list[int], bytes]] = deque(maxlen=40)
        cast: Cast = self.random.choice(SYSTEMS)
        self.system: System = boot(cast.spec, seed=self.random.getrandbits(32))
        self.ledger = Ledger(self.system)
        self.system.attach(self.ledger)
        self.session = Session(self.system)
        for endpoint in self.system.endpoints.values():
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
            if self.number >= calls or not any(actor.alive for actor in self.hostile):
                return
            if random() < 0.15:
                self._behave()
            else:
                self._attack()
            self.ledger.check(everything=self.number % THOROUGH == 0)
        raise Discrepancy("nobody gets the PE")

    def _behave(self) -> None:
        before, made = self.pair.done, self.pair.calls
        self.pair.step()
        self.report.cycles += self.pair.done - before
        self._count(self.pair.calls - made)

    def _count(self, calls: int) -> None:
        self.number += calls
        self.report.calls += calls

    def _attack(self) -> None:
        actor, registers, descriptors, chains = self.random.choice(self._sources)
        if not actor.ready():
            made = self.pair.calls
            self.pair.serve()
            self._count(self.pair.calls - made)
            return
        pick = self.random.random()
        if not actor.tx and pick < 0.5:
            actor.map_buffers()
            self._count(1)
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
        self._count(1)
        self.report.hostile += 1
        self._calls.append((actor.name, call, [], b""))
        returned = actor.call(call)
        self._calls[-1][2][:] = actor.x
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

    # The end

    def settle(self) -> None:
        """Unwind every chain, take everything back, and look that nothing is left."""
        if not any(actor.alive for actor in self.actors if not actor.secure):
            return  # nobody gives SPs cycles any more
        self._unwind()
        self._finish_pieces()
        for handle, given in [*self.ledger.given.items()]:
            self._take_back(handle, [*given.holders], given.owner.id)
        self._do_chores()
        self._unwind()
        self.ledger.check(everything=True)
        self.ledger.check_tables()
        self._judge_rest()
        self.report.refusals.update(self.system.refusals)

    def _unwind(self) -> None:
        """Let every partition finish what it does for others."""
        for _ in range(ROUNDS):
            if not any(self._unwound(actor) for actor in self.actors):
                return
        stuck = [f"{a.name} is {a.ctx.state.value}" for a in self.actors if a.secure]
        raise Discrepancy(f"a chain of calls does not come to its end: {', '.join(stuck)}")

    def _unwound(self, actor: Actor) -> bool:
        """Make a call that brings ``actor`` nearer to waiting; False: it waits, or is dead."""
        ctx = actor.ctx
        if not actor.alive:
            return False
        if actor.runner.in_control:
            if ctx.request:
                actor.call(response_to(actor))
                return True
            paused = self._paused_for(ctx)
            if paused is not None:
                actor.call([fid.FFA_RUN, paused.partition.id << 16 | paused.index])
                return not actor.failed
            if actor.secure:
                actor.call([fid.FFA_MSG_WAIT])
                return True
            return False
        if actor.secure and ctx.state is State.WAITING:
            return False
        return actor.ready() and self._unwound(actor)

    def _paused_for(self, ctx: ExecutionContext) -> ExecutionContext | None:
        """A context that has stopped and that ``ctx`` may let go on."""
        scheduler = not ctx.secure
        for actor in self.actors:
            other = actor.ctx
            if other is ctx or not actor.secure or other.pe is not ctx.pe:
                continue
            if other.state is State.PREEMPTED or other.yielded:
                asker = other.caller
                if asker is ctx or (scheduler and (asker is None or asker.gate is not None)):
                    return other
        return None

    def _do_chores(self) -> None:
        """Whenever an SP has run, the hypervisor takes back what dead VMs had given."""
        for actor in self.actors:
            if not actor.secure and actor.ready():
                actor.call([fid.FFA_RUN, NOBODY << 16])

    def _finish_pieces(self) -> None:
        """A fragment of no length ends a transaction in pieces."""
        for handle, (_, data) in self.ledger.pending.items():
            sender = int.from_bytes(data[:2], "little") << 16
            for actor in self.actors:
                if actor.ready():
                    w4 = sender if actor.kernel else 0
                    actor.call([fid.FFA_MEM_FRAG_TX, handle & MASK32, handle >> 32, 0, w4])

    def _take_back(self, handle: int, holders: list[int], owner: int) -> None:
        by_id = {actor.id: actor for actor in self.actors if actor.alive}
        if not {*holders, owner} <= by_id.keys():
            return
        for endpoint in holders:
            actor = by_id[endpoint]
            if not self._prepared(actor, buffers=True):
                return  # it has it for good
            actor.put(abi.build_relinquish(abi.Relinquish(handle, 0, [endpoint])))
            actor.call([fid.FFA_MEM_RELINQUISH])
            self._done(actor, f"cannot relinquish {handle:#x}")
        if self._prepared(by_id[owner]):
            by_id[owner].call([fid.FFA_MEM_RECLAIM, handle & MASK32, handle >> 32])
            self._done(by_id[owner], f"cannot reclaim {handle:#x}")

    def _prepared(self, actor: Actor, *, buffers: bool = False) -> bool:
        """Whether ``actor`` is alive and has the PE, and buffers if they are needed."""
        for _ in range(ROUNDS):
            if not actor.alive:
                return False
            if actor.ready():
                if not buffers or actor.tx or actor.map_buffers():
                    return True
                raise Discrepancy(f"{actor.name} cannot map its buffers: {actor.x[2]:#x}")
            self._unwind()
        raise Discrepancy(f"{actor.name} does not get the PE")

    def _done(self, actor: Actor, otherwise: str) -> None:
        while actor.alive and not actor.runner.in_control:
            actor.ready()
        if actor.failed:
            raise Discrepancy(f"{actor.name} {otherwise}: {actor.x[2]:#x}")

    def _judge_rest(self) -> None:
        if all(actor.alive for actor in self.actors):
            self.ledger.check_settled()
        for manager in self.system.firmware.managers:
            regions = manager.regions
            left = [h for h, r in regions.live.items() if h not in self.ledger.given]
            left = [h for h in left if not (regions.live[h].remote and _donated(regions.live[h]))]
            awake = [actor.id for actor in self.actors if actor.alive]
            left += [h for h, r in regions.pending.items() if r.sender in awake]
            if left:
                raise Discrepancy(f"{manager.name} keeps {[hex(handle) for handle in left]}")

    def history(self) -> Iterator[str]:
        """The last calls, in words."""
        for name, call, answer, _ in self._calls:
            made = " ".join(f"{value:#x}" for value in call)
            got = " ".join(f"{value:#x}" for value in answer[:8])
            yield f"{name}: {made} -> {got}"

    def close(self) -> None:
        """Give the memory back."""
        self.session.close()


def _donated(region: Region) -> bool:
    """The hypervisor has not noticed yet that an SP has taken it."""
    return region.kind is DONATE
