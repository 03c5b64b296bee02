"""VMs with several vCPUs in QEMU, and PEs that several of them share, with the real QEMU."""

import shutil

import pytest
from puppets import CODE, RAM, UART, Puppets, map_buffers, send

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.guests.partition import Partition
from ffabric.lab.bench.images import caller
from ffabric.machine.translation.descriptors import VALID
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm
from ffabric.system.spec import KernelBoot
from processes_at_hand import run_until

PAGE, FOREIGN = RAM + 0x10_0000, RAM + 0x14_0000
COUNTERS = RAM + 0x18_0000
STOP = RAM + 0x1A_0000


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


def start_all(cpus):
    """Let the first CPU start the others, each at the start of the image."""
    for cpu in cpus[1:]:
        assert cpus[0].call(psci.CPU_ON_64, cpu.index, RAM, 0)[0] == psci.Return.SUCCESS
        cpu.wait()


def counter(cpu):
    return COUNTERS + cpu.index * 0x1000


def count(cpu):
    return cpu.word(counter(cpu))


def advances(cpu):
    """Run until it has counted on."""
    before = count(cpu)
    run_until(cpu.system, lambda: count(cpu) > before)
    return True


@pytest.mark.parametrize("vcpus", [2, 4, 8])
def test_all_vcpus_start_and_call_and_are_told_apart(vcpus):
    with Puppets(vcpus) as puppets:
        (cpus,) = puppets.cpus
        start_all(cpus)
        for cpu in cpus:
            cpu.do("store", counter(cpu), 100 + cpu.index)
        assert [count(cpu) for cpu in cpus] == [100 + n for n in range(vcpus)]
        assert all(cpu.call(fid.FFA_ID_GET)[2] == cpu.endpoint.id for cpu in cpus)


@pytest.mark.parametrize("vcpus", [2, 4])
def test_a_page_vanishes_under_cpus_that_use_it(vcpus):
    """When the call that lends it is over none of them reaches it any more."""
    with Puppets(vcpus) as puppets:
        (cpus,) = puppets.cpus
        start_all(cpus)
        first, *others = cpus
        map_buffers(first)
        for _ in range(5):
            first.do("store", PAGE, 1)
            first.do("store", STOP, 0)
            for cpu in others:
                cpu.begin("spin", PAGE, counter(cpu), STOP)
            assert all(advances(cpu) for cpu in others)
            answer = send(first, fid.FFA_MEM_LEND_64, [(PAGE, 1)], [0x8001])
            assert answer[0] & MASK32 == fid.FFA_SUCCESS_32
            assert all(cpu.wait().aborted for cpu in others)
            handle = answer[2:4]
            assert first.call(fid.FFA_MEM_RECLAIM, *handle, 0)[0] == fid.FFA_SUCCESS_32
            assert first.do("load", PAGE).value == 1


def test_a_page_vanishes_under_a_cpu_that_sleeps_and_one_that_is_off():
    with Puppets(3) as puppets:
        (cpus,) = puppets.cpus
        start_all(cpus[:2])
        first, second = cpus[:2]
        map_buffers(first)
        second.begin("sleep", STOP, counter(second))
        assert send(first, fid.FFA_MEM_LEND_64, [(PAGE, 1)], [0x8001])[0] & MASK32 == (
            fid.FFA_SUCCESS_32
        )
        assert first.do("load", PAGE).aborted


def test_a_cpu_that_prints_does_not_keep_the_others_from_dropping_a_page():
    """The UART waits until its console is read, and keeps the doorbell's interrupt waiting."""
    with Puppets(2) as puppets:
        (cpus,) = puppets.cpus
        start_all(cpus)
        first, second = cpus
        second.begin("print", ord("."), UART, 2_000_000)
        first.do("nothing")
        stage2 = first.endpoint.partition.stage2
        for _ in range(300):
            stage2.update(PAGE, 1, VALID, 0)
            stage2.update(PAGE, 1, 0, VALID)
        assert not first.endpoint.guest.ended


def test_code_that_other_cpus_have_run_is_forgotten_with_its_page():
    with Puppets(2) as puppets:
        (cpus,) = puppets.cpus
        start_all(cpus)
        first = cpus[0]
        map_buffers(first)
        for n in (1, 2, 3):
            first.write(PAGE, CODE[n])
            assert [cpu.do("execute", PAGE).value for cpu in cpus] == [n, n]
            answer = send(first, fid.FFA_MEM_LEND_64, [(PAGE, 1)], [0x8001])
            assert [cpu.do("execute", PAGE).aborted for cpu in cpus] == [True, True]
            first.call(fid.FFA_MEM_RECLAIM, *answer[2:4], 0)


def test_vms_share_a_pe_though_none_of_them_makes_a_call():
    with Puppets(1, 1, pes=1) as puppets:
        (first,), (second,) = puppets.cpus
        first.begin("count", 0, counter(first), STOP)
        assert second.do("store", counter(second), 7).exceptions == 0
        second.begin("count", 0, counter(second), STOP)
        assert advances(first)
        assert advances(second)
        assert advances(first)
        for cpu in (first, second):
            cpu.write(STOP, b"\1")
        assert not first.wait().exceptions
        assert not second.wait().exceptions


def test_one_that_sleeps_gives_its_pe_away():
    with Puppets(1, 1, pes=1) as puppets:
        (first,), (second,) = puppets.cpus
        first.begin("sleep", STOP, counter(first))
        for n in range(20):
            assert second.do("store", counter(second), n).exceptions == 0


def test_one_that_sleeps_wakes_for_its_interrupt_though_others_have_the_pe():
    with Puppets(1, 1, pes=1) as puppets:
        (first,), (second,) = puppets.cpus
        first.begin("interrupt", 1 << 8)
        second.begin("count", 0, counter(second), STOP)
        assert advances(second)
        first.endpoint.partition.gic.set_pending(8, 0)
        assert first.wait().value == 8
        second.write(STOP, b"\1")
        second.wait()


def test_vcpus_of_a_vm_share_pes_with_another_vm():
    with Puppets(2, 2, pes=2) as puppets:
        for cpus in puppets.cpus:
            start_all(cpus)
        everybody = [cpu for cpus in puppets.cpus for cpu in cpus]
        for cpu in everybody:
            cpu.begin("count", 0, counter(cpu), STOP)
        assert all(advances(cpu) for cpu in everybody)
        for cpus in puppets.cpus:
            cpus[0].write(STOP, b"\1")
        assert not any(cpu.wait().exceptions for cpu in everybody)


def test_a_vm_is_on_a_pe_that_the_machine_of_its_qemu_has_not():
    others = [Partition(f"other{n}") for n in range(17)]
    guest = vm("guest", image=caller((fid.FFA_ID_GET,)), engine="qemu", kernel=KernelBoot())
    with boot(describe(vms=[*others, guest])) as system:
        ctx = system.endpoints["guest"].partition.contexts[0]
        run_until(system, lambda: len(ctx.runner.functions) > 20)
        assert ctx.pe.index > 15
        assert set(ctx.runner.functions) == {fid.FFA_ID_GET}
        assert ctx.x[2] == system.endpoints["guest"].id
