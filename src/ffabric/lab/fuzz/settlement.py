"""The end of an episode: every chain is unwound, everything is taken back, nothing may be left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.words import MASK32
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.firmware.state.region import DONATE, Region
from ffabric.lab.fuzz.chains import response_to
from ffabric.lab.oracle.address_spaces import Discrepancy

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor
    from ffabric.lab.oracle.ledger import Ledger
    from ffabric.system.system import System

NOBODY = 0x8ABC
"""An endpoint id that is nobody's."""
ROUNDS = 400
"""Calls that may be needed to unwind all chains."""


class Settlement:
    """What the actors of an episode do when it is over."""

    def __init__(self, system: System, ledger: Ledger, actors: list[Actor]) -> None:
        self.system = system
        self.ledger = ledger
        self.actors = actors

    def settle(self) -> None:
        """Raise Discrepancy if something cannot be taken back, or is left."""
        if not any(actor.alive for actor in self.actors if not actor.secure):
            return  # nobody gives SPs cycles any more
        self._unwind()
        self._finish_pieces()
        for handle, given in [*self.ledger.given.items()]:
            self._take_back(handle, [*given.holders], given.owner.id)
        self._let_the_hypervisor_reclaim()
        self._unwind()
        self.ledger.check()
        self.ledger.check_tables()
        self._judge_rest()

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

    def _let_the_hypervisor_reclaim(self) -> None:
        """When an SP has run, the hypervisor soon takes back what dead VMs had sent."""
        for actor in self.actors:
            if not actor.secure and actor.ready():
                actor.call([fid.FFA_RUN, NOBODY << 16])
        self.system.run()

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


def _donated(region: Region) -> bool:
    """The hypervisor has not noticed yet that an SP has taken it."""
    return region.kind is DONATE
