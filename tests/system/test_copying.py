"""What can be copied goes on in both; what cannot is named."""

from functools import partial
from types import SimpleNamespace

import pytest

from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.framework import VM_CREATED_ACK
from ffabric.abi.ffa.functions import FFA_MSG_SEND_DIRECT_RESP_64 as RESP
from ffabric.guests.images import load
from ffabric.guests.partition import Partition
from ffabric.session.ffa import Blocked
from ffabric.session.system import System
from ffabric.system.copying import CannotCopy, copy_of
from ffabric.system.description.python import sp, vm
from ffabric.system.vmm import Vmm


class Echo(Partition):
    """Answers what it is asked."""

    async def on_direct_request(self, request, ffa):
        return request.respond(*request.payload)


@pytest.fixture
def system(ffabric):
    """An SP and a VM that are driven."""
    return ffabric.boot(sps=["s"], vms=["v"])


@pytest.fixture
def copy(system):
    with System(copy_of(system.system)) as copy:
        yield copy


def reasons(system):
    """Why a system is not copied."""
    with pytest.raises(CannotCopy) as caught:
        copy_of(system.system)
    return caught.value.reasons


def test_memory_that_is_shared_in_a_copy_is_not_in_the_original(system):
    page = system.vm("v").ram.allocate()
    with System(copy_of(system.system)) as copy:
        handle = copy.vm("v").ffa.share("s", ipa=page)
        got = copy.sp("s").ffa.retrieve(handle, "v")
        copy.sp("s").memory.write(got.ipa, b"copy")
        assert copy.vm("v").memory.read(page, 4) == b"copy"
    assert system.vm("v").memory.read(page, 4) == bytes(4)
    assert system.vm("v").ffa.share("s", ipa=page) == handle


def test_a_transaction_under_way_ends_in_both(system):
    handle = system.vm("v").ffa.lend("s", ipa=system.vm("v").ram.allocate())
    with System(copy_of(system.system)) as copy:
        for each in (system, copy):
            each.sp("s").ffa.retrieve(handle, "v", permissions=0b0110)
            with each.refuses("mem.reclaim.retrieved"):
                each.vm("v").ffa.reclaim(handle)
            each.sp("s").ffa.relinquish(handle)
        for each in (system, copy):
            each.vm("v").ffa.reclaim(handle)


def test_what_is_due_comes_due_in_both(system):
    machine = system.system.machine
    machine.clock.at(machine.clock.now + 1000, partial(machine.gic.set_pending, 8, 0))
    with System(copy_of(system.system)) as copy:
        copied = copy.system.machine
        copied.clock.advance(1000)
        assert not copied.clock.events
        assert len(machine.clock.events) == 1


def test_a_closed_original_leaves_the_copy_whole(ffabric):
    system = ffabric.boot(sps=["s"], vms=["v"])
    with System(copy_of(system.system)) as copy:
        system.close()
        assert copy.vm("v").ffa.partition_info()


def test_a_copy_can_be_copied(copy):
    with System(copy_of(copy.system)) as third:
        assert third.vm("v").ffa.partition_info() == copy.vm("v").ffa.partition_info()


def test_vms_come_and_go_in_both(system, copy):
    for each in (system, copy):
        each.create_vm("w")
        each.run()
        each.destroy_vm("w")
        each.run()
    assert system.system.hypervisor.frames.free_pages == copy.system.hypervisor.frames.free_pages


def test_nobody_listens_to_a_copy(system):
    heard, lines = [], []
    system.system.attach(SimpleNamespace(record=heard.append))
    system.system.listeners.append(lambda *line: lines.append(line))
    with System(copy_of(system.system)) as copy:
        heard.clear()
        copy.vm("v").ffa.console_log("said\n")
        assert not heard
        assert not lines
        system.vm("v").ffa.console_log("said\n")
        assert heard
        assert lines == [("v", "said")]


def test_python_partitions_are_named(ffabric):
    system = ffabric.boot(sps=[Echo("one"), Echo("two"), "driven"], vms=["v"])
    assert reasons(system) == [
        "one is a Python partition: its coroutines cannot be copied",
        "two is a Python partition: its coroutines cannot be copied",
    ]


def test_images_are_named_with_their_engine(ffabric):
    system = ffabric.boot(vms=[vm("image", image=load("client_smc"))], start=False)
    assert reasons(system) == ["image is an image: its engine (unicorn) cannot be copied"]


def test_what_refers_to_the_original_is_named_with_its_deadline(system):
    machine = system.system.machine
    machine.clock.at(77_000_000, partial(machine.post, lambda: machine.gic))
    (why,) = reasons(system)
    assert "test_what_refers_to_the_original" in why
    assert "77000000 ns" in why


def test_a_vmm_is_named(system):
    vmm = Vmm(system.system, "v")
    assert reasons(system) == ["a VMM serves v"]
    vmm.close()
    copy_of(system.system).close()


def test_smcs_of_the_hypervisor_that_are_under_way_are_named(ffabric):
    system = ffabric.boot(sps=[sp("s", vm_availability_messages=1)], vms=["v"])
    s = system.sp("s")
    assert reasons(system) == ["the hypervisor has SMCs under way on PE 0, for itself"]
    to_hypervisor = s.id << 16
    with pytest.raises(Blocked):
        s.ffa.call(RESP, to_hypervisor, FRAMEWORK_MESSAGE | VM_CREATED_ACK)
    with System(copy_of(system.system)) as copy:
        assert copy.vm("v").ffa.partition_info()
