"""What the hypervisor does about the memory of VMs: rollback, donations, what dead VMs leave."""

import pytest
from memory_sides import KINDS, NX, RW, World, exhaust

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import PAGE, halves
from ffabric.guests.errors import FfaError, status_of
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import AbortAction


def end(side):
    """The VM powers itself off."""
    with pytest.raises(Blocked):
        side.ffa.call(psci.SYSTEM_OFF)


@pytest.fixture
def mixed(ffabric):
    """VMs ``a`` and ``b``, and the SP ``c``."""
    return World(ffabric, "vm-sp", sps=["c"], vms=["a", "b"], stop_on_crash=False)


@pytest.fixture
def frames(mixed):
    """The free page frames of the hypervisor."""
    return mixed.session.system.firmware.hypervisor.frames


def usual_rights(kind):
    return RW if kind == "share" else RW | NX


def test_a_malformed_request_is_refused_and_rx_stays_usable(ffabric, mixed):
    a, b = mixed.a, mixed.b
    handle = a.give("share", [b], [(a.pages(), 1)])
    data = abi.build_transaction(b.request(handle, a), b.version)
    b.put(b"\xff" * len(data))
    for _ in range(2):
        with ffabric.refuses("abi.malformed_descriptor"):
            b.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
    b.retrieve(handle, a)


def test_no_table_page_is_left_for_a_vm_and_rx_stays_usable(ffabric, mixed):
    a, b = mixed.a, mixed.b
    handle = a.give("share", [b], [(a.pages(), 1)])
    pool = mixed.session.system.firmware.hypervisor.pool
    taken = exhaust(pool)
    for _ in range(2):
        with ffabric.refuses("abi.no_memory_for_tables"):
            b.retrieve(handle, a)
    for pa in taken:
        pool.free(pa)
    b.retrieve(handle, a)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_spmc_refuses_stays_as_it_was(ffabric, mixed, kind):
    a, c = mixed.a, mixed.c
    at = a.handle.ram.base + a.handle.ram.size - 2 * PAGE
    a.memory.write(at, b"kept")
    before = a.handle.endpoint.partition.stage2.runs(at, 2)
    flags = 0 if kind == "share" else mem.FLAG_CLEAR
    pool = mixed.session.system.firmware.spmc.pool
    taken = exhaust(pool)
    with ffabric.refuses("abi.no_memory_for_tables"):
        a.give(kind, [c], [(at, 1)], flags=flags)
    assert a.memory.read(at, 4) == b"kept"
    assert a.handle.endpoint.partition.stage2.runs(at, 2) == before
    assert not mixed.session.system.firmware.hypervisor.regions.live
    for pa in taken:
        pool.free(pa)
    a.reclaim(a.give(kind, [c], [(at, 1)], flags=flags))
    assert a.memory.read(at, 4) == (b"kept" if kind == "share" else bytes(4))


def test_an_sp_takes_a_donation_for_good(ffabric, mixed):
    a, c = mixed.a, mixed.c
    hypervisor = mixed.session.system.firmware.hypervisor
    at = a.pages(3)
    handle = a.give("donate", [c], [(at, 2)])
    c.retrieve(handle, a, rights=RW | NX)
    with ffabric.refuses("mem.handle"):
        a.reclaim(handle)
    assert not hypervisor.regions.live
    assert not hypervisor.regions.counts
    assert a.descriptor(at) == 0
    with ffabric.refuses("mem.share.not_owned"):
        a.give("share", [c], [(at, 1)])


def test_a_handle_that_comes_back_tells_that_a_donation_is_over(ffabric, mixed):
    a, b, c = mixed.a, mixed.b, mixed.c
    hypervisor = mixed.session.system.firmware.hypervisor
    at = a.pages()
    handle = a.give("donate", [c], [(at, 1)])
    c.retrieve(handle, a, rights=RW | NX)
    assert b.give("share", [c], [(b.pages(), 1)]) == handle
    assert [region.owner.name for region in hypervisor.regions.live.values()] == ["b"]
    assert a.descriptor(at) == 0
    with ffabric.refuses("mem.reclaim.owner"):
        a.reclaim(handle)
    b.reclaim(handle)
    assert not hypervisor.regions.live


# The end of a VM


def test_a_dead_vms_memory_is_free_and_clean(mixed, frames):
    a = mixed.a
    pages = a.handle.ram.size // PAGE
    at = a.pages()
    a.memory.write(at, b"secret")
    pa = a.handle.endpoint.partition.stage2.pa_of(at)
    tables = mixed.session.system.firmware.hypervisor.pool.in_use
    before = frames.free_pages
    end(a)
    assert frames.free_pages == before + pages
    assert mixed.session.system.machine.memory.read(pa, 6, secure=False) == bytes(6)
    assert mixed.session.system.firmware.hypervisor.pool.in_use < tables
    assert "a" not in [p.name for p in mixed.session.system.firmware.hypervisor.partitions.values()]


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_what_an_sp_has_is_free_when_it_has_relinquished(mixed, frames, kind):
    a, b, c = mixed.a, mixed.b, mixed.c
    pages = a.handle.ram.size // PAGE
    at = a.pages(3)
    handle = a.give(kind, [c], [(at, 2)])
    ipa = c.retrieve(handle, a, rights=usual_rights(kind)).constituents[0][0]
    before = frames.free_pages
    end(a)
    assert frames.free_pages == before + pages - 2
    c.memory.write(ipa, b"still here")
    reach_the_spmc(mixed, b)
    assert frames.free_pages == before + pages - 2
    c.relinquish(handle)
    reach_the_spmc(mixed, b)
    assert frames.free_pages == before + pages


def reach_the_spmc(mixed, side):
    """Any request to an SP: a while later the hypervisor looks what has become free."""
    with pytest.raises(FfaError):
        side.call(fid.FFA_RUN, 0x8ABC << 16)
    mixed.session.run()


def test_what_an_sp_has_not_taken_is_free_at_once(mixed, frames):
    a, c = mixed.a, mixed.c
    a.give("lend", [c], [(a.pages(), 1)])
    a.give("donate", [c], [(a.pages(), 1)])
    before = frames.free_pages
    end(a)
    assert frames.free_pages == before + a.handle.ram.size // PAGE
    assert not mixed.session.system.firmware.spmc.regions.live


def test_what_an_sp_was_given_for_good_is_its_own(ffabric, mixed, frames):
    a, b, c = mixed.a, mixed.b, mixed.c
    handle = a.give("donate", [c], [(a.pages(), 1)])
    ipa = c.retrieve(handle, a, rights=RW | NX).constituents[0][0]
    before = frames.free_pages
    end(a)
    assert frames.free_pages == before + a.handle.ram.size // PAGE - 1
    assert b.give("lend", [c], [(b.pages(), 1)]) == handle
    reach_the_spmc(mixed, b)
    assert c.reaches(ipa, write=True)
    assert frames.free_pages == before + a.handle.ram.size // PAGE - 1
    b.reclaim(handle)


def test_the_other_borrowers_of_a_dead_vm_lose_access_at_once(mixed, frames):
    a, b, c = mixed.a, mixed.b, mixed.c
    handle = a.give("lend", [b, c], [(a.pages(), 1)])
    there = b.retrieve(handle, a, others=[c]).constituents[0][0]
    secure = c.retrieve(handle, a, others=[b]).constituents[0][0]
    before = frames.free_pages
    end(a)
    assert not b.reaches(there)
    assert c.reaches(secure)
    c.relinquish(handle)
    reach_the_spmc(mixed, b)
    assert frames.free_pages == before + a.handle.ram.size // PAGE


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_dead_vm_had_borrowed_goes_back(mixed, frames, kind):
    a, b = mixed.a, mixed.b
    at = b.pages()
    handle = b.give(kind, [a], [(at, 1)])
    a.retrieve(handle, b, rights=usual_rights(kind))
    before = frames.free_pages
    end(a)
    donated = int(kind == "donate")
    assert frames.free_pages == before + a.handle.ram.size // PAGE + donated
    if not donated:
        b.reclaim(handle)
        assert b.reaches(at, write=True)


def test_memory_that_went_round_is_freed_once(mixed, frames):
    a, b = mixed.a, mixed.b
    at = a.pages(2)
    ipa = b.retrieve(a.give("donate", [b], [(at, 2)]), a, rights=RW | NX).constituents[0][0]
    a.retrieve(b.give("donate", [a], [(ipa, 1)]), b, rights=RW | NX)
    before = frames.free_pages
    end(a)
    end(b)
    assert frames.free_pages == before + (a.handle.ram.size + b.handle.ram.size) // PAGE


# What the SPMC refuses a VM hears of in its registers, as if nobody stood between them.


def refused(side, *call):
    """The status of a call that is refused; what FFA_ERROR does not use is zero."""
    x = side.ffa.call(*call)
    assert [*x[:2], *x[3:8]] == [fid.FFA_ERROR, *[0] * 6]
    return status_of(x[2])


def test_memory_for_which_the_spmc_has_no_tables_is_refused_with_its_status(mixed):
    a, c = mixed.a, mixed.c
    pool = mixed.session.system.firmware.spmc.pool
    taken = exhaust(pool)
    data = abi.build_transaction(a.describe("lend", [c], [(a.pages(600), 600)]), a.version)
    a.put(data)
    assert refused(a, fid.FFA_MEM_LEND_64, len(data), len(data)) is Status.NO_MEMORY
    for pa in taken:
        pool.free(pa)


def test_memory_that_an_sp_has_is_not_reclaimed_and_the_status_says_so(mixed):
    a, c = mixed.a, mixed.c
    handle = a.give("share", [c], [(a.pages(), 1)])
    c.retrieve(handle, a)
    assert refused(a, fid.FFA_MEM_RECLAIM, *halves(handle), 0) is Status.DENIED


def test_a_first_fragment_that_the_spmc_refuses_is_refused_with_its_status(ffabric):
    """The hypervisor knows an SP that is gone, the SPMC does not."""
    gone = sp("c", ffa_version="1.3", lifecycle_support=True, abort_action=AbortAction.DESTROY)
    mixed = World(ffabric, "vm-sp", sps=[gone], vms=["a", "b"], stop_on_crash=False)
    a, c = mixed.a, mixed.c
    data = abi.build_transaction(a.describe("share", [c], [(a.pages(2), 1)] * 300), a.version)
    a.put(data[:PAGE])
    x = a.ffa.call(fid.FFA_MEM_SHARE_64, len(data), PAGE)
    assert x[0] == fid.FFA_MEM_FRAG_RX
    assert refused(a, fid.FFA_MEM_FRAG_TX, *x[1:3], 0) is Status.INVALID_PARAMETERS
    with pytest.raises(Blocked):
        c.ffa.call(fid.FFA_ABORT_64)
    a.put(data[:PAGE])
    assert refused(a, fid.FFA_MEM_SHARE_64, len(data), PAGE) is Status.INVALID_PARAMETERS
    assert not mixed.session.system.firmware.hypervisor.regions.pending
