"""What a moment of a system tells, and how far a run can be followed to and fro."""

import pytest

from ffabric import Partition, System
from ffabric.abi import hafnium
from ffabric.abi.ffa import features
from ffabric.abi.ffa import functions as fid
from ffabric.session.ffa import Blocked
from ffabric.session.history import MOST_COPIES
from ffabric.session.moment import look
from ffabric.system.description.python import sp, vm


@pytest.fixture
def system(ffabric):
    takes_notifications = [vm(name, notification_support=True) for name in ("v", "w")]
    sps = [sp("s", notification_support=True), "t"]
    return ffabric.boot(sps=sps, vms=takes_notifications, stop_on_crash=False)


def test_a_moment_tells_who_waits_for_whom(system):
    with pytest.raises(Blocked):
        system.sp("t").ffa.direct_request("s", 1)
    moment = look(system.system)
    assert moment["t.0 callee"] == "s.0"
    assert moment["s.0 caller"] == "t.0"
    assert moment["s.0 state"] == "RUNNING under RTM_FFA_DIR_REQ"
    assert "s.0 callee" not in moment


def test_a_moment_tells_which_notifications_are_pending(system):
    v, w = system.vm("v").ffa, system.vm("w").ffa
    v.notification_bind("w", 1 << 3)
    assert "v notifications" not in look(system.system)
    w.notification_set("v", 1 << 3)
    assert look(system.system)["v notifications"] == "all: 0x8"
    v.notification_get()
    assert "v notifications" not in look(system.system)


@pytest.mark.parametrize("sender", ["w", "s"])
def test_a_moment_tells_who_has_rx(ffabric, sender):
    """That of a VM, or that of a kernel without a hypervisor."""
    vms = ["v", "w"] if sender == "w" else ["v"]
    system = ffabric.boot(sps=["s"], vms=vms, hypervisor=sender == "w")
    v = system.vm("v").ffa
    s = (system.vm("w") if sender == "w" else system.sp("s")).ffa
    assert "v rx" not in look(system.system)
    v.map_buffers()
    s.map_buffers()
    assert look(system.system)["v rx"] == "empty"
    s.send2("v", b"a message", delay_sri=sender == "s")
    assert look(system.system)["v rx"] == "full"
    v.rx_release()
    assert look(system.system)["v rx"] == "empty"


def test_a_moment_tells_which_interrupts_are_pending(system):
    s, v = system.sp("s").ffa, system.vm("v").ffa
    npi, _ = s.features(features.NPI)
    s.call(hafnium.HF_INTERRUPT_ENABLE, npi, 1)
    s.notification_bind("v", 1)
    assert "s.0 interrupts" not in look(system.system)
    with pytest.raises(Blocked):  # the normal world runs its receiver
        v.notification_set("s", 1)
    assert look(system.system)["s.0 interrupts"] == str(npi)
    assert s.call(hafnium.HF_INTERRUPT_GET)[0] == npi
    assert "s.0 interrupts" not in look(system.system)


def test_a_moment_tells_what_memory_is_lent_to_whom(system):
    v, s = system.vm("v"), system.sp("s")
    handle = v.ffa.share("s", ipa=v.ram.allocate(2), pages=2)
    named = f"spmc {handle:#x}"
    assert look(system.system)[named] == "share of 2 pages by 0x0001 to 0x8001"
    s.ffa.retrieve(handle, "v")
    assert look(system.system)[named] == "share of 2 pages by 0x0001 to 0x8001 (has it)"
    s.ffa.relinquish(handle)
    v.ffa.reclaim(handle)
    assert named not in look(system.system)


def test_a_moment_tells_what_a_partition_died_of(system):
    t = system.sp("t").ffa
    assert "t fate" not in look(system.system)
    with pytest.raises(Blocked):
        system.vm("v").ffa.direct_request("t", 1)
    with pytest.raises(Blocked):
        t.call(fid.FFA_ERROR, 0, 0xFFFF_FFFF)
    assert look(system.system)["t fate"] == "reported FFA_ERROR -1"


def test_a_run_goes_back_beyond_the_states_that_are_kept():
    with System.with_history(sps=["s"], vms=["v"]) as history:
        history.run()
        begin = history.position
        for _ in range(MOST_COPIES + 3):
            history.call("v", fid.FFA_ID_GET)
        end, last = history.position, history.state()
        history.goto(begin + 1)
        assert history.position == begin + 1
        assert repr(history.goto(end).state()) == repr(last)


def test_the_last_exit_is_told_by_itself():
    with System.with_history(sps=["s"], vms=["v"]) as history:
        history.run()
        history.call("v", fid.FFA_ID_GET)
        assert "FFA_ID_GET" in history.last()
        history.call("v", fid.FFA_SPM_ID_GET)
        assert "FFA_SPM_ID_GET" in history.last()
        assert "FFA_ID_GET" not in history.last().replace("FFA_SPM_ID_GET", "")
        assert f"at exit {history.position}, {history.time} ns" in repr(history)


def test_a_run_goes_on_to_a_call_by_its_number_and_to_a_page_that_is_retrieved():
    class Borrower(Partition):
        name = "borrower"

        async def on_direct_request(self, request, ffa):
            await ffa.retrieve(request.payload[0], request.sender)
            return request.respond()

    class Lender(Partition):
        async def main(self, ffa):
            handle = await ffa.share("borrower", ipa=ffa.ram.allocate())
            await ffa.direct_request("borrower", handle)

    with System.with_history(sps=[Borrower()], vms=[Lender("lender")]) as history:
        history.run()
        stage2 = history.system.system.endpoint("lender").partition.stage2
        page = stage2.pa_of(history.system.vm("lender").ram.base)
        history.goto(0)
        met = history.until(hex(fid.FFA_MEM_SHARE_64))
        assert met is not None
        assert met.event.kind == "call"
        history.goto(0)
        kinds = []
        while (met := history.until(hex(page))) is not None:
            kinds.append(met.event.kind)
        assert kinds == ["share", "retrieve"]
        assert history.end
