"""The end of an episode: every chain is unwound, everything is taken back, nothing may be left.

First whoever is there finishes what is under way and gives back what it has: nobody may wait for
ever. Then the VMs that may go are destroyed, and a new one comes, which must find a system that
works. Last it goes, too, and every frame and every table page has to be where it belongs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.words import MASK32, halves, pack_ids
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.firmware.state.region import DONATE, Region
from ffabric.lab.fuzz.events import LEVEL
from ffabric.lab.oracle.address_spaces import Discrepancy

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor
    from ffabric.lab.fuzz.stage import Stage

NOBODY = 0x8ABC
"""An endpoint id that is nobody's."""
ROUNDS = 400
"""Calls that may be needed to unwind all chains."""
LAST = 100
"""VMs that may be there at the end."""
INTERRUPTS = 8
"""Interrupts that an SP may have pending at once."""


class Settlement:
    """What is done on a stage when its episode is over."""

    STEPS = 4
    """How many there are."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.ledger = stage.ledger

    def settle(self) -> None:
        """Raise Discrepancy if something cannot be taken back, or is left."""
        for number in range(self.STEPS):
            self.do(number)

    def do(self, number: int) -> None:
        """Do one of the `STEPS`; nothing but the stage's state goes from one to the next."""
        _STEPS[number](self)
        self.stage.check()

    def _finish(self) -> None:
        """Whoever is there finishes what is under way."""
        self._calm()
        self._leave_secure_world()
        self._judge_started()
        self._unwind()
        self._power_on()

    def _give_back(self) -> None:
        """Everything is taken back, also while a VM is new; a kernel may be dead by now."""
        if self.stage.system.firmware.hypervisor is not None:
            self._welcome()
            self._end_transactions()
        elif any(actor.alive for actor in self.stage.actors if not actor.secure):
            self._end_transactions()

    def _empty(self) -> None:
        """The VMs that may go are destroyed."""
        while self.stage.mortal:
            self.stage.destroy(self.stage.mortal[0])
            self._unwind()

    def _begin_anew(self) -> None:
        """A VM finds a system that works, and goes, too."""
        if self.stage.system.firmware.hypervisor is not None:
            self._welcome()
            self._empty()
            self._judge_gone()

    def _calm(self) -> None:
        """No interrupt comes any more, and whoever waits for one goes on."""
        machine = self.stage.machine
        machine.gic.set_level(LEVEL, high=False)
        self.stage.deliver()
        for pe in machine.pes:
            self.stage.system.firmware.wake(pe)
        self.stage.system.run()

    def _leave_secure_world(self) -> None:
        """SPs finish what they do, as far as they can alone: no VM makes a call."""
        for _ in range(ROUNDS):
            busy = [a for a in self.stage.actors if a.secure and a.runner.in_control]
            if not any(self._unwound(actor) for actor in busy):
                return

    def _judge_started(self) -> None:
        """A VM that was created runs as soon as a PE is in the normal world."""
        if self.stage.system.firmware.hypervisor is None:
            return
        current = [pe.current for pe in self.stage.machine.pes]
        if all(ctx is not None and ctx.secure for ctx in current):
            return
        for actor in self.stage.actors:
            never = actor.ctx.state is State.OFF and not actor.turned_off
            if never and not actor.secure and not actor.ctx.index:
                raise Discrepancy(f"{actor.name} was created and does not start")

    def _power_on(self) -> None:
        """VMs turn their vCPUs on again, a kernel its PEs: SPs may have to finish for them."""
        for actor in self.stage.actors:
            if not actor.secure and not actor.ctx.index:
                for pe in self.stage.machine.pes[1:]:
                    if self._prepared(actor):
                        actor.call([psci.CPU_ON_64, pe.mpidr, actor.entry])

    def _end_transactions(self) -> None:
        self._unwind()
        self._finish_pieces()
        for handle, transaction in [*self.ledger.accounts.transactions.items()]:
            self._reclaim(handle, [*transaction.holders], transaction.owner.id)
        self._let_the_hypervisor_reclaim()
        self._unwind()
        self.ledger.check()
        self.ledger.check_tables()
        self._judge_waiting()
        self._judge_rest()

    def _unwind(self) -> None:
        """Let every partition finish what it does for others."""
        for _ in range(ROUNDS):
            if not any(self._unwound(actor) for actor in self.stage.actors):
                return
        stuck = [f"{a.name} is {a.ctx.state.value}" for a in self.stage.actors if a.secure]
        raise Discrepancy(f"a chain of calls does not come to its end: {', '.join(stuck)}")

    def _unwound(self, actor: Actor) -> bool:
        """Make a call that brings ``actor`` nearer to waiting; False: it waits, or is dead."""
        ctx = actor.ctx
        if not actor.alive:
            return False
        if actor.runner.in_control:
            if actor.secure or actor.primary is not None:
                self._handle_interrupts(actor)
            if actor.serves:
                actor.call(actor.response)
                return True
            paused = self._paused_for(ctx)
            if paused is not None:
                actor.call([fid.FFA_RUN, pack_ids(paused.partition.id, paused.index)])
                return not actor.failed
            if actor.secure or actor.primary is not None:
                actor.call([fid.FFA_MSG_WAIT])
                return True
            return False
        waits = ctx.state is State.WAITING or (actor.primary is not None and ctx.idles)
        if (actor.secure or actor.primary) and waits and self._paused_for(ctx) is None:
            return False
        return actor.ready() and self._unwound(actor)

    def _handle_interrupts(self, actor: Actor) -> None:
        """An SP takes what is pending for it."""
        for _ in range(INTERRUPTS):
            actor.call([hafnium.HF_INTERRUPT_GET])
            intid = actor.x[0] & MASK32
            if not actor.runner.in_control or intid == hafnium.INVALID_INTID:
                return
            actor.call([hafnium.HF_INTERRUPT_DEACTIVATE, intid, intid])

    def _paused_for(self, ctx: ExecutionContext) -> ExecutionContext | None:
        """A context that has stopped and that ``ctx`` may let go on; or its requester, who may."""
        scheduler = not ctx.secure
        for actor in self.stage.actors:
            other = actor.ctx
            if other is ctx or not actor.secure or other.pe is not ctx.pe:
                continue
            if _has_stopped(other):
                requester = _requester(other)
                if requester is ctx or (
                    scheduler and (requester is None or requester.gate is not None)
                ):
                    return other
                if scheduler and requester is not None and _is_elsewhere(requester, ctx):
                    return requester
        return None

    def _let_the_hypervisor_reclaim(self) -> None:
        """When an SP has run, the hypervisor soon takes back what dead VMs had sent."""
        for actor in self.stage.actors:
            if not actor.secure and actor.ready():
                actor.call([fid.FFA_RUN, NOBODY << 16])
        self.stage.system.run()

    def _finish_pieces(self) -> None:
        """A fragment of no length ends a transaction in pieces."""
        for handle, (_, data) in self.ledger.accounts.pending.items():
            sender = int.from_bytes(data[:2], "little") << 16
            for actor in self.stage.actors:
                if actor.ready() or (actor.secondaries and self._prepared(actor)):
                    w4 = sender if actor.kernel else 0
                    actor.call([fid.FFA_MEM_FRAG_TX, *halves(handle), 0, w4])

    def _reclaim(self, handle: int, holders: list[int], owner: int) -> None:
        by_id = {actor.id: actor for actor in self.stage.actors if actor.alive}
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
            by_id[owner].call([fid.FFA_MEM_RECLAIM, *halves(handle)])
            self._done(by_id[owner], f"cannot reclaim {handle:#x}")

    def _prepared(self, actor: Actor, *, buffers: bool = False) -> bool:
        """Whether ``actor`` is alive and has the PE, and buffers if they are needed."""
        for _ in range(ROUNDS):
            if not actor.alive:
                return False
            if actor.ready():
                if not buffers or actor.tx:
                    return True
                if not actor.map_buffers() and actor.runner.in_control:
                    raise Discrepancy(f"{actor.name} cannot map its buffers: {actor.x[2]:#x}")
                continue
            self._unwind()
        raise Discrepancy(f"{actor.name} does not get the PE")

    def _done(self, actor: Actor, otherwise: str) -> None:
        for _ in range(ROUNDS):
            if not actor.alive or actor.ready():
                break
            self._unwind()
        if actor.failed:
            raise Discrepancy(f"{actor.name} {otherwise}: {actor.x[2]:#x}")

    def _judge_waiting(self) -> None:
        """Everybody gets the PE, so nobody waits for an answer that never comes."""
        for actor in self.stage.actors:
            if actor.alive:
                self._prepared(actor)
                actor.hear()
                self._unwind()

    def _judge_rest(self) -> None:
        if all(actor.alive for actor in self.stage.actors) and not self.stage.has_lost:
            self.ledger.check_settled()
        for manager in self.stage.system.firmware.managers:
            regions = manager.regions
            known = self.ledger.accounts.transactions
            left = [h for h in regions.live if h not in known]
            left = [h for h in left if not (regions.live[h].remote and _donated(regions.live[h]))]
            awake = [actor.id for actor in self.stage.actors if actor.alive]
            left += [h for h, r in regions.pending.items() if r.sender in awake]
            if left:
                raise Discrepancy(f"{manager.name} keeps {[hex(handle) for handle in left]}")

    def _welcome(self) -> None:
        """A VM that comes now starts on every PE, and can call."""
        come = self.stage.create(most=LAST)
        if not come:  # a host may use what it was to donate: the next VM has other memory
            come = self.stage.create(most=LAST)
        if not come:
            raise Discrepancy("no VM can be created any more")
        first, *others = come
        self._unwind()
        if not self._prepared(first):
            raise Discrepancy(f"{first.name}, which is new, does not start")
        for actor, pe in zip(others, self.stage.machine.pes[1:], strict=True):
            self._prepared(first)
            first.call([psci.CPU_ON_64, pe.mpidr, first.entry])
            self._prepared(actor)
        self._prepared(first, buffers=True)
        self.stage.check()

    def _judge_gone(self) -> None:
        """All VMs that may go are gone, with everything they had."""
        known = {actor.endpoint.name for actor in self.stage.actors}
        for name in self.stage.system.endpoints:
            if name not in known:
                raise Discrepancy(f"{name} was destroyed and does not go")
        self.stage.check()
        self.ledger.check_tables()
        self.ledger.isolation.check_lost()


_STEPS = (
    Settlement._finish,
    Settlement._give_back,
    Settlement._empty,
    Settlement._begin_anew,
)


def _has_stopped(ctx: ExecutionContext) -> bool:
    """Whether it goes on when somebody lets it: stopped, or left by whoever waited for it."""
    if ctx.state is State.BLOCKED and not ctx.yielded:
        return ctx.caller is not None and ctx.caller.state is not State.BLOCKED
    return ctx.state is State.PREEMPTED or ctx.yielded


def _requester(ctx: ExecutionContext) -> ExecutionContext | None:
    """Who waits for its answer: the first in its chain who is not dead."""
    requester = ctx.caller
    while requester is not None and requester.state is State.ABORTED:
        requester = requester.caller
    return requester


def _is_elsewhere(requester: ExecutionContext, ctx: ExecutionContext) -> bool:
    """Whether an SP that may run on any PE waits on another than ``ctx``."""
    return (
        requester.state is State.WAITING and requester.partition.up and requester.pe is not ctx.pe
    )


def _donated(region: Region) -> bool:
    """The hypervisor has not noticed yet that an SP has taken it."""
    return region.kind is DONATE
