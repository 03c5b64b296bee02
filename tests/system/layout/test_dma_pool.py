"""A VM's DMA pool: memory that has a bank, and so a file, to itself."""

import pytest

from ffabric.abi.words import PAGE
from ffabric.system.description.python import vm
from ffabric.system.layout.defaults import DMA_POOL
from ffabric.system.manifest.manifest import MemoryRegion

IPA = 0x20_0000_0000
RW_NON_SECURE = 0b1011


def region(name, pages=4):
    return MemoryRegion(name=name, pages=pages, attributes=RW_NON_SECURE, base_address=IPA)


@pytest.mark.parametrize(("name", "alone"), [(DMA_POOL, True), ("buffers", False)])
def test_a_pool_has_a_bank_to_itself(ffabric, name, alone):
    system = ffabric.boot(sps=["sp"], vms=[vm(name="vm", memory_regions=(region(name),))])
    memory = system.vm("vm").memory
    memory.write(IPA + 5, b"pool")
    ((bank, offset, size),) = memory.extents(IPA, 4 * PAGE, write=True)
    assert size == 4 * PAGE
    assert (bank.size == size) is alone
    assert bank.data[offset + 5 : offset + 9] == b"pool"


def test_each_vm_has_its_own(ffabric):
    vms = [vm(name=name, memory_regions=(region(DMA_POOL),)) for name in ("alice", "bob")]
    system = ffabric.boot(sps=["sp"], vms=vms)
    banks = [
        system.vm(name).memory.extents(IPA, PAGE, write=True)[0][0] for name in ("alice", "bob")
    ]
    assert banks[0] is not banks[1]


def test_software_finds_its_regions(ffabric):
    system = ffabric.boot(sps=["sp"], vms=[vm(name="vm", memory_regions=(region(DMA_POOL),))])
    vcpu = system.vm("vm").ffa.vcpu
    assert vcpu.region(DMA_POOL) == (IPA, 4 * PAGE)
    with pytest.raises(KeyError):
        vcpu.region("ram")


def test_a_pool_can_be_shared(ffabric):
    """Its pages are the VM's as all others are."""
    system = ffabric.boot(sps=["sp"], vms=[vm(name="vm", memory_regions=(region(DMA_POOL),))])
    client = system.vm("vm").ffa
    handle = client.share("sp", ipa=IPA, pages=4)
    system.sp("sp").ffa.retrieve(handle, client.endpoint)
    system.sp("sp").ffa.relinquish(handle)
    client.reclaim(handle)
