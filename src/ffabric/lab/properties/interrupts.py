"""Interrupts: whatever is under way when one comes, its SP has it, once, and all else goes on."""

from __future__ import annotations

from functools import partial

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state.context import State
from ffabric.lab.faults.stage import REQ, RESP, Side, device, let_go, message
from ffabric.lab.properties.trial import Trial, right
from ffabric.session.system import System
from ffabric.system.description.python import sp, vm

_STEPS = 16
_DRAIN = 60
"""Steps in which everybody finishes."""
_EDGES, _LEVEL = (40, 42), 41


class _Play:
    """A PE: whoever has it acts; interrupts come meanwhile."""

    def __init__(self, trial: Trial, system: System, a: Side, sps: dict[Side, list[int]]) -> None:
        self.trial = trial
        self.system = system
        self.a = a
        self.sps = sps
        self.owners = {intid: side for side, intids in sps.items() for intid in intids}
        self.wanted: set[int] = set()
        """Interrupts that have come and that nobody has got."""
        self.handling: set[Side] = set()
        """SPs that were entered for an interrupt, and have not left."""
        self.getting: set[Side] = set()
        """SPs that were stopped before they had the answer to HF_INTERRUPT_GET."""
        self.asked: dict[Side, Side] = {}
        """By who serves: who has asked."""
        self.diligence = trial.random.choice((0.2, 0.7))
        """How often an SP looks for interrupts before it does anything else."""
        self.canaries: list[int] | None = None
        """What the normal world has in x8 to x11 while its call is answered."""

    def now(self) -> Side | None:
        """Who makes the next call on PE 0."""
        for side in (*self.sps, self.a):
            ctx = side.handle.endpoint.partition.contexts[0]
            if ctx.runner.in_control and ctx.pe is not None and ctx.pe.current is ctx:
                return side
        return None

    def raise_one(self) -> None:
        """An interrupt comes."""
        intid = self.trial.random.choice([*self.owners])
        self.system.interrupt(intid)
        self.wanted.add(intid)

    def act(self, *, drain: bool = False) -> None:
        """Whoever has the PE makes a call."""
        side = self.now()
        if side is None or side is self.a:
            self._normal_world(drain=drain)
        else:
            self._secure(side, drain=drain)

    def _normal_world(self, *, drain: bool) -> None:
        a, random = self.a, self.trial.random
        self._goes_on()
        paused = [
            side
            for side in self.sps
            if side.handle.endpoint.partition.contexts[0].state is State.PREEMPTED
        ]
        if paused and (drain or self.trial.chance(0.6)):
            let_go(lambda: a.ffa.call(fid.FFA_RUN, random.choice(paused).id << 16))
            return
        waiting = [
            side
            for side in self.sps
            if side.handle.endpoint.partition.contexts[0].state is State.WAITING
        ]
        if waiting and not drain and self.trial.chance(0.4):
            other = random.choice(waiting)
            let_go(lambda: a.ffa.call(*message(a, other, [1], REQ)))
            self.asked[other] = a
            return
        canaries = self.canaries = self.trial.words(4)
        let_go(lambda: a.ffa.call(fid.FFA_FEATURES, fid.FFA_VERSION, 0, *[0] * 5, *canaries))
        if self.now() is a:
            self._goes_on()

    def _goes_on(self) -> None:
        """The normal world has the answer to its call, whatever was handled meanwhile."""
        if self.canaries is not None:
            x = self.a.x
            found = x[0] & MASK32, x[8:12]
            right(found == (fid.FFA_SUCCESS_32, self.canaries), f"{self.a} goes on with {x[:12]}")
            self.canaries = None

    def _secure(self, side: Side, *, drain: bool) -> None:
        random = self.trial.random
        if side.x[0] == fid.FFA_INTERRUPT and side not in self.asked | dict.fromkeys(self.getting):
            self.handling.add(side)
        if drain or side in self.getting or self.trial.chance(self.diligence):
            self._take(side)
            if self.now() is not side:
                return
        if side in self.handling and self.trial.chance(0.5):
            let_go(lambda: side.ffa.call(fid.FFA_ID_GET))
            right(self.now() is side, f"the handler of {side} is interrupted for another")
            return
        free = [
            each
            for each in self.sps
            if each.handle.endpoint.partition.contexts[0].state is State.WAITING
        ]
        serves = side in self.asked
        stopped = [each for each, asker in self.asked.items() if asker is side]
        if stopped:  # it goes on when its request does
            let_go(lambda: side.ffa.call(fid.FFA_RUN, stopped[0].id << 16))
        elif serves and free and not drain and self.trial.chance(0.3):
            other = random.choice(free)
            let_go(lambda: side.ffa.call(*message(side, other, [1], REQ)))
            if side.x[0] != fid.FFA_ERROR:
                self.asked[other] = side
        elif not drain and self.trial.chance(0.3):
            let_go(lambda: side.ffa.call(fid.FFA_ID_GET))
        elif serves:
            asker = self.asked.pop(side)
            let_go(lambda: side.ffa.call(*message(side, asker, [2], RESP)))
            if self.now() is side:
                right(side.x[0] == fid.FFA_INTERRUPT, f"{side} gets {side.x[0]:#x} for a response")
        else:
            self.handling.discard(side)
            let_go(lambda: side.ffa.call(fid.FFA_MSG_WAIT))

    def _take(self, side: Side) -> None:
        """It gets what is pending for it."""
        for _ in range(4):
            before = side.x[:18]
            if side not in self.getting:
                let_go(lambda: side.ffa.call(hafnium.HF_INTERRUPT_GET))
            self.getting.discard(side)
            if self.now() is not side:
                self.getting.add(side)
                return
            intid = side.x[0] & MASK32
            side.x[:] = before
            if intid == hafnium.INVALID_INTID:
                return
            right(self.owners.get(intid) is side, f"{side} gets the interrupt {intid} of another")
            self.wanted.discard(intid)
            if intid == _LEVEL and self.trial.chance(0.5):
                continue  # it is deactivated when the SP leaves
            before = side.x[:18]
            let_go(partial(side.ffa.call, hafnium.HF_INTERRUPT_DEACTIVATE, intid, intid))
            if self.now() is not side:
                return
            side.x[:] = before


def handled(trial: Trial) -> None:
    """One PE: SPs that wait, serve and ask others, and interrupts at every point."""
    random = trial.random
    hypervisor = random.random() < 0.5
    intids = {"b": [40, 41], "c": [42]}
    system = trial.boot(
        sps=[
            sp(name, device_regions=tuple(device(n, level=n == _LEVEL) for n in own))
            for name, own in intids.items()
        ],
        vms=["a"],
        hypervisor=hypervisor,
    )
    a, *sides = (trial.side(system, name) for name in "abc")
    sps = dict(zip(sides, intids.values(), strict=True))
    for side, own in sps.items():
        for intid in own:
            side.call(hafnium.HF_INTERRUPT_ENABLE, intid, 1, 0)
        side.wait()
    play = _Play(trial, system, a, sps)
    a.ffa.ready()
    often = random.choice((0.3, 0.7))
    for _ in range(_STEPS):
        if trial.chance(often):
            play.raise_one()
        play.act()
    for _ in range(_DRAIN):
        play.act(drain=True)
    right(not play.wanted, f"nobody has got the interrupts {sorted(play.wanted)}")


def on_two_pes(trial: Trial) -> None:
    """A UP SP that was interrupted on one PE is not run on another."""
    random = trial.random
    system = trial.boot(
        sps=[sp("h", device_regions=(device(40),)), "u"],
        vms=[vm("a", vcpus=2)],
        hypervisor=False,
        pes=2,
    )
    a, h, u = (trial.side(system, name) for name in "ahu")
    h.call(hafnium.HF_INTERRUPT_ENABLE, 40, 1, 0)
    h.wait()
    u.wait()
    entry = a.handle.endpoint.partition.entry
    a.ffa.call(psci.CPU_ON_64, system.system.machine.pes[1].mpidr, entry, 0)
    target = random.choice((u, u, h))
    let_go(lambda: a.ffa.call(fid.FFA_RUN, target.id << 16))
    for _ in range(random.randrange(1, 5)):
        if trial.chance(0.6):
            system.interrupt(40)
        for side in (u, h):
            ctx = side.handle.endpoint.partition.contexts[0]
            if ctx.runner.in_control and trial.chance(0.7):
                let_go(partial(side.ffa.call, fid.FFA_ID_GET))
        other = random.choice((u, h))
        let_go(partial(a.handle.vcpu(1).call, fid.FFA_RUN, other.id << 16))
