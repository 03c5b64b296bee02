"""Contexts whose cycles came from somebody who is dead, and those that others take up again."""

import pytest
from chain_sides import RESP, Link, boot, message

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.firmware.state.context import State
from ffabric.machine.machine import Stalled
from ffabric.system.description.python import vm

WAITING, PREEMPTED, BLOCKED = State.WAITING, State.PREEMPTED, State.BLOCKED


class Chain:
    """A VM asks `a`, which asks `b`; a non-secure interrupt has taken the PE from both."""

    def __init__(self, ffabric):
        self.session = boot(ffabric, ["a", "b"], ["v"])
        self.v, self.a, self.b = (Link(self.session, name) for name in "vab")
        self.v.ask(self.a)
        self.a.ask(self.b)
        self.interrupt(self.b)
        self.interrupt(self.a)
        assert self.v.has_control

    def interrupt(self, link):
        """The normal world gets an interrupt: `link` has lost its PE."""
        system = self.session.system
        system.machine.gic.set_pending(system.firmware.spmc.sri, 0)
        system.run()
        assert link.state is PREEMPTED

    def kill_asker(self):
        """The VM lets `a` go on, which fails."""
        self.v.leave(fid.FFA_RUN, self.a.word)
        self.a.leave(fid.FFA_ERROR, 0, 1)
        assert self.v.status is Status.ABORTED
        assert self.b.state is PREEMPTED


@pytest.fixture
def chain(ffabric):
    return Chain(ffabric)


def test_who_runs_an_orphan_learns_that_it_yields_and_that_it_waits(chain):
    v, a, b = chain.v, chain.a, chain.b
    chain.kill_asker()
    v.leave(fid.FFA_RUN, b.word)
    b.leave(fid.FFA_YIELD)
    assert v.x[0:2] == [fid.FFA_YIELD, b.word]
    v.leave(fid.FFA_RUN, b.word)
    b.leave(*message(b, a, (7,), RESP))
    assert v.x[0:8] == [fid.FFA_MSG_WAIT] + [0] * 7
    assert b.state is WAITING
    v.ask(b, 1)
    b.answer(v, 2)
    assert v.x[3] == 2


def test_who_asked_and_lives_gets_the_answer(chain):
    v, a, b = chain.v, chain.a, chain.b
    v.leave(fid.FFA_RUN, a.word)
    a.leave(fid.FFA_RUN, b.word)
    b.answer(a, 7)
    assert a.x[3] == 7
    a.answer(v, 8)
    assert v.x[3] == 8


def test_an_orphan_is_interrupted_for_whoever_runs_it(chain):
    v, b = chain.v, chain.b
    chain.kill_asker()
    v.leave(fid.FFA_RUN, b.word)
    chain.interrupt(b)
    assert v.x[0:2] == [fid.FFA_INTERRUPT, b.word]
    v.leave(fid.FFA_RUN, b.word)
    assert b.has_control


def test_the_scheduler_from_outside_gives_no_cycles_to_who_serves_another_sp(chain):
    with pytest.raises(Stalled):
        chain.session.system.dispatch(chain.b.ctx)
    chain.session.system.dispatch(chain.a.ctx)
    assert chain.a.has_control


def test_a_pe_that_is_off_runs_nothing(ffabric):
    session = boot(ffabric, ["a"], ["k"], hypervisor=False)
    kernel, a = Link(session, "k"), Link(session, "a")
    session.system.dispatch(a.ctx)
    a.wait()
    kernel.leave(psci.CPU_OFF)
    assert kernel.state is State.OFF
    with pytest.raises(Stalled):
        session.system.dispatch(a.ctx)


class Scheduled:
    """A VM `s` that schedules lets the VM `w` run; a third one, `o`, is on the same PE."""

    def __init__(self, ffabric):
        vms = [vm("s", has_primary_scheduler=True), "w", "o"]
        self.session = boot(ffabric, [], vms)
        self.s, self.w, self.o = (Link(self.session, name) for name in "swo")
        for link in (self.w, self.o):
            self.session.system.dispatch(link.ctx)
            link.leave(fid.FFA_MSG_WAIT)
        self.session.system.dispatch(self.s.ctx)
        self.s.leave(fid.FFA_RUN, self.w.word)
        assert self.w.has_control

    def destroy_lender(self):
        """The VM that lent the cycles is no more."""
        self.session.system.destroy_vm("s")
        self.session.run()
        assert self.s.state is State.ABORTED


def test_a_vm_that_waits_gives_the_cycles_back(ffabric):
    rig = Scheduled(ffabric)
    others = rig.s.x[8:]
    rig.w.leave(fid.FFA_MSG_WAIT)
    assert rig.s.has_control
    assert rig.s.x == [fid.FFA_MSG_WAIT, *[0] * 7, *others]


def test_a_vm_that_waits_does_not_bring_a_dead_lender_back(ffabric):
    rig = Scheduled(ffabric)
    rig.destroy_lender()
    assert rig.w.has_control
    rig.w.leave(fid.FFA_MSG_WAIT)
    assert (rig.s.state, rig.w.state) == (State.ABORTED, WAITING)
    rig.session.system.dispatch(rig.o.ctx)
    assert rig.o.has_control


def test_a_vm_that_had_yielded_to_a_dead_lender_goes_on_alone(ffabric):
    rig = Scheduled(ffabric)
    rig.w.leave(fid.FFA_YIELD)
    assert (rig.s.has_control, rig.w.state) == (True, BLOCKED)
    rig.destroy_lender()
    assert rig.w.has_control
    rig.w.leave(fid.FFA_MSG_WAIT)
    assert (rig.s.state, rig.w.state) == (State.ABORTED, WAITING)
