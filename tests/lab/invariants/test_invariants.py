"""Invariants as instruments: each notices the bug that breaks it, and nothing else."""

import pytest

from ffabric import Partition, boot
from ffabric.lab.faults.catalogue import find
from ffabric.lab.invariants.invariants import NAMES
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.testing import Blocked, Invariants


def scene(*, pes=1):
    """A system that is judged, with a VM that schedules and one beside it."""
    system = boot(sps=["sp", "guest"], vms=["vm", "other"], start=False, pes=pes)
    judged = Invariants(system)
    system.run()
    return system, judged


def share(system):
    vm, sp = system.vm("vm"), system.sp("sp")
    handle = vm.ffa.share("sp", ipa=vm.ram.allocate(1))
    sp.ffa.retrieve(handle, "vm")
    sp.ffa.relinquish(handle)
    vm.ffa.reclaim(handle)


def notify(system):
    vm, other = system.vm("vm").ffa, system.vm("other").ffa
    vm.id_get(), other.id_get()
    vm.notification_bind("other", 3)
    for _ in range(2):
        other.notification_set("vm", 1)
    other.notification_set("vm", 2)
    vm.features(0x8400_0063)
    return vm.notification_get()


def send(system):
    vm, other = system.vm("vm").ffa, system.vm("other").ffa
    vm.id_get(), other.id_get()
    other.map_buffers()
    vm.send2("other", b"hello")
    vm.features(0x8400_0063)
    other.receive()


def test_what_is_right_is_never_complained_of():
    system, judged = scene()
    with system:
        share(system)
        notify(system)
        send(system)
        judged.check_settled()


def test_a_notification_that_is_lost_is_noticed():
    system, _ = scene()
    lost = "does not get the notifications 0x1"
    with system, find("haf_fc50ef7d").on(), pytest.raises(Discrepancy, match=lost):
        notify(system)


def test_a_page_that_is_given_twice_is_noticed():
    system, _ = scene()
    with system, find("optee_os_5803").on():
        vm = system.vm("vm")
        ipa = vm.ram.allocate(1)
        vm.ffa.share("sp", ipa=ipa)
        with pytest.raises(Discrepancy, match="not its own"):
            vm.ffa.share("guest", ipa=ipa)


def test_a_vcpu_on_two_pes_is_noticed_at_any_time():
    system = boot(sps=["sp"], vms=["vm"], pes=2)
    with system:
        judged = Invariants(system, "contexts")
        judged.check()
        first, second = system.system.machine.pes
        second.current = first.current or system.system.endpoint("vm").partition.contexts[0]
        first.current = second.current
        with pytest.raises(Discrepancy, match="runs on 2 PEs"):
            judged.check()


@pytest.mark.parametrize("hypervisor", [True, False])
def test_an_rx_that_nobody_has_filled_or_given_back_is_noticed(hypervisor):
    """That of a VM, and that of a kernel without a hypervisor."""
    with boot(sps=[], vms=["vm"], hypervisor=hypervisor) as system:
        system.vm("vm").ffa.map_buffers()
        judged = Invariants(system, "buffers")
        judged.check()
        inside = system.system
        box = inside.firmware.mailbox_of(inside.endpoint("vm").partition)
        assert box is not None
        box.full = True
        with pytest.raises(Discrepancy, match="an RX that no call has filled"):
            judged.check()
        box.full = False
        with pytest.raises(Discrepancy, match="the RX of vm was taken from it"):
            judged.check()


def test_a_partition_that_repeats_a_refused_call_for_ever_makes_no_progress():
    class Stubborn(Partition):
        async def main(self, ffa):
            while True:
                await ffa.call(0x8400_0077, 1)

    with boot(sps=[], vms=[Stubborn()], start=False) as system:
        Invariants(system, "progress")
        with pytest.raises(Discrepancy, match="makes the refused call 0x84000077 again and again"):
            system.run()


def test_secure_memory_in_a_vm_is_noticed():
    system = boot(sps=["sp"], vms=["vm"])
    with system:
        judged = Invariants(system, "isolation")
        judged.check()
        inside = system.system
        sp, vm = (inside.endpoint(name).partition.stage2 for name in ("sp", "vm"))
        base = inside.endpoint("sp").spec.memory[0]
        attrs = vm.runs(inside.endpoint("vm").spec.memory[0].ipa, 1)[0][3]
        vm.map(0x7000_0000, sp.pa_of(base.ipa), 1, attrs)
        with pytest.raises(Discrepancy, match="vm, a VM, reaches secure memory"):
            judged.check()


def test_an_unknown_name_is_told():
    with boot(sps=[], vms=["vm"]) as system, pytest.raises(ValueError, match="did you mean 'buff"):
        Invariants(system, "bufers")


def test_a_trace_hears_everything_still(ffabric):
    from ffabric import Trace

    system = ffabric.boot(sps=[], vms=["vm"], start=False)
    trace = Trace(system)
    Invariants(system)
    system.run()
    system.vm("vm").ffa.id_get()
    assert "FFA_ID_GET" in trace.text()


def test_all_are_named_in_the_documentation_of_the_class():
    assert all(f"``{name}``" in (Invariants.__doc__ or "") for name in NAMES)


def test_blocked_calls_are_no_discrepancy():
    system, judged = scene()
    with system:
        sp = system.sp("sp").ffa
        with pytest.raises(Blocked):
            sp.msg_wait()
        with pytest.raises(Blocked):
            system.vm("vm").ffa.direct_request("sp", 1)
        judged.check()
