"""A kernel that turns its PEs off, or crashes, while SPs have others."""

import pytest
from chain_sides import Link, boot

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.framework import PowerMessages
from ffabric.firmware.state.context import State
from ffabric.machine import exits
from ffabric.machine.gic import GROUP1NS
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm


class Kernel:
    """A kernel ``k`` on two PEs, and the UP SPs ``u`` and ``t``."""

    def __init__(self, ffabric):
        self.session = boot(ffabric, ["u", "t"], [vm("k", vcpus=2)], hypervisor=False, pes=2)
        self.machine = self.session.system.machine
        self.k = [Link(self.session, "k", n) for n in range(2)]
        self.u, self.t = Link(self.session, "u"), Link(self.session, "t")
        self.turn_on()

    def turn_on(self):
        self.k[0].call(psci.CPU_ON_64, self.machine.pes[1].mpidr, 0x8000_0000, 0)
        self.session.run()

    def crash(self, vcpu):
        """The kernel does what ends it."""
        ctx = self.k[vcpu].ctx
        ctx.crash = "killed"
        assert not ctx.runner.call(exits.CRASH)
        self.session.run()

    @property
    def on(self):
        return [pe.on for pe in self.machine.pes]

    @property
    def states(self):
        return [each.state for each in self.k]


INTID = 40
DEAD = [State.ABORTED, State.ABORTED]


@pytest.fixture
def kernel(ffabric):
    return Kernel(ffabric)


@pytest.mark.parametrize("vcpu", [0, 1])
def test_a_kernel_that_crashes_is_gone_on_all_pes(kernel, vcpu):
    kernel.crash(vcpu)
    assert kernel.on == [False, False]
    assert kernel.states == DEAD
    assert not any(each.has_control for each in kernel.k)
    assert not kernel.k[0].partition.alive


def test_a_pe_that_an_sp_has_ends_when_it_gives_it_back(kernel):
    kernel.k[0].ask(kernel.u)
    kernel.crash(1)
    assert kernel.on == [True, False]
    with pytest.raises(Blocked):
        kernel.u.ffa.call(fid.FFA_MSG_SEND_DIRECT_RESP_64, kernel.u.id << 16 | kernel.k[0].id)
    assert kernel.on == [False, False]
    assert kernel.states == DEAD
    assert kernel.u.state is State.WAITING


def test_an_sp_that_is_preempted_is_not_followed_by_a_dead_kernel(kernel):
    kernel.k[0].leave(fid.FFA_RUN, kernel.u.word)
    kernel.crash(1)
    kernel.session.system.firmware.dispatch(kernel.t.ctx)
    assert kernel.on == [False, False]
    assert kernel.states == DEAD
    assert not kernel.t.has_control
    assert kernel.u.state is State.PREEMPTED


def test_an_interrupt_that_is_for_a_dead_kernel_ends_its_pe(kernel):
    kernel.k[0].leave(fid.FFA_RUN, kernel.u.word)
    kernel.crash(1)
    gic, sri = kernel.machine.gic, kernel.session.system.firmware.spmc.sri
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.configure(sri, pe=0, enabled=True)
    gic.set_pending(sri, 0)
    kernel.session.run()
    assert kernel.on == [False, False]
    assert kernel.u.state is State.PREEMPTED


@pytest.mark.parametrize("vcpu", [0, 1])
def test_a_pe_that_is_turned_off_can_be_turned_on_again(kernel, vcpu):
    other = kernel.k[1 - vcpu]
    kernel.k[vcpu].leave(psci.CPU_OFF)
    assert kernel.on == [vcpu == 1, vcpu == 0]
    assert kernel.states[1 - vcpu] is State.RUNNING
    other.call(psci.CPU_ON_64, kernel.machine.pes[vcpu].mpidr, 0x8000_0000, 0)
    kernel.session.run()
    assert kernel.on == [True, True]
    assert kernel.k[vcpu].has_control


def test_an_sp_that_may_run_anywhere_leaves_a_pe_that_is_off(kernel):
    kernel.k[0].leave(fid.FFA_RUN, kernel.u.word)
    kernel.u.wait()
    kernel.k[0].leave(psci.CPU_OFF)
    assert kernel.u.ffa.id_get() == kernel.u.id
    assert kernel.u.ctx.pe is kernel.machine.pes[1]


def test_an_sp_stays_where_it_was_while_that_pe_is_on(kernel):
    kernel.k[1].leave(fid.FFA_RUN, kernel.u.word)
    kernel.u.wait()
    assert kernel.u.ffa.id_get() == kernel.u.id
    assert kernel.u.ctx.pe is kernel.machine.pes[1]


POWER_RESPONSE = 0x8000_0002
"""Flags of a framework message: an SP has heard that a PE is on."""


@pytest.mark.parametrize("dies", [False, True])
def test_a_pe_does_not_start_for_a_kernel_that_died_while_an_sp_was_told(ffabric, dies):
    told = sp("s", vcpus=2, power_management_messages=int(PowerMessages.CPU_ON))
    session = boot(ffabric, [told], [vm("k", vcpus=2)], hypervisor=False, pes=2)
    machine = session.system.machine
    first, second, s = Link(session, "k", 0), Link(session, "k", 1), Link(session, "s", 1)
    first.call(psci.CPU_ON_64, machine.pes[1].mpidr, 0x8000_0000, 0)
    session.run()
    s.ctx.runner.wait()
    assert s.x[0] == fid.FFA_MSG_SEND_DIRECT_REQ_32
    if dies:
        first.ctx.crash = "killed"
        assert not first.ctx.runner.call(exits.CRASH)
    ids = s.x[1] >> 16 | (s.x[1] & 0xFFFF) << 16
    s.leave(fid.FFA_MSG_SEND_DIRECT_RESP_32, ids, POWER_RESPONSE, 0)
    assert machine.pes[1].on is not dies
    assert second.state is (State.ABORTED if dies else State.RUNNING)


def test_a_suspended_pe_that_is_given_to_an_sp_is_awake(kernel):
    """Whoever schedules has been woken: the next interrupt preempts the SP, as always."""
    kernel.k[0].leave(psci.CPU_SUSPEND_64, 0)
    assert kernel.u.ffa.id_get() == kernel.u.id
    gic = kernel.machine.gic
    gic.configure(INTID, group=GROUP1NS, enabled=True, target=0)
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.set_pending(INTID)
    kernel.session.run()
    assert kernel.u.state is State.PREEMPTED
    assert kernel.k[0].has_control
    assert kernel.k[0].x[0] == 0
