"""FFA_MEM_PERM_GET and FFA_MEM_PERM_SET: every rule, and what they change."""

from contextlib import suppress

import pytest
from memory_sides import NX, RW, Side

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.memory_words import (
    MEM_PERM_NO_ACCESS,
    MEM_PERM_RO,
    MEM_PERM_RW,
    MEM_PERM_XN,
)
from ffabric.abi.ffa.version import V1_2, V1_3
from ffabric.abi.words import PAGE
from ffabric.machine.translation.descriptors import S2AP_R, S2AP_W, XN
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import DeviceRegion, ExceptionLevel, RegionAttributes

UART = 0x1C0B_0000
NX_RW, NX_RO, RX = MEM_PERM_RW | MEM_PERM_XN, MEM_PERM_RO | MEM_PERM_XN, MEM_PERM_RO
BITS = {
    NX_RW: S2AP_R | S2AP_W | XN,
    NX_RO: S2AP_R | XN,
    RX: S2AP_R,
    MEM_PERM_NO_ACCESS | MEM_PERM_XN: XN,
    MEM_PERM_NO_ACCESS: 0,
}
GETS = [fid.FFA_MEM_PERM_GET_32, fid.FFA_MEM_PERM_GET_64]
SETS = [fid.FFA_MEM_PERM_SET_32, fid.FFA_MEM_PERM_SET_64]


def boot(ffabric, **options):
    uart = DeviceRegion(
        name="uart",
        base_address=UART,
        pages=1,
        attributes=RegionAttributes.READ | RegionAttributes.WRITE,
    )
    el0 = sp("el0", exception_level=ExceptionLevel.S_EL0, device_regions=(uart,), **options)
    return ffabric.boot(sps=["el1", el0], initialising=["el1", "el0"])


def finish(side):
    """End the initialisation of an SP: the next one has the PE."""
    with suppress(Blocked):
        side.ffa.msg_wait()


def start(system):
    """The SP at S-EL1 has initialised, the one at S-EL0 does so."""
    finish(system.sp("el1"))
    return Side(system.sp("el0"))


@pytest.fixture
def el0(ffabric):
    return start(boot(ffabric))


@pytest.mark.parametrize("wanted", BITS)
@pytest.mark.parametrize("function", SETS)
def test_an_s_el0_partition_sets_its_permissions(el0, wanted, function):
    at = el0.pages(3)
    el0.call(function, at + PAGE, 1, wanted)
    assert el0.descriptor(at + PAGE) & (S2AP_R | S2AP_W | XN) == BITS[wanted]
    assert el0.ffa.mem_perm_get(at + PAGE) == (wanted, 1)
    assert el0.reaches(at + PAGE) == bool(BITS[wanted] & S2AP_R)
    assert el0.reaches(at + PAGE, write=True) == bool(BITS[wanted] & S2AP_W)
    assert el0.reaches(at, write=True)
    assert el0.reaches(at + 2 * PAGE, write=True)


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("function", GETS)
def test_since_v1_3_the_answer_is_of_several_pages(ffabric, version, function):
    el0 = start(boot(ffabric, ffa_version=version))
    at = el0.pages(8)
    el0.ffa.mem_perm_set(at, 8, NX_RO)
    el0.ffa.mem_perm_set(at + 5 * PAGE, 1, RX)
    answers = [el0.call(function, at, more)[3] for more in (0, 1, 4, 5, 100, 0xFFFF_FFFF)]
    assert answers == ([0, 1, 4, 4, 4, 4] if version == V1_3 else [0] * 6)
    assert el0.call(function, at + 5 * PAGE, 7)[2:4] == (RX, 0)


@pytest.mark.parametrize("function", GETS + SETS)
def test_others_have_tables_of_their_own(ffabric, function):
    el1 = Side(boot(ffabric).sp("el1"))
    with ffabric.refuses("mem.perm.el0"):
        el1.call(function, el1.pages(), 1, NX_RO)


@pytest.mark.parametrize("function", GETS + SETS)
def test_permissions_are_final_when_the_partition_has_initialised(ffabric, el0, function):
    at = el0.pages()
    el0.call(function, at, 1, NX_RO)
    before = el0.descriptor(at)
    finish(el0)
    with ffabric.refuses("mem.perm.initialised"):
        el0.call(function, at, 1, RX)
    assert el0.descriptor(at) == before


@pytest.mark.parametrize("function", GETS + SETS)
@pytest.mark.parametrize("address", [1, 0x800, 0xFFF])
def test_the_address_is_of_a_page(ffabric, el0, function, address):
    at = el0.pages()
    with ffabric.refuses("mem.perm.address"):
        el0.call(function, at + address, 1, NX_RO)
    el0.call(function, at, 1, NX_RO)


@pytest.mark.parametrize("function", [GETS[1], SETS[1]])
@pytest.mark.parametrize("address", [1 << 40, 1 << 63, (1 << 64) - PAGE])
def test_the_address_is_in_the_address_space(ffabric, el0, function, address):
    with ffabric.refuses("mem.perm.address"):
        el0.call(function, address, 1, NX_RO)


@pytest.mark.parametrize("function", SETS)
@pytest.mark.parametrize("count", [0, 0xFFFF_FFFF])
def test_the_pages_are_some_and_end_in_the_address_space(ffabric, el0, function, count):
    with ffabric.refuses("mem.perm.page_count"):
        el0.call(function, el0.pages(), count, NX_RO)


def test_the_last_page_of_the_address_space_is_one(ffabric, el0):
    last, at = (1 << 40) - PAGE, el0.pages()
    stage2 = el0.handle.endpoint.partition.stage2
    stage2.map(last, stage2.pa_of(at), 1, stage2.runs(at, 1)[0][3])
    with ffabric.refuses("mem.perm.page_count"):
        el0.call(SETS[1], last, 2, NX_RO)
    el0.call(SETS[1], last, 1, NX_RO)
    assert el0.ffa.mem_perm_get(last) == (NX_RO, 1)


@pytest.mark.parametrize("function", SETS)
@pytest.mark.parametrize("wanted", [0b010, 0b110, 1 << 3 | NX_RO, 1 << 31 | NX_RO])
def test_nothing_reserved_is_asked_for(ffabric, el0, function, wanted):
    at = el0.pages()
    before = el0.descriptor(at)
    with ffabric.refuses("mem.perm.reserved"):
        el0.call(function, at, 1, wanted)
    assert el0.descriptor(at) == before


@pytest.mark.parametrize("function", SETS)
def test_nothing_is_writable_and_executable(ffabric, el0, function):
    with ffabric.refuses("mem.perm.write_execute"):
        el0.call(function, el0.pages(), 1, MEM_PERM_RW)


def test_a_device_is_not_executable(ffabric, el0):
    with ffabric.refuses("mem.perm.execute_device"):
        el0.ffa.mem_perm_set(UART, 1, RX)
    el0.ffa.mem_perm_set(UART, 1, NX_RO)


@pytest.mark.parametrize("function", SETS)
def test_the_pages_are_the_callers_own(ffabric, el0, function):
    ram = el0.handle.ram
    at = el0.pages()
    for ipa, pages in (
        (0x1000, 1),  # nothing there
        (ram.base + ram.size - PAGE, 2),  # the second page is not there
        (el0.ffa.tx, 1),  # shared with the partition manager
        (at - PAGE, 2),  # RX and the page behind it
    ):
        with ffabric.refuses("mem.perm.not_owned"):
            el0.call(function, ipa, pages, NX_RO)
    assert el0.descriptor(at) & S2AP_W
    el0.call(function, at, 1, NX_RO)


@pytest.mark.parametrize("function", GETS)
def test_only_what_is_mapped_has_permissions(ffabric, el0, function):
    with ffabric.refuses("mem.perm.not_owned"):
        el0.call(function, 0x1000)
    assert el0.call(function, el0.ffa.tx)[0] == fid.FFA_SUCCESS_32


def test_memory_that_is_away_keeps_its_permissions(ffabric):
    system = boot(ffabric)
    el0 = start(system)
    at = el0.pages()
    handle = el0.give("lend", [system.sp("el1")], [(at, 1)])
    with ffabric.refuses("mem.perm.not_owned"):
        el0.ffa.mem_perm_set(at, 1, NX_RO)
    with ffabric.refuses("mem.perm.not_owned"):
        el0.ffa.mem_perm_get(at)
    el0.reclaim(handle)
    el0.ffa.mem_perm_set(at, 1, NX_RO)


def test_borrowed_memory_keeps_its_permissions(ffabric):
    system = boot(ffabric)
    el1 = Side(system.sp("el1"))
    handle = el1.give("lend", [system.sp("el0")], [(el1.pages(), 1)])
    el0 = start(system)
    at = el0.retrieve(handle, el1, rights=RW | NX).constituents[0][0]
    with ffabric.refuses("mem.perm.not_owned"):
        el0.ffa.mem_perm_set(at, 1, NX_RO)
    assert el0.ffa.mem_perm_get(at) == (NX_RW, 1)
