"""No VM takes the memory for translation tables from all others by sharing scattered pages."""

import pytest

from ffabric.guests.errors import FfaError
from ffabric.system.description.python import vm
from ffabric.system.spec import MemoryBank

BASE, STEP, COUNT = 0x1_0000_0000, 2 << 20, 5 << 9
BANKS = (
    MemoryBank("secure", 0x600_0000, 0x200_0000, secure=True),
    MemoryBank("normal", 0x8000_0000, 0x2000_0000, secure=False),
    MemoryBank("high", 0x8_8000_0000, 0x1_4000_0000, secure=False),
)


@pytest.fixture
def session(ffabric):
    """A VM with 5 GiB, and another one."""
    large = vm("large", mem_size=5 << 30, load_address=BASE)
    return ffabric.boot(sps=["s"], vms=[large, "small"], memory=BANKS)


def test_one_that_shares_a_page_of_each_block_is_refused_and_others_go_on(session):
    large, small = session.vm("large"), session.vm("small")
    pool = session.system.firmware.hypervisor.pool
    scattered = [(BASE + STEP * n + 0x8000, 1) for n in range(COUNT)]
    with session.refuses("abi.no_memory_for_tables"), pytest.raises(FfaError, match="NO_MEMORY"):
        large.ffa.share("s", ranges=scattered)
    assert pool.in_use < pool.pages // 3
    assert small.ffa.share("s", ipa=small.ram.allocate(1), pages=1) >= 0
    assert session.create_vm(vm("third")).ffa.id_get()
    session.destroy_vm("large")
    session.run()
    assert pool.in_use < pool.pages // 10


def test_a_few_scattered_pages_are_shared(session):
    large = session.vm("large")
    scattered = [(BASE + STEP * n + 0x8000, 1) for n in range(200)]
    handle = large.ffa.share("s", ranges=scattered)
    large.ffa.reclaim(handle)
