"""Scenarios: short plays of four hostile endpoints on two PEs, into which anything may burst.

A scenario is a generator of cues. After each it is sent the registers that the actor has, if they
tell something; zeros if they do not, or the actor could not make the call. It has as many cues
whatever happens: what was disturbed goes wrong, and that is well. A cue may also be the name of an
event (``events.py``).

The VMs ``a`` and ``b`` have a vCPU on each PE, as the SP ``q`` has. The SPs ``p`` and ``r`` have
one, which goes where it is wanted; ``p`` and ``q`` hear of VMs that come and go, and have a device
each. Without a hypervisor the kernel plays both VMs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

import msgspec

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import PAGE, pack_ids
from ffabric.lab.fuzz.events import EDGE, EDGE_DEVICE, LEVEL, LEVEL_DEVICE
from ffabric.lab.fuzz.injection import cues
from ffabric.lab.fuzz.injection.cues import Cue, Sent
from ffabric.system.description.fields import Described
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.spec import SystemSpec

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor
    from ffabric.lab.fuzz.stage import Stage

Script = Generator[Cue | str, list[int], None]
Gift = Generator[Cue | str, list[int], Sent]
CLEAR, CLEAR_AFTER = mem.FLAG_CLEAR, mem.FLAG_CLEAR_RELINQUISH
MEMORY = 320 * PAGE
"""Of a VM."""
SINGLE = [*range(40, 302, 2), *range(41, 303, 2)]
"""Pages of which no two adjoin: their description fits neither TX nor RX."""
FIRST = 200
"""How many of them are in the first fragment."""


def _system(*vms: Described, hypervisor: bool = True) -> SystemSpec:
    return describe(
        sps=[
            sp("p", vm_availability_messages=3, device_regions=(EDGE_DEVICE,)),
            sp("q", vcpus=2, vm_availability_messages=3, device_regions=(LEVEL_DEVICE,)),
            "r",
        ],
        vms=vms,
        pes=2,
        hypervisor=hypervisor,
        stop_on_crash=False,
    )


HYPERVISOR = _system(vm("a", vcpus=2, mem_size=MEMORY), vm("b", vcpus=2, mem_size=MEMORY))
KERNEL = _system(vm("k", vcpus=2), hypervisor=False)


class Company:
    """The actors of a scenario by their roles: endpoint, and number of the vCPU."""

    def __init__(self, stage: Stage) -> None:
        by_name = {actor.name: actor for actor in stage.actors}
        kernel = "k.0" in by_name
        self.a0, self.a1 = (by_name[f"{'k' if kernel else 'a'}.{n}"] for n in (0, 1))
        self.b0, self.b1 = (by_name[f"{'k' if kernel else 'b'}.{n}"] for n in (0, 1))
        self.p, self.r = by_name["p.0"], by_name["r.0"]
        self.q0, self.q1 = by_name["q.0"], by_name["q.1"]
        self.other = self.r if kernel else self.b0
        """Who borrows beside ``p``: the other VM, where there is one."""
        self.another = self.r if kernel else self.b1
        """Who borrows beside ``p`` on the other PE."""
        self.third = self.q0 if kernel else self.a0
        """Who borrows from ``b``."""


def gives(
    kind: str,
    owner: Actor,
    to: list[Actor],
    pages: Sequence[int] = cues.SCATTERED,
    *,
    flags: int = 0,
    first: int | None = None,
) -> Gift:
    """``owner`` gives pages away; ``first``: in fragments, the first of so many pages."""
    x = yield cues.send(kind, owner, to, pages, flags=flags, first=first)
    return Sent(kind, owner, to, cues.handle_of(x))


def completes(owner: Actor, sent: Sent, pages: Sequence[int]) -> Gift:
    """``owner`` sends the last fragment: the transaction is complete."""
    x = yield cues.fragment(owner, sent, pages)
    return sent._replace(handle=cues.handle_of(x))


def prologue(c: Company) -> Script:
    """SPs have heard of the VMs, vCPUs run, endpoints have buffers, devices may interrupt."""
    for _ in range(2):
        for actor in (c.p, c.q0, c.q1):
            yield cues.answer(actor)
    for first, second in dict.fromkeys([(c.a0, c.a1), (c.b0, c.b1)]):
        yield cues.turn_on(first, second)
    for actor in dict.fromkeys([c.a0, c.b0, c.p, c.q0, c.r]):
        yield cues.map_buffers(actor)
        if actor.secure:
            yield cues.plain(actor, hafnium.HF_INTERRUPT_ENABLE, EDGE, 1, 0)
            yield cues.plain(actor, hafnium.HF_INTERRUPT_ENABLE, LEVEL, 1, 0)
            yield cues.wait(actor)


def chain(c: Company) -> Script:
    """Requests on both PEs, one through two SPs, with a yield in the middle."""
    yield cues.ask(c.a0, c.p, 1)
    yield cues.ask(c.p, c.r, 2)
    yield cues.yield_(c.r)
    yield cues.ask(c.b1, c.q1, 3)
    yield cues.run(c.p, c.r)
    yield cues.answer(c.r)
    yield cues.answer(c.q1)
    yield cues.yield_(c.p)
    yield cues.run(c.a0, c.p)
    yield cues.answer(c.p)
    yield cues.ask(c.b0, c.r, 4)
    yield cues.ask(c.a1, c.q1, 5)
    yield cues.yield_(c.q1)
    yield cues.answer(c.r)
    yield cues.run(c.a1, c.q1)
    yield cues.answer(c.q1)


def share(c: Company) -> Script:
    """A scattered buffer, shared with an SP and a VM, which both have it."""
    sent = yield from gives("share", c.a0, [c.p, c.other])
    yield cues.retrieve(c.p, sent)
    yield cues.release(c.p)
    yield cues.wait(c.p)
    yield cues.retrieve(c.another, sent)
    yield cues.release(c.another)
    yield cues.ask(c.a0, c.p, 1)
    yield cues.relinquish(c.another, sent)
    yield cues.reclaim(c.a1, sent)
    yield cues.relinquish(c.p, sent)
    yield cues.answer(c.p)
    yield cues.reclaim(c.a0, sent)
    sent = yield from gives("share", c.b0, [c.p, c.third, c.r], (2, 9, 4))
    yield cues.retrieve(c.third, sent)
    yield cues.wait(c.third)
    yield cues.retrieve(c.r, sent)
    yield cues.wait(c.r)


def lend(c: Company) -> Script:
    """Memory lent to SPs, cleared on the way there and back."""
    sent = yield from gives("lend", c.a0, [c.p], flags=CLEAR)
    yield cues.retrieve(c.p, sent, CLEAR_AFTER)
    yield cues.release(c.p)
    inner = yield from gives("lend", c.p, [c.r, c.q0], (5, 7))
    yield cues.wait(c.p)
    yield cues.retrieve(c.q0, inner)
    yield cues.ask(c.q0, c.r, 6)
    yield cues.retrieve(c.r, inner)
    yield cues.relinquish(c.r, inner, CLEAR)
    yield cues.answer(c.r)
    yield cues.relinquish(c.q0, inner)
    yield cues.wait(c.q0)
    yield cues.reclaim(c.p, inner)
    yield cues.relinquish(c.p, sent)
    yield cues.reclaim(c.a0, sent, CLEAR)


def donate(c: Company) -> Script:
    """Pages that go from hand to hand, and pages that nobody takes."""
    sent = yield from gives("donate", c.a0, [c.other])
    yield cues.retrieve(c.another, sent)
    yield cues.release(c.other)
    sent = yield from gives("donate", c.b0, [c.p], (8, 10))
    yield cues.retrieve(c.p, sent)
    yield cues.release(c.p)
    sent = yield from gives("donate", c.p, [c.r], (1, 3))
    yield cues.wait(c.p)
    yield cues.retrieve(c.r, sent)
    yield cues.release(c.r)
    sent = yield from gives("donate", c.a1, [c.p], (20,))
    yield cues.reclaim(c.a0, sent)
    yield from gives("donate", c.a0, [c.q0], (21, 23))
    yield cues.wait(c.r)


def pieces(c: Company) -> Script:
    """Descriptors in fragments, two of them at a time, some of them never finished."""
    one = yield from gives("lend", c.a0, [c.p], first=1)
    two = yield from gives("share", c.b1, [c.p, c.r], (11, 13, 15), first=1)
    yield cues.fragment(c.a1, one, [1])
    yield cues.fragment(c.b0, two, [13, 15])
    one = yield from completes(c.a0, one, [6])
    yield cues.retrieve(c.p, one)
    yield cues.release(c.p)
    yield cues.wait(c.p)
    left = yield from gives("donate", c.a0, [c.other], (30, 32), first=1)
    yield from gives("lend", c.b0, [c.q0], (33, 35), first=1)
    yield cues.relinquish(c.p, one)
    yield cues.fragment(c.p, left, [32])
    yield cues.reclaim(c.a0, one)
    yield cues.fragment(c.a0, left, [32])


def scattered(c: Company) -> Script:
    """A buffer of single pages: its description is in fragments there, and in fragments back."""
    sent = yield from gives("share", c.a0, [c.p, c.other], SINGLE, first=FIRST)
    sent = yield from completes(c.a1, sent, SINGLE[FIRST:])
    yield cues.retrieve(c.p, sent)
    yield cues.release(c.p)
    yield cues.retrieve(c.another, sent)
    yield cues.read_on(c.p, sent, PAGE)
    yield cues.wait(c.p)
    yield cues.release(c.another)
    yield cues.read_on(c.another, sent, PAGE)
    yield cues.relinquish(c.p, sent)
    yield cues.relinquish(c.another, sent)
    yield cues.reclaim(c.a0, sent)


def notify(c: Company) -> Script:
    """Notifications in all directions, and the interrupts that tell of them."""
    yield cues.bind(c.a0, c.p, 1)
    yield cues.bind(c.a1, c.b0, 2)
    yield cues.bind(c.p, c.a0, 4)
    yield cues.bind(c.q0, c.b0, 8)
    yield cues.notify(c.p, c.a0, 1)
    yield cues.notify(c.b1, c.a0, 2)
    yield cues.notify(c.a1, c.p, 4)
    yield cues.wait(c.p)
    yield cues.notify(c.b0, c.q0, 8)
    yield cues.get(c.p)
    yield cues.wait(c.p)
    yield cues.get(c.q0)
    yield cues.wait(c.q0)
    yield cues.get(c.a0)
    yield cues.plain(c.a0, fid.FFA_NOTIFICATION_UNBIND, pack_ids(c.p.id, c.a0.id), 0, 1)
    yield cues.notify(c.p, c.a0, 1)


def tell(c: Company) -> Script:
    """Indirect messages, and buffers that somebody else owns."""
    yield cues.message(c.a0, c.other)
    yield cues.message(c.p, c.other)
    yield cues.release(c.another)
    yield cues.message(c.a1, c.p)
    yield cues.message(c.b1, c.p)
    yield cues.release(c.p)
    yield cues.message(c.p, c.a0)
    yield cues.plain(c.a1, fid.FFA_PARTITION_INFO_GET)
    yield cues.message(c.b1, c.a0)
    yield cues.wait(c.p)
    yield cues.release(c.a0)
    yield cues.plain(c.b0, fid.FFA_RXTX_UNMAP)
    yield cues.message(c.r, c.b0)
    yield cues.map_buffers(c.b1)
    yield cues.message(c.r, c.b0)
    yield cues.wait(c.r)


def interrupt(c: Company) -> Script:
    """Secure interrupts for one SP while another runs, in a request and alone."""
    yield cues.ask(c.a0, c.r, 1)
    yield "edge"
    yield cues.plain(c.p, hafnium.HF_INTERRUPT_GET)
    yield cues.plain(c.p, hafnium.HF_INTERRUPT_DEACTIVATE, EDGE, EDGE)
    yield cues.wait(c.p)
    yield "level-high"
    yield cues.plain(c.q0, hafnium.HF_INTERRUPT_GET)
    yield "level-low"
    yield cues.plain(c.q0, hafnium.HF_INTERRUPT_DEACTIVATE, LEVEL, LEVEL)
    yield cues.wait(c.q0)
    yield "sgi-0"
    yield cues.run(c.a0, c.r)
    yield cues.answer(c.r)
    yield cues.run(c.a1, c.p)
    yield "edge"
    yield cues.run(c.b1, c.r)
    yield cues.plain(c.p, hafnium.HF_INTERRUPT_GET)
    yield cues.wait(c.p)
    yield cues.wait(c.r)


def cycles(c: Company) -> Script:
    """FFA_RUN, yields and pre-emption; an SP that goes from PE to PE."""
    yield cues.run(c.a0, c.r)
    yield "sgi-0"
    yield cues.run(c.b1, c.r)
    yield cues.yield_(c.r)
    yield cues.run(c.a0, c.r)
    yield cues.wait(c.r)
    yield cues.run(c.a0, c.q0)
    yield cues.run(c.b1, c.q1)
    yield cues.ask(c.q0, c.r, 1)
    yield "sgi-0"
    yield cues.run(c.q0, c.r)
    yield "time"
    yield cues.answer(c.r)
    yield cues.run(c.b0, c.q0)
    yield cues.wait(c.q1)
    yield cues.wait(c.q0)


def come(c: Company) -> Script:
    """VMs come and go while SPs are told, and ask each other about it."""
    yield "create"
    yield cues.ask(c.p, c.r, 1)
    yield cues.answer(c.r)
    yield cues.answer(c.p)
    yield cues.answer(c.q0)
    yield "create-on-1"
    yield cues.yield_(c.p)
    yield "time"
    yield cues.answer(c.p)
    yield cues.ask(c.b0, c.r, 2)
    yield cues.answer(c.q1)
    yield "destroy-last"
    yield cues.answer(c.r)
    yield cues.answer(c.p)
    yield cues.answer(c.q0)
    yield "time"


def leave(c: Company) -> Script:
    """A VM that has given much away goes, and borrowers keep what they have for a while."""
    shared = yield from gives("share", c.a0, [c.p, c.other])
    yield cues.retrieve(c.p, shared)
    yield cues.release(c.p)
    lent = yield from gives("lend", c.a1, [c.r], (12, 14))
    yield cues.wait(c.p)
    yield cues.retrieve(c.r, lent)
    yield cues.retrieve(c.another, shared)
    yield "destroy-first"
    yield cues.relinquish(c.another, shared)
    yield cues.answer(c.p)
    yield "time"
    yield cues.relinquish(c.r, lent)
    yield cues.wait(c.r)
    yield "create"
    yield cues.answer(c.p)
    yield cues.relinquish(c.p, shared)
    yield cues.wait(c.p)


class Scenario(msgspec.Struct, frozen=True):
    """A system, what is played there, and what may burst into it."""

    spec: SystemSpec
    script: Callable[[Company], Script]
    events: tuple[str, ...]


_ANYWHERE = (
    "crash-first-sp",
    "crash-second-sp",
    "crash-third-sp",
    "slice-0",
    "wfi-0",
    "wfi-1",
    "edge",
    "level-high",
    "sgi-0",
    "sgi-1",
    "time",
    "off",
    "on",
    "wait-0",
    "yield-0",
    "yield-1",
)
_VMS = (
    "create",
    "create-on-1",
    "destroy-first",
    "destroy-second",
    "destroy-first-on-1",
    "turn-first",
)
_SCRIPTS = (
    chain,
    share,
    lend,
    donate,
    pieces,
    scattered,
    notify,
    tell,
    interrupt,
    cycles,
    come,
    leave,
)
_OF_KERNELS = (chain, share, lend, pieces, interrupt, cycles)
SCENARIOS = {
    **{each.__name__: Scenario(HYPERVISOR, each, (*_VMS, *_ANYWHERE)) for each in _SCRIPTS},
    **{f"kernel-{each.__name__}": Scenario(KERNEL, each, _ANYWHERE) for each in _OF_KERNELS},
}
"""All scenarios by name."""
