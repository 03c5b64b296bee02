"""SPs whose interrupts wait until the scheduler of the normal world runs them."""

import pytest
from interrupt_sides import EDGE, IRQ, LEVEL, WAITING, Rig

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.notifications import PendingList
from ffabric.machine.gic import State
from ffabric.system.manifest.manifest import SriPolicy

WHILE_WAITING = {"sri_interrupts_policy": SriPolicy.WHILE_WAITING}
ON_WAIT = {"sri_interrupts_policy": SriPolicy.PENDING_ON_WAIT}


def rig_with(ffabric, policy, **options):
    """A kernel, which is the scheduler, and SPs of which ``a`` has the policy."""
    return Rig(ffabric, hypervisor=False, a=policy, **options)


def sri(rig):
    """Whether the Schedule Receiver Interrupt is pending; it is not afterwards."""
    number = rig.system.firmware.spmc.sri
    pending = rig.gic.state(number, 0) is State.PENDING
    rig.gic.acknowledge(0, number)
    rig.gic.deactivate(0, number)
    return pending


def to_schedule(rig):
    return rig.v.ffa.notification_info_get().lists


def nothing_to_schedule(ffabric, rig):
    with ffabric.refuses("notification.info_get.nothing"):
        to_schedule(rig)
    return True


@pytest.mark.parametrize("kind", [EDGE, LEVEL])
def test_a_waiting_sp_is_run_by_the_scheduler(ffabric, kind):
    rig = rig_with(ffabric, WHILE_WAITING, kind=kind)
    v, a = rig.v, rig.a
    for _ in range(2):
        assert not sri(rig)
        rig.raise_(a)
        assert rig.step(v)
        assert a.state is WAITING
        assert sri(rig)
        assert to_schedule(rig) == (PendingList(a.id, (0,)),)
        assert nothing_to_schedule(ffabric, rig)
        v.leave(fid.FFA_RUN, a.word)
        assert a.x[0] == fid.FFA_RUN
        assert a.lines == IRQ
        assert a.get() == a.intid
        a.wait()
        assert v.x[0] == fid.FFA_MSG_WAIT


def test_the_scheduler_is_told_when_the_secure_world_is_left(ffabric):
    rig = rig_with(ffabric, WHILE_WAITING)
    rig.chain(rig.v, rig.b)
    rig.raise_(rig.a)
    assert rig.step(rig.b)
    assert not sri(rig)
    rig.b.answer(rig.v)
    assert sri(rig)
    assert to_schedule(rig) == (PendingList(rig.a.id, (0,)),)


def test_a_request_gives_the_cycles_too(ffabric):
    rig = rig_with(ffabric, WHILE_WAITING)
    v, a = rig.v, rig.a
    rig.raise_(a)
    rig.step(v)
    v.ask(a)
    assert a.lines == IRQ
    assert a.get() == a.intid
    a.answer(v)
    assert nothing_to_schedule(ffabric, rig)


def test_only_waiting_sps_wait_for_the_scheduler(ffabric):
    rig = rig_with(ffabric, WHILE_WAITING)
    v, a, b = rig.v, rig.a, rig.b
    rig.chain(v, a, b)
    rig.raise_(a)
    assert not rig.step(b)
    assert a.is_told


def test_other_sps_are_run_at_once(ffabric):
    rig = rig_with(ffabric, WHILE_WAITING)
    rig.raise_(rig.b)
    assert not rig.step(rig.v)
    assert rig.b.is_told


def test_an_sp_may_wait_with_interrupts_pending(ffabric):
    rig = rig_with(ffabric, ON_WAIT)
    v, a = rig.v, rig.a
    v.ask(a)
    rig.raise_(a)
    assert rig.step(a)
    a.answer(v)  # without the policy, it would have to handle its interrupt first
    assert a.state is WAITING
    assert sri(rig)
    assert to_schedule(rig) == (PendingList(a.id, (0,)),)
    v.leave(fid.FFA_RUN, a.word)
    a.wait()
    assert sri(rig)
    assert to_schedule(rig) == (PendingList(a.id, (0,)),)
    v.leave(fid.FFA_RUN, a.word)
    assert a.get() == a.intid
    a.wait()
    assert not sri(rig)
    assert nothing_to_schedule(ffabric, rig)


def test_an_sp_that_may_wait_so_is_still_woken(ffabric):
    rig = rig_with(ffabric, ON_WAIT)
    rig.raise_(rig.a)
    assert not rig.step(rig.v)
    assert rig.a.is_told
