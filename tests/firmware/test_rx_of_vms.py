"""The RX of a VM has two producers, its hypervisor and the SPMC; only one of them has it."""

import pytest

from ffabric.guests.ffa import FfaError


@pytest.fixture
def system(ffabric):
    system = ffabric.boot(sps=["s"], vms=["v", "w"], pes=3)
    for each in (system.vm("v"), system.vm("w"), system.sp("s")):
        each.ffa.map_buffers()
    return system


def test_an_sp_does_not_overwrite_what_a_vm_has_sent(ffabric, system):
    v, w, s = system.vm("v").ffa, system.vm("w").ffa, system.sp("s").ffa
    v.send2("w", b"from v")
    with ffabric.refuses("rx.busy"):
        s.send2("w", b"from s", delay_sri=True)
    assert w.receive().payload == b"from v"
    s.send2("w", b"from s", delay_sri=True)
    assert w.receive().payload == b"from s"


def test_a_vm_does_not_overwrite_what_an_sp_has_sent(ffabric, system):
    v, w, s = system.vm("v").ffa, system.vm("w").ffa, system.sp("s").ffa
    s.send2("w", b"from s", delay_sri=True)
    with ffabric.refuses("rx.busy"):
        v.send2("w", b"from v")
    assert w.receive().payload == b"from s"
    v.send2("w", b"from v")
    assert w.receive().payload == b"from v"


def test_a_message_that_is_refused_leaves_rx_free(ffabric, system):
    v, w = system.vm("v").ffa, system.vm("w").ffa
    system.vm("w").endpoint.partition.version = 0x10000
    with ffabric.refuses("message.receiver_version"):
        v.send2("w", b"from v")
    system.vm("w").endpoint.partition.version = 0x10002
    v.send2("w", b"from v")
    assert w.receive().payload == b"from v"
    with pytest.raises(FfaError, match="DENIED"):
        w.rx_release()
