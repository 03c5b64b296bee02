"""Rules of chains and buffers, each judged from the side from which it is seldom looked at."""

import pytest
from chain_sides import Link, boot

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import COUNT_ONLY
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.ffa.status import Status
from ffabric.firmware.state.context import State
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm


class Wide:
    """Two PEs: a VM ``v`` and an SP ``m`` with a vCPU on each, UP SPs ``u`` and ``t``."""

    def __init__(self, ffabric):
        self.session = boot(ffabric, [sp("m", vcpus=2), "u", "t"], [vm("v", vcpus=2)], pes=2)
        self.v, self.m = ([Link(self.session, name, n) for n in range(2)] for name in "vm")
        self.u, self.t = Link(self.session, "u"), Link(self.session, "t")
        self.machine = self.session.system.machine
        self.v[0].call(psci.CPU_ON_64, self.machine.pes[1].mpidr, 0x4000_0000, 0)
        self.session.run()

    def interrupt(self, pe=0):
        """A non-secure interrupt takes the PE from whoever has it in the secure world."""
        self.machine.gic.set_pending(self.session.system.firmware.spmc.sri, pe)
        self.session.run()


@pytest.fixture
def wide(ffabric):
    return Wide(ffabric)


@pytest.mark.parametrize(("pe", "vcpu"), [(0, 1), (1, 0)])
def test_a_context_is_run_on_its_own_pe_not_above_and_not_below(ffabric, wide, pe, vcpu):
    with ffabric.refuses("run.pinned"):
        wide.v[pe].must(fid.FFA_RUN, wide.m[vcpu].word)
    wide.v[pe].leave(fid.FFA_RUN, wide.m[pe].word)
    assert wide.m[pe].has_control


# Who yielded once


def test_who_goes_on_after_a_yield_has_not_yielded_any_more(ffabric, wide):
    v, u, t = wide.v, wide.u, wide.t
    v[0].leave(fid.FFA_RUN, u.word)
    u.leave(fid.FFA_YIELD)
    v[0].leave(fid.FFA_RUN, u.word)
    u.ask(t)
    with ffabric.refuses("run.target_state"):  # BLOCKED on t: nobody lets it go on
        v[1].must(fid.FFA_RUN, u.word)
    t.answer(u)
    u.leave(fid.FFA_YIELD)
    v[1].leave(fid.FFA_RUN, u.word)
    assert u.has_control


def test_who_waits_after_a_yield_has_not_yielded_any_more(wide):
    v, u = wide.v, wide.u
    v[0].leave(fid.FFA_RUN, u.word)
    u.leave(fid.FFA_YIELD)
    v[0].leave(fid.FFA_RUN, u.word)
    u.wait()
    v[1].leave(fid.FFA_RUN, u.word)
    wakes = [fid.FFA_RUN, u.word, *[0] * 6]
    assert u.x[0:8] == wakes, "not the answer to its yield"


@pytest.mark.parametrize("stops", ["yields", "is preempted"])
def test_who_waited_once_is_not_held_up_when_it_dies(wide, stops):
    v, m, u = wide.v[0], wide.m[0], wide.u
    v.ask(m)
    m.ask(u)
    if stops == "yields":
        u.leave(fid.FFA_YIELD)
    else:
        wide.interrupt()  # the chain unwinds up to the VM
        v.leave(fid.FFA_RUN, m.word)
    assert m.has_control
    m.leave(fid.FFA_ERROR, 0, 1)
    assert v.has_control
    assert v.status is Status.ABORTED
    assert u.state is (State.BLOCKED if stops == "yields" else State.PREEMPTED)
    v.leave(fid.FFA_RUN, u.word)
    assert u.has_control


def test_who_waited_once_is_asked_by_others_then(wide):
    v, m, u = wide.v, wide.m, wide.u
    v[0].ask(m[0])
    m[0].ask(u)
    u.leave(fid.FFA_YIELD)
    m[0].answer(v[0])
    v[0].ask(m[0], 7)
    assert m[0].x[3] == 7
    m[0].leave(fid.FFA_RUN, u.word)
    u.answer(m[0], 8)
    m[0].answer(v[0], 9)
    assert v[0].x[3] == 9


# RX has two producers


@pytest.fixture
def buffers(ffabric):
    """VMs ``v`` and ``w`` and the SP ``s``, with buffers."""
    system = ffabric.boot(sps=["s"], vms=["v", "w"], pes=3)
    found = [system.vm("v").ffa, system.vm("w").ffa, system.sp("s").ffa]
    for each in found:
        each.map_buffers()
    return found


def discover(ffa):
    """Fill RX with what there is to be discovered."""
    return ffa.call(fid.FFA_PARTITION_INFO_GET)


def test_the_hypervisor_fills_no_rx_that_the_spmc_has_filled(ffabric, buffers):
    _, w, s = buffers
    s.send2("w", b"from s", delay_sri=True)
    with ffabric.refuses("rx.busy"):
        w.partition_info()
    assert w.call(fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, COUNT_ONLY)[0] == fid.FFA_SUCCESS_32
    assert w.receive().payload == b"from s"
    assert discover(w)[0] == fid.FFA_SUCCESS_32


def test_the_spmc_fills_no_rx_that_the_hypervisor_has_filled(ffabric, buffers):
    _, w, s = buffers
    assert discover(w)[0] == fid.FFA_SUCCESS_32
    with ffabric.refuses("rx.busy"):
        s.send2("w", b"from s", delay_sri=True)
    w.rx_release()
    s.send2("w", b"from s", delay_sri=True)
    assert w.receive().payload == b"from s"


def test_the_spmc_fills_no_rx_twice(ffabric, buffers):
    _, w, s = buffers
    s.send2("w", b"first", delay_sri=True)
    with ffabric.refuses("rx.busy"):
        s.send2("w", b"second", delay_sri=True)
    assert w.receive().payload == b"first"
    s.send2("w", b"second", delay_sri=True)
    assert w.receive().payload == b"second"


@pytest.mark.parametrize("producer", ["SPMC", "hypervisor"])
def test_a_wait_gives_rx_back_to_whoever_filled_it(ffabric, buffers, producer):
    v, w, s = buffers
    if producer == "SPMC":
        s.send2("w", b"from s", delay_sri=True)
    else:
        discover(w)
    with pytest.raises(Blocked):
        w.call(fid.FFA_MSG_WAIT)
    s.send2("w", b"from s", delay_sri=True)
    with ffabric.refuses("rx.busy"):
        v.send2("w", b"from v")


def test_a_kernel_that_has_acquired_the_rx_of_its_vm(ffabric):
    system = ffabric.boot(sps=["s"], vms=[vm("k", el=2)], hypervisor=False)
    k, s = system.vm("k"), system.sp("s")
    k.ffa.map_buffers()
    s.ffa.map_buffers()
    guest, at = 3, k.ram.allocate(2)
    buffers = build_endpoint_buffers(EndpointBuffers(guest, [(at, 1)], [(at + 4096, 1)]))
    k.memory.write(k.ffa.tx, buffers)
    k.ffa.call(fid.FFA_RXTX_MAP_64)
    assert k.ffa.call(fid.FFA_RX_ACQUIRE, guest)[0] == fid.FFA_SUCCESS_32
    with ffabric.refuses("rx.busy"):
        s.ffa.send2(guest, b"hello", delay_sri=True)
    k.ffa.call(fid.FFA_RX_ACQUIRE, guest)
    assert system.system.refusals["rx.acquire.not_free"] == 1
    k.ffa.call(fid.FFA_RX_RELEASE, guest)
    s.ffa.send2(guest, b"hello", delay_sri=True)
    k.ffa.call(fid.FFA_RX_ACQUIRE, guest)
    assert system.system.refusals["rx.acquire.not_free"] == 2
    k.ffa.call(fid.FFA_RX_RELEASE, guest)
    assert k.ffa.call(fid.FFA_RX_ACQUIRE, guest)[0] == fid.FFA_SUCCESS_32
