"""Chains of calls on several PEs, and partitions that die while their other vCPUs are busy."""

import pytest
from chain_sides import RESP, Link, boot, links, message

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.psci import Return
from ffabric.firmware.state.context import State
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

SPI, SECURE_EDGE = 40, 0x100


class Wide:
    """Two PEs: VMs ``v`` and ``w`` and an SP ``m`` with two vCPUs each, and UP SPs ``u``, ``t``."""

    def __init__(self, ffabric):
        sps = [sp("m", vcpus=2), "u", "t"]
        self.session = boot(ffabric, sps, [vm("v", vcpus=2), vm("w", vcpus=2)], pes=2)
        self.v, self.w, self.m = (
            [Link(self.session, name, n) for n in range(2)] for name in ("v", "w", "m")
        )
        self.u, self.t = Link(self.session, "u"), Link(self.session, "t")
        self.machine = self.session.system.machine
        self.start(self.v)

    def start(self, vm):
        """Let the second vCPU of a VM begin."""
        vm[0].call(psci.CPU_ON_64, self.machine.pes[1].mpidr, 0x4000_0000, 0)
        self.session.run()


@pytest.fixture
def wide(ffabric):
    return Wide(ffabric)


def test_each_pe_has_its_own_chain(wide):
    v, m = wide.v, wide.m
    for n in range(2):
        v[n].ask(m[n], n)
        assert m[n].x[3] == n
    for n in range(2):
        m[n].answer(v[n], n + 10)
        assert v[n].x[3] == n + 10


def test_a_context_of_an_mp_partition_is_pinned(ffabric, wide):
    with ffabric.refuses("run.pinned"):
        wide.v[0].must(fid.FFA_RUN, wide.m[1].word)
    wide.v[1].leave(fid.FFA_RUN, wide.m[1].word)


def test_the_only_context_of_a_up_partition_moves(wide):
    for n in (0, 1, 0):
        wide.v[n].ask(wide.u, n)
        wide.u.answer(wide.v[n], n)
        assert wide.v[n].x[3] == n


def test_who_runs_is_not_run_again(ffabric, wide):
    wide.v[0].leave(fid.FFA_RUN, wide.u.word)
    with ffabric.refuses("run.target_busy"):
        wide.v[1].must(fid.FFA_RUN, wide.u.word)
    with ffabric.refuses("direct.req.receiver_busy"):
        wide.v[1].ffa.direct_request(wide.u.id)
    wide.u.wait()
    wide.v[1].leave(fid.FFA_RUN, wide.u.word)


def test_cycles_that_were_lent_come_from_any_pe(wide):
    wide.v[0].leave(fid.FFA_RUN, wide.u.word)
    wide.u.leave(fid.FFA_YIELD)
    assert wide.v[0].x[0] == fid.FFA_YIELD
    wide.v[1].leave(fid.FFA_RUN, wide.u.word)
    wide.u.wait()
    assert wide.v[1].x[0] == fid.FFA_MSG_WAIT


def test_a_chain_does_not_move(ffabric):
    k0, u = links(ffabric, ["u"], [vm("k", vcpus=2)], hypervisor=False, pes=2)
    k1 = Link(k0.session, "k", 1)
    k0.call(psci.CPU_ON_64, k0.session.system.machine.pes[1].mpidr, 0x8000_0000, 0)
    k0.session.run()
    k0.ask(u)
    u.leave(fid.FFA_YIELD)
    with ffabric.refuses("run.call_chain"):
        k1.must(fid.FFA_RUN, u.word)
    k0.leave(fid.FFA_RUN, u.word)
    u.answer(k0)


def test_another_vms_request_is_not_resumed(ffabric, wide):
    # it would get the answer that is meant for the other
    v, w, u = wide.v[1], wide.w, wide.u
    wide.start(w)
    v.ask(u, 0x5EC)
    u.leave(fid.FFA_YIELD)
    assert v.x[:2] == [fid.FFA_YIELD, u.word]
    for other in (w[1], w[0], wide.v[0]):
        with ffabric.refuses("run.not_the_caller"):
            other.must(fid.FFA_RUN, u.word)
    v.leave(fid.FFA_RUN, u.word)
    u.answer(v, 0x12E7)
    assert v.x[3] == 0x12E7
    w[1].leave(fid.FFA_RUN, u.word)
    u.wait()


# Power


def test_only_a_vcpu_that_is_off_is_turned_on(wide):
    first, mpidrs = wide.w[0], [pe.mpidr for pe in wide.machine.pes]
    entry = 0x4000_0000
    assert first.call(psci.CPU_ON_64, mpidrs[0], 0, 0)[0] == Return.ALREADY_ON.register64
    assert first.call(psci.CPU_ON_64, 0x77, entry, 0)[0] == Return.INVALID_PARAMETERS.register64
    assert first.call(psci.CPU_ON_64, mpidrs[1], entry, 0)[0] == Return.SUCCESS
    assert first.call(psci.CPU_ON_64, mpidrs[1], entry, 0)[0] == Return.ALREADY_ON.register64


# Death


def test_an_sp_dies_while_it_serves_on_another_pe(wide):
    v, m = wide.v, wide.m
    for n in range(2):
        v[n].ask(m[n])
    m[0].leave(fid.FFA_ERROR, 0, 1)
    assert v[0].status.name == "ABORTED"
    assert m[1].state is State.ABORTED
    assert v[1].has_control
    assert v[1].status.name == "ABORTED"


def test_an_sp_dies_while_it_runs_on_another_pe(wide):
    v, m = wide.v, wide.m
    v[1].leave(fid.FFA_RUN, m[1].word)
    v[0].ask(m[0])
    m[0].leave(fid.FFA_ERROR, 0, 1)
    assert v[1].has_control
    assert v[1].status.name == "ABORTED"


def test_who_yields_to_an_sp_that_has_died_yields_to_whoever_asked_that_one(wide):
    v, m, u = wide.v, wide.m, wide.u
    v[0].ask(m[0])
    m[0].ask(u)
    v[1].ask(m[1])
    m[1].leave(fid.FFA_ERROR, 0, 1)
    assert v[1].status.name == "ABORTED"
    assert u.has_control
    u.leave(fid.FFA_YIELD)
    assert u.state is State.BLOCKED
    assert v[0].has_control
    assert v[0].status.name == "ABORTED"


def test_an_sp_dies_while_another_handles_an_interrupt_on_top_of_it(ffabric):
    line = DeviceRegion(
        name="line",
        base_address=0x1C09_0000,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(SPI, SECURE_EDGE),),
    )
    sps = [sp("m", vcpus=2), sp("h", device_regions=(line,))]
    session = boot(ffabric, sps, [vm("v", vcpus=2)], pes=2)
    (v0, v1), (m0, m1) = ([Link(session, name, n) for n in range(2)] for name in "vm")
    h, machine = Link(session, "h"), session.system.machine
    v0.call(psci.CPU_ON_64, machine.pes[1].mpidr, 0x4000_0000, 0)
    session.run()
    v1.leave(fid.FFA_RUN, h.word)
    h.must(hafnium.HF_INTERRUPT_ENABLE, SPI, 1, 0)
    h.wait()
    v1.ask(m1)
    machine.gic.configure(SPI, target=1)
    machine.gic.set_pending(SPI)
    session.run()
    assert (h.has_control, m1.state) == (True, State.PREEMPTED)
    v0.ask(m0)
    m0.leave(fid.FFA_ERROR, 0, 1)
    assert h.has_control
    assert h.call(hafnium.HF_INTERRUPT_GET)[0] == SPI
    h.wait()
    assert m1.state is State.ABORTED
    assert v1.has_control
    assert v1.status.name == "ABORTED"


class Interrupted:
    """A UP SP ``u`` that a VM runs on PE 0, and an SP ``h`` handles an interrupt on top."""

    def __init__(self, ffabric):
        line = DeviceRegion(
            name="line",
            base_address=0x1C09_0000,
            pages=1,
            attributes=3,
            interrupts=(Interrupt(SPI, SECURE_EDGE),),
        )
        sps = ["u", sp("h", device_regions=(line,))]
        session = boot(ffabric, sps, [vm("v", vcpus=2)], pes=2)
        self.v = [Link(session, "v", n) for n in range(2)]
        self.u, self.h = Link(session, "u"), Link(session, "h")
        machine = session.system.machine
        self.v[0].call(psci.CPU_ON_64, machine.pes[1].mpidr, 0x4000_0000, 0)
        session.run()
        self.v[0].leave(fid.FFA_RUN, self.h.word)
        self.h.must(hafnium.HF_INTERRUPT_ENABLE, SPI, 1, 0)
        self.h.wait()
        self.v[0].leave(fid.FFA_RUN, self.u.word)
        machine.gic.set_pending(SPI)
        session.run()
        assert (self.h.has_control, self.u.state) == (True, State.PREEMPTED)

    def handle(self):
        """The handler takes its interrupt and is done."""
        assert self.h.call(hafnium.HF_INTERRUPT_GET)[0] == SPI
        self.h.wait()


def test_who_is_interrupted_is_not_run_on_another_pe(ffabric):
    rig = Interrupted(ffabric)
    with ffabric.refuses("run.target_busy"):
        rig.v[1].must(fid.FFA_RUN, rig.u.word)
    rig.handle()
    assert rig.u.has_control
    with ffabric.refuses("run.target_busy"):
        rig.v[1].must(fid.FFA_RUN, rig.u.word)
    rig.u.wait()
    assert rig.v[0].has_control
    rig.v[1].leave(fid.FFA_RUN, rig.u.word)


def test_who_is_interrupted_gets_no_cycles_from_the_scheduler(ffabric):
    rig = Interrupted(ffabric)
    firmware = rig.v[0].session.system.firmware
    assert firmware.spmc.dispatch(rig.v[1].ctx.pe, rig.u.ctx) is None
    rig.handle()
    assert rig.u.has_control


def test_who_was_interrupted_runs_anywhere_when_the_handler_has_died(ffabric):
    rig = Interrupted(ffabric)
    rig.h.leave(fid.FFA_ERROR, 0, 1)
    assert rig.u.has_control
    rig.u.leave(fid.FFA_YIELD)
    rig.v[1].leave(fid.FFA_RUN, rig.u.word)
    assert rig.u.has_control


def test_an_sp_dies_while_it_waits_for_another(wide):
    v, m, u = wide.v, wide.m, wide.u
    v[1].ask(m[1])
    m[1].ask(u)
    v[0].ask(m[0])
    m[0].leave(fid.FFA_ERROR, 0, 1)
    u.leave(RESP, u.id << 16 | m[1].id)
    assert v[1].has_control
    assert v[1].status.name == "ABORTED"
    assert u.state is State.WAITING


def test_an_sp_dies_and_so_does_the_one_that_it_waits_for(wide):
    v, m, u = wide.v, wide.m, wide.u
    v[1].ask(m[1])
    m[1].ask(u)
    v[0].ask(m[0])
    m[0].leave(fid.FFA_ERROR, 0, 1)
    u.leave(fid.FFA_ERROR, 0, 1)
    assert v[1].has_control
    assert v[1].status.name == "ABORTED"


def test_an_sp_dies_while_it_is_preempted(wide):
    v, m, u = wide.v, wide.m, wide.u
    v[1].ask(u)
    u.ask(m[1])
    wide.machine.gic.set_pending(wide.session.system.firmware.spmc.sri, 1)
    m[1].leave(fid.FFA_ID_GET)
    assert m[1].state is State.PREEMPTED
    assert u.x[:2] == [fid.FFA_INTERRUPT, m[1].word]
    assert v[1].x[:2] == [fid.FFA_INTERRUPT, u.word]
    v[0].ask(m[0])
    m[0].leave(fid.FFA_ERROR, 0, 1)
    v[1].leave(fid.FFA_RUN, u.word)
    u.call(fid.FFA_RUN, m[1].word)
    assert u.status.name == "ABORTED"
    u.answer(v[1], 3)
    assert v[1].x[:4] == [RESP, u.id << 16 | v[1].id, 0, 3]


def test_a_vm_dies_while_its_other_vcpu_waits_for_an_sp(wide):
    v, w, u = wide.v, wide.w, wide.u
    v[0].ask(u)
    v[1].leave(psci.SYSTEM_OFF)
    u.leave(RESP, u.id << 16 | v[0].id)
    assert not v[0].has_control
    assert v[0].state is State.ABORTED
    assert w[0].has_control or w[0].ffa.id_get() == w[0].id
    w[0].ask(u)


def test_a_vm_dies_while_its_other_vcpu_runs(wide):
    v, w = wide.v, wide.w
    wide.start(w)
    v[0].ffa.id_get()
    assert v[0].has_control
    v[1].ffa.id_get()
    v[1].leave(psci.SYSTEM_OFF)
    assert wide.machine.pes[0].current is not v[0].ctx
    wide.session.run()
    for n in range(2):
        assert w[n].ffa.id_get() == w[n].id


@pytest.mark.parametrize("idle", [False, True])
def test_a_vm_dies_while_its_other_vcpu_serves_a_vm(wide, idle):
    v, w = wide.v, wide.w
    wide.start(w)
    v[0].leave(fid.FFA_MSG_WAIT)
    w[0].ask(v[0], 4)
    if idle:
        v[0].leave(psci.CPU_SUSPEND_64)
    v[1].ffa.id_get()
    v[1].leave(psci.SYSTEM_OFF)
    wide.session.run()
    assert w[0].has_control
    assert w[0].status.name == "ABORTED"


def test_a_vm_dies_while_it_serves_a_vm(wide):
    v, w = wide.v, wide.w
    v[0].leave(fid.FFA_MSG_WAIT)
    w[0].ask(v[0])
    v[0].leave(psci.SYSTEM_OFF)
    assert w[0].has_control
    assert w[0].status.name == "ABORTED"
    assert v[0].partition.name not in [
        each.name for each in wide.session.system.firmware.hypervisor.partitions.values()
    ]


def test_a_vm_dies_while_it_waits_for_a_vm(wide):
    v, w = wide.v, wide.w
    w[0].leave(fid.FFA_MSG_WAIT)
    v[0].ask(w[0])
    v[1].leave(psci.SYSTEM_OFF)
    w[0].leave(RESP, w[0].id << 16 | v[0].id)
    assert w[0].state is State.WAITING
    assert not v[0].has_control


def test_the_request_of_a_dead_vm_is_finished(wide):
    v, w, u = wide.v, wide.w, wide.u
    v[0].ask(u)
    u.leave(fid.FFA_YIELD)
    v[0].leave(psci.SYSTEM_OFF)
    assert u.has_control  # the hypervisor gives it cycles until it has answered
    u.leave(RESP, u.id << 16 | v[0].id)
    assert u.state is State.WAITING
    assert not wide.session.system.firmware.hypervisor.unfinished
    w[0].ask(u)


def test_a_vcpu_that_serves_a_request_stays_on(wide):
    v, w = wide.v, wide.w
    v[0].leave(fid.FFA_MSG_WAIT)
    w[0].ask(v[0])
    assert v[0].call(psci.CPU_OFF)[0] == Return.DENIED.register64
    v[0].answer(w[0])
    v[1].leave(psci.CPU_OFF)
    assert v[1].state is State.OFF


def test_who_has_yielded_in_a_request_of_a_vcpu_that_goes_off_goes_on_alone(ffabric, wide):
    v1, (w, w1) = wide.v[1], wide.w
    wide.session.system.dispatch(w.ctx)
    wide.start(wide.w)
    w1.leave(fid.FFA_MSG_WAIT)
    wide.session.system.dispatch(v1.ctx)
    v1.ask(w1, 1)
    w1.leave(fid.FFA_YIELD)
    v1.leave(psci.CPU_OFF)
    assert w1.has_control
    assert w1.x[0] == fid.FFA_SUCCESS_32
    with ffabric.refuses("runtime.transition"):
        w1.must(*message(w1, v1, (7,), RESP))
    w1.leave(fid.FFA_MSG_WAIT)
    wide.start(wide.v)
    v1.ask(w1, 2)
    w1.answer(v1, 3)
    assert v1.x[3] == 3
