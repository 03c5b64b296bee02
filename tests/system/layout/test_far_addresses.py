"""Addresses of up to 48 bits: before stage 2 and behind it, in both worlds."""

import pytest

from ffabric.guests.partition import Partition
from ffabric.machine.cpu_features import ADDRESS_BITS
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, MemoryRegion
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import MemoryBank

FAR = 0x8800_8000_0000
NS = 8
CODE = b"\x00\x00\x00\x14"


def region(base, attributes=3, pages=2):
    """A memory region of a manifest."""
    return MemoryRegion(name="far", base_address=base, pages=pages, attributes=attributes)


BANKS = (
    MemoryBank("ns", 0x8000_0000, 0x1000_0000, secure=False),
    MemoryBank("s", 0x700_0000, 0x100_0000, secure=True),
    MemoryBank("tables", 0x1000_0000, 0x200_0000, secure=True),
    MemoryBank("far ns", FAR, 0x100_0000, secure=False),
    MemoryBank("far s", FAR + (1 << 40), 0x100_0000, secure=True),
)


class Writer(Partition):
    """Writes at the end of its region."""

    async def on_direct_request(self, request, ffa):
        base, size = ffa.vcpu.region("far")
        ffa.vcpu.memory.write64(base + size - 8, request.payload[0])
        return request.respond(ffa.vcpu.memory.read64(base + size - 8))


@pytest.mark.parametrize("attributes", [3, 3 | NS])
def test_an_sp_has_memory_far_away(ffabric, attributes):
    base = FAR + 0x1000 if attributes & NS else FAR + (1 << 40)
    session = ffabric.boot(
        sps=[sp(Writer(), memory_regions=(region(base, attributes),))], vms=["v"], memory=BANKS
    )
    assert session.vm("v").ffa.direct_request("writer", 42).payload[0] == 42


def test_a_vm_with_memory_far_away_shares_it(ffabric):
    class Reader(Partition):
        async def on_direct_request(self, request, ffa):
            got = await ffa.retrieve(request.payload[0], request.sender)
            return request.respond(ffa.vcpu.memory.read64(got.ipa))

    session = ffabric.boot(
        sps=[Reader()], vms=[vm("v", memory_regions=(region(FAR + 0x10_0000),))], memory=BANKS
    )
    v = session.vm("v")
    v.memory.write64(FAR + 0x10_1000, 77)
    handle = v.ffa.share("reader", ipa=FAR + 0x10_1000, pages=1)
    assert v.ffa.direct_request("reader", handle).payload[0] == 77


def test_a_device_region_far_away_is_mapped(ffabric):
    device = DeviceRegion(name="d", base_address=FAR + (2 << 40), pages=1, attributes=3)
    session = ffabric.boot(sps=[sp("a", device_regions=(device,))])
    stage2 = session.system.endpoint("a").partition.stage2
    assert stage2.pa_of(FAR + (2 << 40)) == FAR + (2 << 40)


@pytest.mark.parametrize("cpu", ["max", "cortex-a53"])
def test_an_image_has_the_addresses_of_its_processor(cpu):
    edge = 1 << ADDRESS_BITS[cpu]
    banks = (*BANKS[:3], MemoryBank("far", edge - 0x1000, 0x2000, secure=True))
    within = sp("a", image=CODE, memory_regions=(region(edge - 0x1000, pages=1),))
    describe(sps=[within], memory=banks, cpu=cpu)
    beyond = sp("a", image=CODE, memory_regions=(region(edge - 0x1000, pages=2),))
    why = f"the processor '{cpu}' has {ADDRESS_BITS[cpu]} bits"
    with pytest.raises(SystemErrors, match=f"a: far: .* its addresses end at {edge:#x}: {why}"):
        describe(sps=[beyond], memory=banks, cpu=cpu)
