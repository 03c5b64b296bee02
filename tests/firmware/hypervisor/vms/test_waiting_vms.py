"""A vCPU in FFA_MSG_WAIT, or waiting for an SP that it has called, has its interrupts."""

import pytest
from chain_sides import REQ, RESP, links, message

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import pack_ids
from ffabric.firmware.state.context import State
from ffabric.guests.partition import Partition
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt, NsInterruptsAction

SGI, INTID = 3, 40


def interrupt(link, intid=SGI, *, enabled=True):
    """An interrupt of the VM's own is pending in its virtual GIC."""
    gic = link.partition.gic
    gic.sysreg_write(link.vcpu, "ICC_PMR_EL1", 0xFF, secure=False)
    gic.sysreg_write(link.vcpu, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.configure(intid, link.vcpu, enabled=enabled, edge=True)
    gic.set_pending(intid, link.vcpu)


def acknowledge(link):
    """The interrupt that the vCPU takes, which is over then."""
    gic = link.partition.gic
    intid = gic.sysreg_read(link.vcpu, "ICC_IAR1_EL1", secure=False)
    gic.sysreg_write(link.vcpu, "ICC_EOIR1_EL1", intid, secure=False)
    return intid


class Listener(Partition):
    """A VM that waits with FFA_MSG_WAIT, and is notified meanwhile."""

    manifest = {"notification_support": True}  # noqa: RUF012

    def __init__(self, setter):
        super().__init__("listener")
        self.setter = setter
        self.heard, self.runs = [], 0

    async def on_boot(self, ffa):
        await ffa.notification_bind(self.setter, 0b10)
        await self.enable_notifications(ffa)

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        self.heard.append((from_sps, from_vms))

    async def on_run(self, ffa):
        self.runs += 1


@pytest.mark.parametrize("setter", ["s", "v"])
def test_a_waiting_vm_hears_of_a_notification(ffabric, setter):
    listener = Listener(setter)
    system = ffabric.boot(
        sps=[sp("s", notification_support=True)],
        vms=[vm("v", notification_support=True), listener],
    )
    system.run()
    runs = listener.runs
    v = system.vm("v").ffa
    if setter == "s":
        with pytest.raises(Blocked):  # the SRI takes the PE from it
            system.sp("s").ffa.notification_set("listener", 0b10)
    else:
        v.notification_set("listener", 0b10)
    with pytest.raises(Blocked):
        v.msg_wait()
    assert listener.heard == {"s": [(2, 0)], "v": [(0, 2)]}[setter]
    assert (runs, listener.runs) == (0, 1)


@pytest.fixture
def waiting(ffabric):
    """VMs v and w, of which w waits."""
    v, w = links(ffabric, [], ["v", "w"])
    w.ffa.ready()
    w.wait()
    v.ffa.ready()
    return v, w


def test_an_interrupt_ends_the_wait_as_ffa_run_does(waiting):
    _, w = waiting
    interrupt(w)
    assert w.state is State.RUNNING
    w.ffa.ready()
    assert w.x[:3] == [fid.FFA_RUN, pack_ids(w.id, 0), 0]
    assert acknowledge(w) == SGI
    w.wait()


def test_one_that_is_not_enabled_does_not(waiting):
    _, w = waiting
    interrupt(w, enabled=False)
    assert w.state is State.WAITING


def test_until_it_waits_again_it_is_busy(waiting):
    v, w = waiting
    interrupt(w)
    with pytest.raises(Exception, match="BUSY"):
        v.must(*message(v, w, (), REQ))
    w.ffa.ready()
    acknowledge(w)
    w.wait()
    v.ffa.ready()
    v.ask(w)
    w.answer(v)


def test_with_an_interrupt_pending_it_does_not_wait(waiting):
    _, w = waiting
    interrupt(w)
    w.ffa.ready()
    assert w.call(fid.FFA_MSG_WAIT)[:2] == (fid.FFA_RUN, pack_ids(w.id, 0))
    acknowledge(w)
    w.wait()


def test_after_its_response_it_has_the_interrupt_that_came_meanwhile(waiting):
    v, w = waiting
    v.ask(w)
    interrupt(w)
    w.answer(v)
    assert w.state is State.RUNNING
    v.leave(fid.FFA_MSG_WAIT)
    assert w.x[:2] == [fid.FFA_RUN, pack_ids(w.id, 0)]


def test_a_vm_that_is_destroyed_meanwhile_does_not_run(waiting):
    v, w = waiting
    interrupt(w)
    v.session.system.destroy_vm("w")
    v.session.run()
    assert w.state is State.ABORTED
    assert v.call(fid.FFA_ID_GET)[2] == v.id


def test_it_waits_though_the_spmc_fills_its_rx(ffabric):
    v, w, _ = links(ffabric, ["s"], ["v", vm("w", messaging_method=7)])
    w.ffa.map_buffers()
    assert w.id in v.session.system.hypervisor.shared_mailboxes
    w.wait()
    interrupt(w)
    w.ffa.ready()
    assert w.call(fid.FFA_MSG_WAIT)[0] == fid.FFA_RUN
    acknowledge(w)
    w.wait()
    v.ffa.ready()


# A vCPU that has called an SP.


def test_its_interrupt_stops_the_sp_that_it_has_called(ffabric):
    v, a = links(ffabric, ["a"], ["v"])
    v.ask(a)
    interrupt(v)
    with pytest.raises(Blocked):
        a.call(fid.FFA_ID_GET)
    assert v.x[:3] == [fid.FFA_INTERRUPT, a.word, 0]
    assert a.state is State.PREEMPTED
    assert acknowledge(v) == SGI
    v.leave(fid.FFA_RUN, a.word)
    assert a.has_control
    a.answer(v)


def test_so_does_one_that_came_with_the_answer_of_the_sp_it_calls_next(ffabric):
    v, a, b = links(ffabric, ["a", "b"], ["v"])
    v.ask(a)
    a.ask(b)
    interrupt(v)
    with pytest.raises(Blocked):
        b.call(fid.FFA_ID_GET)
    assert [a.state, b.state] == [State.PREEMPTED, State.PREEMPTED]
    assert v.x[:2] == [fid.FFA_INTERRUPT, a.word]


def test_one_that_is_not_enabled_stops_nobody(ffabric):
    v, a = links(ffabric, ["a"], ["v"])
    v.ask(a)
    interrupt(v, enabled=False)
    assert a.call(fid.FFA_ID_GET)[2] == a.id
    a.answer(v)


def test_a_vcpu_that_does_not_take_it_does_not_stop_the_sp_again(ffabric):
    v, a = links(ffabric, ["a"], ["v"])
    v.ask(a)
    interrupt(v)
    with pytest.raises(Blocked):
        a.call(fid.FFA_ID_GET)
    assert v.x[0] == fid.FFA_INTERRUPT
    v.leave(fid.FFA_RUN, a.word)
    for _ in range(3):
        a.call(fid.FFA_ID_GET)
    a.answer(v)
    v.ask(a)
    assert a.call(fid.FFA_ID_GET)[2] == a.id


def test_one_that_it_has_taken_stops_the_sp_when_it_comes_again(ffabric):
    v, a = links(ffabric, ["a"], ["v"])
    v.ask(a)
    for _ in range(3):
        interrupt(v)
        with pytest.raises(Blocked):
            a.call(fid.FFA_ID_GET)
        assert v.x[0] == fid.FFA_INTERRUPT
        assert acknowledge(v) == SGI
        v.leave(fid.FFA_RUN, a.word)
    a.answer(v)


def test_another_one_stops_the_sp_though_the_first_was_not_taken(ffabric):
    v, a = links(ffabric, ["a"], ["v"])
    v.ask(a)
    interrupt(v, SGI)
    with pytest.raises(Blocked):
        a.call(fid.FFA_ID_GET)
    v.leave(fid.FFA_RUN, a.word)
    v.partition.gic.configure(SGI - 1, v.vcpu, priority=0)
    interrupt(v, SGI - 1)
    with pytest.raises(Blocked):
        a.call(fid.FFA_ID_GET)
    assert v.x[0] == fid.FFA_INTERRUPT
    assert acknowledge(v) == SGI - 1


@pytest.fixture(params=["waits", "idles"])
def called(request, ffabric):
    """VM v has called SP a; VM w, of the same PE, is in FFA_MSG_WAIT or in WFI."""
    v, w, a = links(ffabric, ["a"], ["v", "w"])
    w.ffa.ready()
    if request.param == "waits":
        w.wait()
    else:
        with pytest.raises(Blocked):
            w.ffa.idle()
    v.ffa.ready()
    v.ask(a)
    return v, w, a


def test_that_of_another_vm_stops_the_sp_and_the_vm_has_its_turn(called):
    v, w, a = called
    interrupt(w)
    with pytest.raises(Blocked):
        a.call(fid.FFA_ID_GET)
    assert a.state is State.PREEMPTED
    assert w.has_control
    assert v.x[:2] == [fid.FFA_INTERRUPT, a.word]
    assert acknowledge(w) == SGI
    w.leave(fid.FFA_MSG_WAIT)
    assert v.has_control
    v.leave(fid.FFA_RUN, a.word)
    a.answer(v)


def test_one_that_another_vm_has_not_enabled_stops_nobody(called):
    v, w, a = called
    interrupt(w, enabled=False)
    assert a.call(fid.FFA_ID_GET)[2] == a.id
    a.answer(v)


def test_a_vm_that_waits_for_its_turn_anyway_stops_nobody(ffabric):
    v, w, a = links(ffabric, ["a"], ["v", "w"])
    w.ffa.ready()
    v.ffa.ready()
    v.ask(a)
    assert w.ctx in v.session.system.hypervisor.cpus[0].ready
    interrupt(w)
    assert a.call(fid.FFA_ID_GET)[2] == a.id
    a.answer(v)


def test_an_sp_that_queues_them_answers_and_the_other_vm_has_its_turn(ffabric):
    a_spec = sp("a", ns_interrupts_action=NsInterruptsAction.QUEUED)
    v, w, a = links(ffabric, [a_spec], ["v", "w"])
    w.ffa.ready()
    w.wait()
    v.ffa.ready()
    v.ask(a)
    interrupt(w)
    assert a.call(fid.FFA_ID_GET)[2] == a.id
    a.leave(*message(a, v, (7,), RESP))
    assert w.has_control
    acknowledge(w)
    w.leave(fid.FFA_MSG_WAIT)
    assert v.x[:4] == [RESP, a.id << 16 | v.id, 0, 7]
    assert v.has_control


def test_a_physical_one_of_another_vm_gives_that_vm_its_turn(ffabric):
    device = DeviceRegion(
        name="device",
        base_address=0x1C09_0000,
        pages=1,
        attributes=3 | 1 << 3,
        interrupts=(Interrupt(INTID, 0),),
    )
    v, w, a = links(ffabric, ["a"], ["v", vm("w", device_regions=(device,))])
    gic = w.partition.gic
    gic.sysreg_write(0, "ICC_PMR_EL1", 0xFF, secure=False)
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.configure(INTID, enabled=True, edge=True, target=0)
    w.ffa.ready()
    w.wait()
    v.ffa.ready()
    v.ask(a)
    v.session.system.machine.gic.set_pending(INTID)
    with pytest.raises(Blocked):
        a.call(fid.FFA_ID_GET)
    assert w.has_control
    assert acknowledge(w) == INTID
    w.leave(fid.FFA_MSG_WAIT)
    assert v.x[:2] == [fid.FFA_INTERRUPT, a.word]


def test_one_whose_vm_is_destroyed_meanwhile_lets_the_caller_go_on(called):
    v, w, a = called
    interrupt(w)
    v.session.system.destroy_vm("w")
    with pytest.raises(Blocked):
        a.call(fid.FFA_ID_GET)
    assert v.has_control
    assert v.x[0] == fid.FFA_INTERRUPT
    v.leave(fid.FFA_RUN, a.word)
    a.answer(v)


def test_an_sp_that_queues_them_goes_on(ffabric):
    a_spec = sp("a", ns_interrupts_action=NsInterruptsAction.QUEUED)
    v, a = links(ffabric, [a_spec], ["v"])
    v.ask(a)
    interrupt(v)
    assert a.call(fid.FFA_ID_GET)[2] == a.id
    a.answer(v)
    assert acknowledge(v) == SGI


def test_an_sp_that_idles_makes_its_managed_exit(ffabric):
    a_spec = sp("a", ns_interrupts_action=NsInterruptsAction.MANAGED_EXIT)
    v, a = links(ffabric, [a_spec], ["v"])
    v.ask(a)
    with pytest.raises(Exception):  # noqa: B017, PT011 - nothing can run
        a.ffa.idle()
    interrupt(v)
    v.session.run()
    assert a.has_control
    assert a.ctx.runner.lines
    a.answer(v)
