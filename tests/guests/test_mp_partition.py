"""A Python partition with several vCPUs: they start by themselves and share its buffers."""

import pytest

from ffabric.abi import psci
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

LINE = 40


class Counter(Partition):
    """Says on which PE it answers, and uses the buffers of the partition."""

    manifest = {"execution_ctx_count": 4}  # noqa: RUF012

    async def on_direct_request(self, request, ffa):
        found = await ffa.partition_info()
        return request.respond(ffa.vcpu.index, len(found))


def test_each_pe_has_a_vcpu_of_it(ffabric):
    system = ffabric.boot(sps=[Counter()], vms=[vm("v", vcpus=4)], pes=4)
    v = system.vm("v")
    for index, pe in enumerate(system.system.machine.pes):
        if index:
            v.ffa.call(psci.CPU_ON_64, pe.mpidr, 0x4000_0000, 0)
        assert v.vcpu(index).direct_request("counter").payload[:2] == (index, 1)


def test_a_second_pair_of_buffers_is_refused_and_the_first_stays(ffabric):
    system = ffabric.boot(sps=["s"], pes=1)
    s = system.sp("s").ffa
    tx, rx = s.map_buffers()
    with pytest.raises(FfaError, match="DENIED"):
        s.map_buffers()
    assert (s.tx, s.rx) == (tx, rx)
    assert len(s.partition_info()) == 1
    s.unmap_buffers()
    assert s.tx == 0
    assert s.map_buffers() == (tx, rx)


def test_a_driven_sp_has_all_its_vcpus(ffabric):
    system = ffabric.boot(sps=[sp("s", vcpus=3)], vms=["v"], pes=3)
    s = system.sp("s")
    assert [s.vcpu(index).id_get() for index in range(3)] == [0x8001] * 3


class Rejected(Partition):
    async def on_direct_request(self, request, ffa):
        return [0xC4000070, 0, 0]


def test_an_answer_that_is_refused_is_a_crash(ffabric):
    system = ffabric.boot(sps=[Rejected()], vms=["v"])
    with pytest.raises(Exception, match="FFA_MSG_SEND_DIRECT_RESP_64: INVALID_PARAMETERS"):
        system.vm("v").ffa.direct_request("rejected")


@pytest.mark.parametrize("vcpu", [0, 1])
def test_a_requester_that_was_interrupted_goes_on_with_a_receiver_of_one_vcpu(ffabric, vcpu):
    """FFA_INTERRUPT is for the requester itself then, and names nobody."""
    heard = []

    class Asker(Partition):
        manifest = {"execution_ctx_count": 2}  # noqa: RUF012

        async def on_boot(self, ffa):
            await self.enable_interrupt(ffa, LINE)

        async def on_direct_request(self, request, ffa):
            answer = await ffa.direct_request("up", *request.payload)
            return request.respond(*answer.payload)

        async def on_device_interrupt(self, intid, ffa):
            heard.append(ffa.vcpu.index)

    class Up(Partition):
        async def on_direct_request(self, request, ffa):
            system.system.machine.gic.set_pending(LINE)
            await ffa.id_get()
            return request.respond(request.payload[0] + 1)

    device = DeviceRegion(
        name="line",
        base_address=0x1C09_0000,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(LINE, 0x100),),
    )
    system = ffabric.boot(
        sps=[sp(Asker(), device_regions=(device,)), Up()], vms=[vm("v", vcpus=2)], pes=2
    )
    v = system.vm("v")
    if vcpu:
        v.ffa.call(psci.CPU_ON_64, system.system.machine.pes[1].mpidr, 0x4000_0000, 0)
        system.system.machine.gic.configure(LINE, target=1)
    assert v.vcpu(vcpu).direct_request("asker", 1).payload[0] == 2
    assert heard == [vcpu]
