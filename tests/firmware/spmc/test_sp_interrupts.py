"""Interrupts for SPs: who is stopped, who is told, and who goes on afterwards."""

import pytest
from chain_sides import REQ, RESP, Link, message
from interrupt_sides import BLOCKED, FIQ, IRQ, LEVEL, PREEMPTED, RUNNING, WAITING, Rig

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.spmc.setup import own_interrupt
from ffabric.guests.partition import Partition
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    ExceptionLevel,
    Interrupt,
    NsInterruptsAction,
    OtherSInterruptsAction,
)

QUEUED = {"ns_interrupts_action": NsInterruptsAction.QUEUED}
EXITS = {"ns_interrupts_action": NsInterruptsAction.MANAGED_EXIT}
EXITS_BY_IRQ = {**EXITS, "managed_exit_virq": True}
UNDISTURBED = {**QUEUED, "other_s_interrupts_action": OtherSInterruptsAction.QUEUED}
NONE = hafnium.INVALID_INTID
MEI = hafnium.MANAGED_EXIT_INTID


@pytest.fixture
def rig(ffabric):
    return Rig(ffabric)


# A secure interrupt, by the state of its target.


@pytest.mark.parametrize("hypervisor", [True, False])
def test_a_waiting_sp_takes_the_pe_from_the_normal_world_and_gives_it_back(ffabric, hypervisor):
    rig = Rig(ffabric, hypervisor=hypervisor)
    v, a = rig.v, rig.a
    rig.raise_(a)
    v.leave(fid.FFA_ID_GET)
    answer = list(v.x)
    assert a.is_told
    assert a.x[:3] == [fid.FFA_INTERRUPT, 0, a.intid]
    assert a.lines == IRQ
    assert a.get() == a.intid
    assert a.lines == 0
    a.wait()
    assert v.has_control
    assert v.x == answer


def test_a_waiting_sp_takes_the_pe_from_another_and_gives_it_back(rig):
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, b)
    rig.raise_(a)
    assert not rig.step(b)
    assert a.is_told
    assert rig.states(a, b) == [RUNNING, PREEMPTED]
    assert a.get() == a.intid
    a.wait()
    assert b.has_control
    assert b.x[2] == b.id  # of its FFA_ID_GET
    b.answer(v)


def test_a_running_sp_is_interrupted_where_it_stands(rig):
    rig.chain(rig.v, rig.a)
    rig.raise_(rig.a)
    assert rig.step(rig.a)
    assert rig.a.lines == IRQ
    assert rig.a.get() == rig.a.intid
    rig.a.answer(rig.v)


def test_an_sp_is_taken_out_of_the_middle_of_a_chain_and_goes_back(ffabric, rig):
    v, a, b, c, _ = rig.v, *rig.servers
    rig.chain(v, a, b, c)
    rig.raise_(a)
    assert not rig.step(c)
    assert a.is_told
    assert rig.states(a, b, c) == [RUNNING, BLOCKED, PREEMPTED]
    with ffabric.refuses("run.interrupt_unhandled"):
        a.must(fid.FFA_RUN, b.word)
    assert a.get() == a.intid
    a.leave(fid.FFA_RUN, b.word)
    assert c.has_control
    assert rig.states(a, b, c) == [BLOCKED, BLOCKED, RUNNING]
    c.answer(b, 1)
    b.answer(a, 2)
    a.answer(v, 3)
    assert v.x[3] == 3


def test_an_sp_is_taken_out_of_its_wait_for_the_next(ffabric, rig):
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_(a)
    assert not rig.step(b)
    assert a.is_told
    with ffabric.refuses("run.interrupt_unhandled"):
        a.must(fid.FFA_RUN, b.word)
    a.get()
    a.leave(fid.FFA_RUN, b.word)
    b.answer(a, 2)
    assert a.x[:4] == [RESP, b.id << 16 | a.id, 0, 2]


def test_who_is_taken_out_of_a_chain_and_dies_does_not_take_it_along(rig):
    v, a, b, c, _ = rig.v, *rig.servers
    rig.chain(v, a, b, c)
    rig.raise_(a)
    rig.step(c)
    a.leave(fid.FFA_ERROR, 0, 1)
    assert c.has_control
    c.answer(b)
    b.leave(RESP, b.id << 16 | a.id)
    assert v.has_control
    assert v.status.name == "ABORTED"
    assert rig.states(b, c) == [WAITING, WAITING]


def test_an_sp_may_answer_its_requester_before_it_goes_back_to_its_chain(rig):
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_(a)
    rig.step(b)
    a.get()
    a.answer(v)
    v.ask(a)
    a.leave(fid.FFA_RUN, b.word)
    b.answer(a, 4)
    assert a.x[3] == 4
    a.answer(v)


def test_an_sp_that_yielded_hears_of_its_interrupt_when_it_goes_on(rig):
    v, a = rig.v, rig.a
    rig.chain(v, a)
    a.leave(fid.FFA_YIELD)
    rig.raise_(a)
    assert rig.step(v)
    v.leave(fid.FFA_RUN, a.word)
    assert a.x[0] == fid.FFA_SUCCESS_32
    assert a.lines == IRQ
    assert a.get() == a.intid
    a.answer(v)


def test_an_sp_that_is_preempted_hears_of_its_interrupt_when_it_goes_on(rig):
    v, a = rig.v, rig.a
    rig.chain(v, a)
    rig.raise_non_secure()
    assert not rig.step(a)
    rig.raise_(a)
    assert rig.step(v)
    assert a.state is PREEMPTED
    v.leave(fid.FFA_RUN, a.word)
    assert (a.lines, a.get()) == (IRQ, a.intid)
    a.answer(v)


def test_what_comes_while_an_interrupt_is_handled_comes_afterwards(rig):
    v, a, b, c, _ = rig.v, *rig.servers
    rig.chain(v, c)
    rig.raise_(a)
    rig.step(c)
    a.get()
    rig.raise_(b)
    rig.raise_non_secure()
    assert rig.step(a)
    a.leave(fid.FFA_MSG_WAIT)
    assert b.is_told
    assert c.state is PREEMPTED
    b.get()
    b.leave(fid.FFA_MSG_WAIT)
    assert rig.states(a, b, c) == [WAITING, WAITING, PREEMPTED]
    assert v.x[:2] == [fid.FFA_INTERRUPT, c.word]


def test_what_comes_first_is_got_first(rig):
    a, b = rig.a, rig.b
    spmc = rig.system.firmware.spmc
    own_interrupt(spmc, b.intid, a.partition)
    rig.chain(rig.v, a)
    a.call(hafnium.HF_INTERRUPT_ENABLE, b.intid, 1, 1)
    rig.raise_(b)
    rig.step(a)
    rig.raise_(a)
    rig.step(a)
    assert a.lines == IRQ | FIQ
    assert [a.get(), a.get(), a.get()] == [b.intid, a.intid, NONE]


def test_the_context_of_a_up_sp_is_told_where_it_runs(ffabric):
    rig = Rig(ffabric, pes=2)
    a, w = rig.a, Link(rig.session, "v", 1)
    rig.v.call(psci.CPU_ON_64, rig.machine.pes[1].mpidr, 0x4000_0000, 0)
    rig.session.run()
    w.ask(a)
    rig.raise_(a)  # it is routed to PE 0
    assert rig.step(rig.v)
    assert a.lines == IRQ
    assert a.get() == a.intid
    a.answer(w)
    rig.raise_(a)
    assert not rig.step(rig.v)
    assert (a.is_told, a.ctx.pe.index) == (True, 0)


def test_nobody_yields_what_nobody_lent(rig):
    rig.raise_(rig.a)
    rig.step(rig.v)
    assert rig.a.call(fid.FFA_YIELD)[0] == fid.FFA_SUCCESS_32
    assert rig.a.state is RUNNING


def test_an_s_el0_sp_gets_the_number_of_its_interrupt(ffabric):
    rig = Rig(ffabric, d={"exception_level": ExceptionLevel.S_EL0})
    rig.raise_(rig.d)
    rig.step(rig.v)
    assert rig.d.x[:3] == [fid.FFA_INTERRUPT, 0, rig.d.intid]
    rig.d.wait()
    assert rig.v.has_control


# Entering WAITING with interrupts pending.


@pytest.mark.parametrize("requester", ["v", "b"])
def test_a_response_waits_until_the_interrupts_are_handled(rig, requester):
    v, a, b, _, _ = rig.v, *rig.servers
    requester = v if requester == "v" else b
    rig.chain(*((v, a) if requester is v else (v, b, a)))
    rig.raise_(a)
    rig.step(a)
    a.call(*message(a, requester, (7,), RESP))
    assert a.is_told
    assert not requester.has_control
    a.get()
    a.wait()
    assert requester.has_control
    assert requester.x[:4] == [RESP, a.id << 16 | requester.id, 0, 7]
    requester.ask(a, 8)
    assert a.x[:4] == [REQ, requester.id << 16 | a.id, 0, 8]


def test_who_waits_with_an_interrupt_pending_is_told_again(rig):
    rig.raise_(rig.a)
    rig.step(rig.v)
    for _ in range(3):
        rig.a.call(fid.FFA_MSG_WAIT)
        assert rig.a.is_told
    rig.a.get()
    rig.a.wait()
    assert rig.v.has_control


def test_an_interrupt_that_is_not_enabled_waits(rig):
    v, a = rig.v, rig.a
    rig.chain(v, a)
    rig.raise_(a)
    rig.step(a)
    a.call(hafnium.HF_INTERRUPT_ENABLE, a.intid, 0, 0)
    assert (a.lines, a.get()) == (0, NONE)
    a.answer(v)
    v.ask(a)
    a.call(hafnium.HF_INTERRUPT_ENABLE, a.intid, 1, 0)
    assert a.get() == a.intid


# A non-secure interrupt, by what the SPs ask for.


def test_a_chain_is_unwound_and_wound_up_again(ffabric, rig):
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_non_secure()
    assert not rig.step(b)
    assert v.has_control
    assert v.x[:8] == [fid.FFA_INTERRUPT, a.word, 0, 0, 0, 0, 0, 0]
    assert a.x[:8] == [fid.FFA_INTERRUPT, b.word, 0, 0, 0, 0, 0, 0]
    assert rig.states(a, b) == [PREEMPTED, PREEMPTED]
    with ffabric.refuses("run.not_the_caller"):
        v.must(fid.FFA_RUN, b.word)
    v.leave(fid.FFA_RUN, a.word)
    assert a.is_told
    a.leave(fid.FFA_RUN, b.word)
    b.answer(a)
    a.answer(v)


@pytest.mark.parametrize("queued", ["a", "b"])
def test_it_waits_if_any_of_a_chain_asks_for_that(ffabric, queued):
    rig = Rig(ffabric, **{queued: QUEUED})
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_non_secure()
    sri = rig.system.firmware.spmc.sri
    assert rig.step(b)
    pending = rig.gic.pending(0)
    assert pending[0] == sri
    if queued == "b":
        b.leave(*message(b, a, (), RESP))
        assert a.state is PREEMPTED
        v.leave(fid.FFA_RUN, a.word)
    else:
        b.answer(a)
        assert rig.gic.pending(0) is not None
    a.leave(*message(a, v, (5,), RESP))
    assert v.has_control
    assert v.x[3] == 5
    assert rig.gic.pending(0) is None


@pytest.mark.parametrize(("how", "line"), [(EXITS, FIQ), (EXITS_BY_IRQ, IRQ)])
def test_a_managed_exit(ffabric, how, line):
    rig = Rig(ffabric, a=how)
    v, a = rig.v, rig.a
    rig.chain(v, a)
    rig.raise_non_secure()
    assert rig.step(a)
    assert a.lines == line
    assert a.get() == MEI
    assert rig.step(a)
    assert (a.lines, a.get()) == (0, NONE)  # it is told once
    a.answer(v, 9)
    assert v.x[3] == 9
    assert rig.gic.pending(0) is None
    rig.chain(v, a)
    assert rig.step(a)
    rig.raise_non_secure()
    assert rig.step(a)
    assert a.get() == MEI


def test_who_makes_a_managed_exit_unheard_is_not_told_later(ffabric):
    rig = Rig(ffabric, a=EXITS)
    v, a = rig.v, rig.a
    rig.chain(v, a)
    rig.raise_non_secure()
    rig.step(a)
    a.answer(v)
    v.ask(a)
    assert (a.lines, a.get()) == (0, NONE)


def test_a_managed_exit_of_a_requester_begins_when_its_server_is_preempted(ffabric):
    rig = Rig(ffabric, a=EXITS)
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_non_secure()
    assert not rig.step(b)
    assert a.x[:2] == [fid.FFA_INTERRUPT, b.word]
    assert (a.is_told, a.lines) == (True, FIQ)
    assert a.get() == MEI
    a.answer(v)
    v.ask(a)
    a.leave(fid.FFA_RUN, b.word)
    b.answer(a)


def test_managed_exits_pass_along_a_chain(ffabric):
    rig = Rig(ffabric, a=EXITS, b=EXITS)
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_non_secure()
    assert rig.step(b)
    assert (b.get(), a.lines) == (MEI, 0)
    b.answer(a, 1)
    assert a.x[3] == 1
    assert a.get() == MEI
    a.answer(v)


def test_after_a_managed_exit_a_requester_is_preempted(ffabric):
    rig = Rig(ffabric, b=EXITS)
    v, a, b, _, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_non_secure()
    assert rig.step(b)
    b.get()
    b.leave(*message(b, a, (6,), RESP))
    assert v.x[:2] == [fid.FFA_INTERRUPT, a.word]
    v.leave(fid.FFA_RUN, a.word)
    assert a.x[:4] == [RESP, b.id << 16 | a.id, 0, 6]


@pytest.mark.parametrize("undisturbed", ["a", "b"])
def test_secure_interrupts_of_others_wait_if_any_of_a_chain_asks_for_that(ffabric, undisturbed):
    rig = Rig(ffabric, **{undisturbed: UNDISTURBED})
    v, a, b, c, _ = rig.v, *rig.servers
    rig.chain(v, a, b)
    rig.raise_(c)
    assert rig.step(b)
    b.leave(*message(b, a, (), RESP))
    if undisturbed == "a":
        a.leave(*message(a, v, (), RESP))
    assert c.is_told
    c.get()
    c.wait()
    assert (a if undisturbed == "b" else v).x[0] == RESP


# The physical interrupt.


def test_a_line_that_stays_high_is_one_edge(rig):
    a = rig.a
    rig.gic.set_level(a.intid, True)
    rig.step(rig.v)
    assert a.get() == a.intid
    assert a.end() == 0
    a.wait()
    assert rig.v.has_control
    assert rig.step(rig.v)


def test_an_edge_during_the_handling_is_another_interrupt(rig):
    a = rig.a
    rig.raise_(a)
    rig.step(rig.v)
    assert a.get() == a.intid
    rig.raise_(a)
    assert a.get() == NONE  # what comes meanwhile is masked
    a.call(fid.FFA_MSG_WAIT)
    assert a.is_told
    assert a.get() == a.intid


@pytest.mark.parametrize("deactivates", [True, False])
def test_a_level_is_signalled_until_it_falls(ffabric, deactivates):
    rig = Rig(ffabric, kind=LEVEL)
    v, a = rig.v, rig.a
    rig.gic.set_level(a.intid, True)
    rig.step(v)
    for _ in range(2):
        assert a.get() == a.intid
        assert a.get() == NONE
        if deactivates:
            assert a.end() == 0
        a.call(fid.FFA_MSG_WAIT)
        assert a.is_told
    assert a.get() == a.intid
    rig.gic.set_level(a.intid, False)
    a.wait()
    assert v.has_control


def test_only_what_is_active_is_deactivated(rig):
    rig.chain(rig.v, rig.a)
    assert rig.a.end() == 0xFFFF_FFFF_FFFF_FFFF


@pytest.mark.parametrize("kind", [0x100, LEVEL])
def test_the_interrupt_of_a_dead_sp_is_disabled(ffabric, kind):
    rig = Rig(ffabric, kind=kind)
    v, a = rig.v, rig.a
    rig.chain(v, a)
    a.leave(fid.FFA_ERROR, 0, 1)
    rig.gic.set_level(a.intid, True)
    assert rig.step(v)
    assert not rig.gic.enabled(a.intid)


RECONFIGURE = hafnium.HF_INTERRUPT_RECONFIGURE
TARGET, SECURITY, ENABLE = hafnium.Reconfigure
IMPOSSIBLE = 0xFFFF_FFFF_FFFF_FFFF


def test_an_sp_disables_and_enables_its_interrupt_at_the_gic(rig):
    v, a = rig.v, rig.a
    rig.chain(v, a)
    assert a.call(RECONFIGURE, a.intid, ENABLE, 0)[0] == 0
    rig.raise_(a)
    assert rig.step(a)
    assert a.get() == NONE
    assert a.call(RECONFIGURE, a.intid, ENABLE, 1)[0] == 0
    assert a.get() == a.intid


@pytest.mark.parametrize(
    ("command", "value", "answer"),
    [
        (TARGET, 0, 0),
        (TARGET, 1, IMPOSSIBLE),
        (TARGET, 0xFFFF, IMPOSSIBLE),
        (SECURITY, 1, 0),
        (SECURITY, 0, IMPOSSIBLE),
        (ENABLE, 2, IMPOSSIBLE),
        (77, 0, IMPOSSIBLE),
    ],
)
def test_what_may_be_changed_about_an_interrupt(ffabric, command, value, answer):
    rig = Rig(ffabric, pes=2)
    rig.chain(rig.v, rig.a)
    assert rig.a.call(RECONFIGURE, rig.a.intid, command, value)[0] == answer
    assert rig.a.call(RECONFIGURE, hafnium.NOTIFICATION_PENDING_INTID, TARGET, 0)[0] == 0
    assert rig.a.call(RECONFIGURE, 5120, TARGET, 0)[0] == IMPOSSIBLE


def test_an_mp_sp_moves_its_interrupt_to_another_pe(ffabric):
    rig = Rig(ffabric, pes=2, a={"vcpus": 2})
    v, a = rig.v, rig.a
    rig.chain(v, a)
    assert a.call(RECONFIGURE, a.intid, TARGET, 1)[0] == 0
    assert rig.gic.routes[a.intid] == rig.machine.pes[1].mpidr & 0xFFFFFF
    assert a.call(RECONFIGURE, a.intid, TARGET, 2)[0] == IMPOSSIBLE


class Owner(Partition):
    """A partition with devices."""

    def __init__(self, *intids):
        super().__init__("owner")
        self.intids = intids
        self.taken = []

    async def on_boot(self, ffa):
        for intid in self.intids:
            await self.enable_interrupt(ffa, intid)

    async def main(self, ffa):
        if ffa.vcpu.secure:
            await super().main(ffa)
        await self.on_boot(ffa)
        while True:
            await ffa.idle()

    async def on_device_interrupt(self, intid, ffa):
        self.taken.append(intid)


def device_raising(interrupt, number=0):
    """A device region with one interrupt."""
    base = 0x1C0B_0000 + number * 0x1000
    return DeviceRegion(
        name=f"d{number}", base_address=base, pages=1, attributes=3, interrupts=(interrupt,)
    )


@pytest.mark.parametrize("intid", [1019, 4096, 5000, 5119])
def test_a_device_of_an_sp_may_have_an_interrupt_of_the_extended_range(ffabric, intid):
    owner = Owner(intid)
    region = device_raising(Interrupt(intid, 0x100))
    session = ffabric.boot(sps=[sp(owner, device_regions=(region,))])
    session.interrupt(intid)
    session.run()
    assert owner.taken == [intid]


@pytest.mark.parametrize("intid", [1056, 1119, 4096, 5119])
def test_a_device_of_a_vm_may_have_one_too(ffabric, intid):
    owner = Owner(intid)
    region = device_raising(Interrupt(intid, 0x900))
    session = ffabric.boot(vms=[vm(owner, device_regions=(region,))])
    session.interrupt(intid, 0 if intid < 4096 else None)
    session.run()
    assert owner.taken == [intid]


@pytest.mark.parametrize("level", [ExceptionLevel.S_EL1, ExceptionLevel.S_EL0])
def test_an_sp_in_python_hears_of_its_interrupts_at_either_level(ffabric, level):
    """At S-EL0 it has no vector: FFA_INTERRUPT says which interrupt it is."""
    owner = Owner(40, 41)
    regions = tuple(device_raising(Interrupt(40 + n, 0x901), n) for n in range(2))
    session = ffabric.boot(
        sps=[sp(owner, exception_level=level, device_regions=regions)], vms=["v"]
    )
    session.interrupt(40)
    session.run()
    assert owner.taken == [40]
    session.interrupt(41)
    session.interrupt(40)
    session.run()
    assert sorted(owner.taken) == [40, 40, 41]
    session.vm("v").ffa.direct_request(owner, 1)
    assert len(owner.taken) == 3
