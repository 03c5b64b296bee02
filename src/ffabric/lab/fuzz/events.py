"""What may happen to a system from outside, between any two exits.

An event is a function of the stage alone; it answers whether it could happen. Those of ``HOSTILE``
endpoints do not touch the others: nobody kills who behaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.lab.fuzz.calls.registers import LAST
from ffabric.lab.fuzz.stage import SGI
from ffabric.machine import exits
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor
    from ffabric.lab.fuzz.stage import Stage

Event = Callable[["Stage"], bool]

EDGE, LEVEL = 40, 41
"""Secure interrupts of SPs' devices."""
NON_SECURE = 50
"""An interrupt of a VM's device."""
_SECURE_EDGE, _SECURE_LEVEL, _NS_EDGE = 0x100, 0x101, 0x0
NANOSECONDS = 1_000_000
"""How long ``time`` lets pass."""


def device(name: str, base: int, intid: int, kind: int = _SECURE_EDGE) -> DeviceRegion:
    """A device with one interrupt."""
    return DeviceRegion(
        name=name,
        base_address=base,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(intid, kind),),
    )


EDGE_DEVICE = device("edge", 0x1C09_0000, EDGE)
LEVEL_DEVICE = device("level", 0x1C0A_0000, LEVEL, _SECURE_LEVEL)
NS_DEVICE = device("non-secure", 0x1C0D_0000, NON_SECURE, _NS_EDGE)


def _create(pe: int | None) -> Event:
    def create(stage: Stage) -> bool:
        return stage.has(pe) and bool(stage.create(pe))

    return create


def _destroy(at: int, pe: int | None) -> Event:
    def destroy(stage: Stage) -> bool:
        names = stage.mortal
        if not -len(names) <= at < len(names) or not stage.has(pe):
            return False
        stage.destroy(names[at], pe)
        return True

    return destroy


def _leave(pe: int, exit_: int) -> Event:
    """Whoever has the PE makes an exit that is no call."""

    def leave(stage: Stage) -> bool:
        actor = stage.on(pe)
        if actor is None or not (stage.is_hostile(actor) or exit_ == exits.SLICE):
            return False
        if exit_ in (exits.CRASH, exits.ABORT) and not stage.may_die(actor):
            return False
        actor.leave(exit_)
        return True

    return leave


def _crash(at: int) -> Event:
    """An SP crashes, if it runs."""

    def crash(stage: Stage) -> bool:
        actors = [a for a in stage.actors if a.secure and stage.is_hostile(a)]
        names = [*dict.fromkeys(a.endpoint.name for a in actors)]
        if at >= len(names):
            return False
        for actor in actors:
            if actor.endpoint.name == names[at] and actor.runner.in_control:
                actor.leave(exits.CRASH)
                return True
        return False

    return crash


def _turn(at: int) -> Event:
    """The scheduler of the normal world gives the PE to a VM; an SP that runs is preempted."""

    def turn(stage: Stage) -> bool:
        vms = [a for a in stage.actors if not a.secure and not a.runner.in_control]
        return at < len(vms) and vms[at].ready()

    return turn


def _pend(intid: int, pe: int | None = None) -> Event:
    def pend(stage: Stage) -> bool:
        if not stage.has(pe):
            return False
        gic = stage.machine.gic
        gic.set_pending(intid, pe)
        stage.deliver()
        if intid == SGI and pe is not None and stage.system.firmware.hypervisor is None:
            gic.acknowledge(pe, SGI)  # the kernel takes it at once
            gic.deactivate(pe, SGI)
        return True

    return pend


def _line(*, high: bool) -> Event:
    def line(stage: Stage) -> bool:
        stage.machine.gic.set_level(LEVEL, high=high)
        stage.deliver()
        return True

    return line


def _time(stage: Stage) -> bool:
    stage.machine.clock.advance(NANOSECONDS)
    stage.deliver()
    return True


def _wake(stage: Stage) -> bool:
    """A WFI ends without an interrupt, which it may at any time."""
    woken = [pe for pe in stage.machine.pes if pe.idle]
    for pe in woken:
        stage.system.firmware.wake(pe)
    return bool(woken)


def _off(stage: Stage) -> bool:
    """A secondary vCPU turns itself off; without a hypervisor, its PE."""
    for actor in stage.actors:
        other = actor.ctx.index and not actor.secure
        if other and stage.is_hostile(actor) and actor.runner.in_control:
            actor.call([psci.CPU_OFF])
            return True
    return False


def _on(stage: Stage) -> bool:
    """The first vCPU of a VM turns another one on; without a hypervisor, a PE."""
    actor = stage.on(0)
    if actor is None or actor.secure or not stage.is_hostile(actor):
        return False
    actor.call([psci.CPU_ON_64, stage.machine.pes[-1].mpidr, actor.entry])
    return True


def _call(pe: int, registers: Callable[[Actor], list[int]]) -> Event:
    """Whoever has the PE makes a call that nothing has led up to."""

    def call(stage: Stage) -> bool:
        actor = stage.on(pe)
        if actor is None or not stage.is_hostile(actor):
            return False
        call = registers(actor)
        if call[0] in LAST and not stage.may_die(actor):
            return False
        actor.call(call)
        return True

    return call


EVENTS: dict[str, Event] = {
    "create": _create(None),
    "create-on-0": _create(0),
    "create-on-1": _create(1),
    "destroy-first": _destroy(0, None),
    "destroy-second": _destroy(1, None),
    "destroy-last": _destroy(-1, None),
    "destroy-first-on-0": _destroy(0, 0),
    "destroy-first-on-1": _destroy(0, 1),
    "destroy-second-on-0": _destroy(1, 0),
    "destroy-second-on-1": _destroy(1, 1),
    "crash-0": _leave(0, exits.CRASH),
    "crash-1": _leave(1, exits.CRASH),
    "crash-first-sp": _crash(0),
    "crash-second-sp": _crash(1),
    "crash-third-sp": _crash(2),
    "slice-0": _leave(0, exits.SLICE),
    "slice-1": _leave(1, exits.SLICE),
    "wfi-0": _leave(0, exits.IDLE),
    "wfi-1": _leave(1, exits.IDLE),
    "wake": _wake,
    "abort-0": _leave(0, exits.ABORT),
    "abort-1": _leave(1, exits.ABORT),
    "turn-first": _turn(0),
    "turn-second": _turn(1),
    "turn-third": _turn(2),
    "sgi-0": _pend(SGI, 0),
    "sgi-1": _pend(SGI, 1),
    "edge": _pend(EDGE),
    "level-high": _line(high=True),
    "level-low": _line(high=False),
    "non-secure": _pend(NON_SECURE),
    "time": _time,
    "off": _off,
    "on": _on,
    "wait-0": _call(0, lambda actor: [fid.FFA_MSG_WAIT]),
    "wait-1": _call(1, lambda actor: [fid.FFA_MSG_WAIT]),
    "yield-0": _call(0, lambda actor: [fid.FFA_YIELD]),
    "yield-1": _call(1, lambda actor: [fid.FFA_YIELD]),
    "give-up-0": _call(0, lambda actor: [fid.FFA_ERROR, 0, 0xFFFF_FFF8]),
    "unmap-0": _call(0, lambda actor: [fid.FFA_RXTX_UNMAP]),
    "unmap-1": _call(1, lambda actor: [fid.FFA_RXTX_UNMAP]),
}
"""All events by name."""

MOVING = frozenset(
    {"create", "create-on-0", "create-on-1", "turn-first", "turn-second", "turn-third"}
)
"""Events that may have changed something even if they could not happen."""

DEADLY = frozenset(
    {"crash-0", "crash-1", "crash-first-sp", "crash-second-sp", "crash-third-sp", "give-up-0"}
)
"""Events with which an SP may end for good."""
