"""The RX of a VM has two producers, its hypervisor and the SPMC; only one of them has it."""

from contextlib import suppress

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import COUNT_ONLY
from ffabric.abi.ffa.version import V1_1, V1_2
from ffabric.guests.errors import FfaError
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm


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
    partition = system.vm("w").endpoint.partition
    partition.allow(partition.calls, 0x10000)
    with ffabric.refuses("message.receiver_version"):
        v.send2("w", b"from v")
    partition.allow(partition.calls, 0x10002)
    v.send2("w", b"from v")
    assert w.receive().payload == b"from v"
    with pytest.raises(FfaError, match="DENIED"):
        w.rx_release()


def test_counting_partitions_needs_no_rx(system):
    v, w = system.vm("v").ffa, system.vm("w").ffa
    v.send2("w", b"from v")
    x = w.call(fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, COUNT_ONLY)
    assert (x[0], x[2]) == (fid.FFA_SUCCESS_32, 3)
    assert w.receive().payload == b"from v"


@pytest.mark.parametrize(("version", "kept"), [(V1_1, False), (V1_2, True)])
def test_a_wait_keeps_rx_only_since_v1_2(ffabric, version, kept):
    system = ffabric.boot(sps=[sp("s", ffa_version=version, messaging_method=7)], vms=["v"])
    s = system.sp("s").ffa
    s.map_buffers()
    s.call(fid.FFA_PARTITION_INFO_GET)
    with suppress(Blocked):
        s.msg_wait(retain_rx=True)
    if kept:
        s.rx_release()
    with ffabric.refuses("rx.release.empty"):
        s.rx_release()


def test_the_spmc_passes_nothing_on_from_vm_to_vm(ffabric):
    kernel = ffabric.boot(sps=["s"], vms=["k"], hypervisor=False).vm("k").ffa
    with ffabric.refuses("message.receiver"):
        kernel.send2(7, b"to a VM")
    with ffabric.refuses("rx.no_buffers"):
        kernel.send2("s", b"to an SP")


def test_a_vm_without_notifications_has_no_bitmaps_at_the_spmc(ffabric):
    system = ffabric.boot(sps=["s"], vms=[vm("v", notification_support=False), "w"])
    assert [*system.system.firmware.spmc.remote_notifications] == [system.vm("w").id]
    with ffabric.refuses("notification.bind.disabled"):
        system.vm("v").ffa.notification_bind("s", 1)
    system.vm("w").ffa.notification_bind("s", 1)
    system.system.destroy_vm("v")
    system.run()
    assert not any("bitmap" in each for each in system.system.refusals)


@pytest.mark.parametrize("personality", ["spec", "hafnium"])
def test_hafnium_keeps_an_sps_message_until_the_vm_has_got_its_notification(ffabric, personality):
    system = ffabric.boot(sps=["s"], vms=["v"], personality=personality)
    v, s = system.vm("v").ffa, system.sp("s").ffa
    for each in (v, s):
        each.map_buffers()
    s.send2("v", b"from s", delay_sri=True)
    if personality == "hafnium":
        with ffabric.refuses("rx.release.unseen"):
            v.rx_release()
        v.notification_get()
    v.rx_release()
    s.send2("v", b"another one", delay_sri=True)
    v.notification_get()
    assert v.receive().payload == b"another one"
