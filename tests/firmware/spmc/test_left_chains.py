"""Chains of calls that whoever began them has left: it waits meanwhile, is dead, or begins anew."""

import pytest
from chain_sides import RESP, Link, boot
from interrupt_sides import BLOCKED, PREEMPTED, RUNNING, WAITING, Server, device

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_3
from ffabric.firmware.state.context import State
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import AbortAction

INTID = 40


def start_second(session, name):
    """Let the second vCPU of a VM or kernel begin, on PE 1."""
    pe, entry = session.system.machine.pes[1], session.system.endpoint(name).spec.entry
    session.vm(name).ffa.call(psci.CPU_ON_64, pe.mpidr, entry, 0)
    session.run()


def preempt(session, *chain):
    """The normal world gets interrupts: these lose their PE, one after the other."""
    for link in chain:
        session.system.machine.gic.set_pending(session.system.firmware.spmc.sri, link.vcpu)
        session.run()
        assert link.state is PREEMPTED


class Left:
    """On PE 0 an SP with a device asks `b`, which asks `c`: the device takes it out of its wait.

    `m` has the device and a context on each of two PEs, as `c` has; `b` and `d` have one for both.
    """

    def __init__(self, ffabric):
        sps = [
            sp("m", vcpus=2, device_regions=(device(INTID),)),
            *["b", sp("c", vcpus=2), "d"],
        ]
        self.session = boot(ffabric, sps, [vm("v", vcpus=2)], pes=2)
        start_second(self.session, "v")
        self.gic = self.session.system.machine.gic
        self.v, self.v1 = (Link(self.session, "v", vcpu) for vcpu in (0, 1))
        self.m = Server(self.session, "m")
        self.m1, self.c1 = (Link(self.session, name, 1) for name in "mc")
        self.b, self.c, self.d = (Link(self.session, name) for name in "bcd")
        self.m.intid = INTID
        self.v.leave(fid.FFA_RUN, self.m.word)
        self.m.call(hafnium.HF_INTERRUPT_ENABLE, INTID, 1, 0)
        self.m.wait()

    def take_out(self):
        """`m`, which runs, asks; its device takes it out, and it handles that."""
        self.m.ask(self.b)
        self.b.ask(self.c)
        self.gic.set_pending(INTID)
        self.c.leave(fid.FFA_ID_GET)
        assert self.m.is_told
        assert self.m.get() == INTID
        assert self.states() == [RUNNING, BLOCKED, PREEMPTED]

    def states(self):
        """The states of the three."""
        return [each.state for each in (self.m, self.b, self.c)]

    def kill(self):
        """The other context of `m` fails, on PE 1: both are dead."""
        if self.m1.state is WAITING:
            self.v1.leave(fid.FFA_RUN, self.m1.word)
        self.m1.leave(fid.FFA_ERROR, 0, 1)
        assert self.m.state is State.ABORTED

    def end(self):
        """`c` has gone on where it stopped; it answers, and so does `b`."""
        assert self.c.has_control
        self.c.answer(self.b, 1)
        self.b.leave(RESP, self.b.id << 16 | self.m.id)
        assert (self.b.state, self.c.state) == (WAITING, WAITING)


@pytest.fixture
def left(ffabric):
    return Left(ffabric)


def test_who_waits_goes_back_when_it_has_cycles_again(ffabric, left):
    left.v.leave(fid.FFA_RUN, left.m.word)
    left.take_out()
    left.m.wait()
    with ffabric.refuses("run.target_state"):
        left.v.must(fid.FFA_RUN, left.b.word)
    with ffabric.refuses("run.not_the_caller"):
        left.v.must(fid.FFA_RUN, left.c.word)
    left.v.leave(fid.FFA_RUN, left.m.word)
    left.m.leave(fid.FFA_RUN, left.b.word)
    left.end()
    assert left.m.x[0] == RESP


def test_who_asks_another_one_meanwhile_goes_back_afterwards(left):
    left.v.leave(fid.FFA_RUN, left.m.word)
    left.take_out()
    left.m.ask(left.d)
    left.d.answer(left.m)
    left.m.leave(fid.FFA_RUN, left.b.word)
    left.end()
    assert left.m.x[0] == RESP


def test_a_chain_is_gone_back_to_on_its_pe(ffabric):
    sps = [sp("u", device_regions=(device(INTID),)), "b", sp("c", vcpus=2)]
    session = boot(ffabric, sps, [vm("v", vcpus=2)], pes=2)
    start_second(session, "v")
    v, v1 = (Link(session, "v", vcpu) for vcpu in (0, 1))
    u, b, c = Server(session, "u"), Link(session, "b"), Link(session, "c")
    v.leave(fid.FFA_RUN, u.word)
    u.call(hafnium.HF_INTERRUPT_ENABLE, INTID, 1, 0)
    u.ask(b)
    b.ask(c)
    session.system.machine.gic.set_pending(INTID)
    c.leave(fid.FFA_ID_GET)
    u.get()
    u.wait()
    v1.leave(fid.FFA_RUN, u.word)
    with ffabric.refuses("run.call_chain"):
        u.must(fid.FFA_RUN, b.word)
    u.wait()
    v.leave(fid.FFA_RUN, u.word)
    u.leave(fid.FFA_RUN, b.word)
    assert c.has_control


def test_the_scheduler_goes_on_with_what_a_dead_sp_began_and_left(ffabric, left):
    left.v.leave(fid.FFA_RUN, left.m.word)
    left.take_out()
    left.m.wait()
    left.kill()
    left.v.ask(left.d)
    with ffabric.refuses("run.target_state"):
        left.d.must(fid.FFA_RUN, left.b.word)
    left.d.answer(left.v)
    with ffabric.refuses("run.call_chain"):
        left.v1.must(fid.FFA_RUN, left.b.word)
    with ffabric.refuses("run.not_the_caller"):
        left.v.must(fid.FFA_RUN, left.c.word)
    left.v.leave(fid.FFA_RUN, left.b.word)
    left.end()
    assert left.v.x[0:8] == [fid.FFA_MSG_WAIT] + [0] * 7


def test_whoever_asked_the_dead_goes_on_with_what_that_one_began(ffabric, left):
    left.v.ask(left.d)
    left.d.ask(left.m)
    left.take_out()
    left.m.leave(fid.FFA_YIELD)
    left.kill()
    with ffabric.refuses("run.target_aborted"):
        left.d.must(fid.FFA_RUN, left.m.word)
    left.d.leave(fid.FFA_RUN, left.b.word)
    left.end()
    assert left.d.status is Status.ABORTED
    left.d.answer(left.v, 5)
    assert left.v.x[3] == 5


def test_a_chain_whose_end_died_too_comes_to_its_end(left):
    left.v.leave(fid.FFA_RUN, left.m.word)
    left.take_out()
    left.m.wait()
    left.kill()
    left.v1.ask(left.c1)
    left.c1.leave(fid.FFA_ERROR, 0, 1)
    assert left.c.state is State.ABORTED
    left.v.leave(fid.FFA_RUN, left.b.word)
    assert left.b.status is Status.ABORTED
    left.b.leave(RESP, left.b.id << 16 | left.m.id)
    assert left.v.x[0] == fid.FFA_MSG_WAIT


def test_who_yields_to_the_dead_has_what_it_was_taken_out_of_wait(ffabric):
    sps = [sp("m", device_regions=(device(INTID),), vcpus=2), "b", "c", sp("d", vcpus=2)]
    session = boot(ffabric, sps, [vm("v", vcpus=2)], pes=2)
    start_second(session, "v")
    v, v1, m, d1 = (Link(session, *each) for each in (("v",), ("v", 1), ("m",), ("d", 1)))
    b, c, d = (Link(session, name) for name in "bcd")
    v.leave(fid.FFA_RUN, m.word)
    m.call(hafnium.HF_INTERRUPT_ENABLE, INTID, 1, 0)
    m.wait()
    v.ask(d)
    d.ask(m)
    m.ask(b)
    b.ask(c)
    session.system.machine.gic.set_pending(INTID)
    c.leave(fid.FFA_ID_GET)
    m.call(hafnium.HF_INTERRUPT_GET)
    v1.ask(d1)
    d1.leave(fid.FFA_ERROR, 0, 1)
    m.leave(fid.FFA_YIELD)
    assert v.status is Status.ABORTED
    assert [each.state for each in (m, b, c)] == [BLOCKED, BLOCKED, PREEMPTED]
    v.leave(fid.FFA_RUN, m.word)
    m.leave(fid.FFA_RUN, b.word)
    c.answer(b)
    b.answer(m)
    m.leave(RESP, m.id << 16 | d.id)
    assert v.x[0] == fid.FFA_MSG_WAIT


# Who begins anew knows nothing of what it had asked.


def interrupted(ffabric, **options):
    """`r` has asked `q`, and an interrupt of the normal world has taken the PE from both."""
    sps = [sp("r", ffa_version=V1_3, lifecycle_support=True, **options), "q"]
    session = boot(ffabric, sps, ["v"])
    v, r, q = (Link(session, name) for name in "vrq")
    v.leave(fid.FFA_RUN, r.word)
    r.ask(q)
    preempt(session, q, r)
    assert v.has_control
    v.leave(fid.FFA_RUN, r.word)
    return v, r, q


def orphan_goes_on(v, r, q):
    """The normal world lets `q` go on, and has the PE when it answers."""
    v.leave(fid.FFA_RUN, q.word)
    q.leave(RESP, q.id << 16 | r.id)
    assert v.x[0:8] == [fid.FFA_MSG_WAIT] + [0] * 7


def test_an_sp_that_is_started_again(ffabric):
    v, r, q = interrupted(ffabric, abort_action=AbortAction.RESTART)
    r.leave(fid.FFA_ABORT_32)
    r.leave(fid.FFA_MSG_WAIT)
    v.leave(fid.FFA_RUN, r.word)
    with ffabric.refuses("run.not_the_caller"):
        r.must(fid.FFA_RUN, q.word)
    r.wait()
    orphan_goes_on(v, r, q)


def test_an_sp_that_is_dead(ffabric):
    v, r, q = interrupted(ffabric, abort_action=AbortAction.STOP)
    r.leave(fid.FFA_ABORT_32)
    orphan_goes_on(v, r, q)


def test_a_context_whose_pe_is_off_and_on_again(ffabric):
    sps = [sp("r", vcpus=2), sp("q", vcpus=2)]
    session = boot(ffabric, sps, [vm("k", vcpus=2)], hypervisor=False, pes=2)
    start_second(session, "k")
    k, r, q = (Link(session, name, 1) for name in "krq")
    k.leave(fid.FFA_RUN, r.word)
    r.ask(q)
    q.leave(fid.FFA_YIELD)
    r.wait()
    k.leave(psci.CPU_OFF)
    assert r.state is State.OFF
    start_second(session, "k")
    r.wait()
    k.leave(fid.FFA_RUN, r.word)
    with ffabric.refuses("run.not_the_caller"):
        r.must(fid.FFA_RUN, q.word)
    r.wait()
    orphan_goes_on(k, r, q)
