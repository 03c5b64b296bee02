"""Questions that were asked of the first SPMC with memory management, answered by DEN0077A 1.2.

They are those of "[Hafnium] FFA Memory Management Interfaces" (hafnium mailing list, October 2020).
"""

import pytest
from memory_sides import NX, RO, RW, World, X

from ffabric.firmware.state.ownership import BORROWED, LENT, OWNED, SHARED, state
from ffabric.machine.translation.descriptors import S2AP_R, S2AP_W, SW_NS, VALID, XN

NORMAL_WORLDS = ["kernel-sp", "vm-sp"]


@pytest.fixture(params=NORMAL_WORLDS)
def world(request, ffabric):
    """An owner in the normal world, two borrowers in the secure world."""
    return World(ffabric, request.param)


@pytest.fixture
def page(world):
    """A page of ``a``: its IPA, and its descriptor in the SPMC's view as long as it is asked."""
    ipa = world.a.pages()
    stage2 = world.a.handle.endpoint.partition.stage2
    pa = stage2.pa_of(ipa) if stage2 is not None else ipa
    view = world.session.system.firmware.spmc.normal_world.stage2
    return ipa, lambda: view.translate(pa)


# 1. "The first point to bring to discussion is regarding the RW configuration. Is this really the
#    best configuration for memory to be shared from NWd to the SWd?"


def test_what_the_normal_world_may_do_with_its_memory_is_read_and_write_and_never_execute(page):
    """The SPMC checks what a sender asks against all that the other world can have: RW, NX.

    The narrower permissions of a VM are its hypervisor's to check (section 1.10: a relayer checks
    for the endpoints it manages).
    """
    _, seen_by_spmc = page
    descriptor = seen_by_spmc()
    assert descriptor & VALID
    assert descriptor & S2AP_R
    assert descriptor & S2AP_W
    assert descriptor & XN
    assert descriptor & SW_NS
    assert state(descriptor) is OWNED


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_the_hypervisor_checks_what_its_vm_may_do_before_it_forwards(vm_sp, kind):
    a, b = vm_sp.a, vm_sp.b
    ipa = a.pages()
    a.handle.endpoint.partition.stage2.update(ipa, 1, S2AP_W, 0)
    with vm_sp.session.refuses(f"mem.{kind}.permission"):
        a.give(kind, [b], [(ipa, 1)])


def test_a_donation_says_nothing_of_data_access_so_a_vm_may_donate_what_it_only_reads(vm_sp):
    a, b = vm_sp.a, vm_sp.b
    ipa = a.pages()
    a.handle.endpoint.partition.stage2.update(ipa, 1, S2AP_W, 0)
    (at, _), *_ = b.retrieve(a.give("donate", [b], [(ipa, 1)]), a, rights=RO | NX).constituents
    assert not b.descriptor(at) & S2AP_W


# 2. "If the instruction access is set as 'not specified' for the Lend and Donate operations, the
#    receiver would acquire permission to execute the memory region. [...] MM_MODE_X shouldn't be
#    set."


@pytest.mark.parametrize("kind", ["lend", "donate"])
def test_not_specified_never_means_executable(world, kind):
    """A lone borrower specifies instruction access itself (Table 10.20), and NS memory is NX."""
    a, b = world.a, world.b
    handle = a.give(kind, [b], [(a.pages(), 1)])
    with world.session.refuses("mem.retrieve.instruction_access_missing"):
        b.retrieve(handle, a, rights=RW)
    with world.session.refuses("mem.retrieve.execute_non_secure"):
        b.retrieve(handle, a, rights=RW | X)
    (at, _), *_ = b.retrieve(handle, a, rights=RW | NX).constituents
    assert b.descriptor(at) & XN


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_where_it_must_not_be_specified_the_answer_is_not_executable(world, kind):
    a, b, c = world.a, world.b, world.c
    receivers = [b] if kind == "share" else [b, c]
    handle = a.give(kind, receivers, [(a.pages(), 1)])
    for each in receivers:
        others = [other for other in receivers if other is not each]
        response = each.retrieve(handle, a, others=others)
        mine = next(entry for entry in response.receivers if entry.endpoint == each.id)
        assert mine.permissions == RW | NX
        assert each.descriptor(response.constituents[0][0]) & XN


# 3. "After a memory reclaim, the sender/owner of a memory region acquires RW and X permissions,
#    even if these were not part of the original permissions."


@pytest.mark.parametrize("kind", ["share", "lend"])
@pytest.mark.parametrize("lost", [0, S2AP_W, S2AP_W | S2AP_R])
@pytest.mark.parametrize("executable", [True, False])
def test_a_reclaim_restores_what_the_owner_had(sps, kind, lost, executable):
    a, b = sps.a, sps.b
    ipa = a.pages()
    stage2 = a.handle.endpoint.partition.stage2
    stage2.update(ipa, 1, lost | (XN if executable else 0), 0 if executable else XN)
    before = a.descriptor(ipa)
    if not before & S2AP_R:
        with sps.session.refuses(f"mem.{kind}.permission"):
            a.give(kind, [b], [(ipa, 1)], rights=RO)
        assert a.descriptor(ipa) == before
        return
    handle = a.give(kind, [b], [(ipa, 1)], rights=RO)
    away = a.descriptor(ipa)
    assert state(away) is (SHARED if kind == "share" else LENT)
    assert bool(away & VALID) is (kind == "share")
    b.retrieve(handle, a, rights=RO if kind == "share" else RO | NX)
    b.relinquish(handle)
    a.reclaim(handle)
    assert a.descriptor(ipa) == before


# 4. "The whole memory has been mapped to a VM representative of the NWd FFA endpoints [...] never
#    scheduled."


@pytest.mark.parametrize(("kind", "held"), [("share", SHARED), ("lend", LENT)])
def test_the_spmc_remembers_in_its_view_what_the_other_world_gave(world, page, kind, held):
    a, b = world.a, world.b
    ipa, seen_by_spmc = page
    before = seen_by_spmc()
    handle = a.give(kind, [b], [(ipa, 1)])
    assert state(seen_by_spmc()) is held
    rights = RW if kind == "share" else RW | NX
    (at, _), *_ = b.retrieve(handle, a, rights=rights).constituents
    assert state(b.descriptor(at)) is BORROWED
    b.relinquish(handle)
    a.reclaim(handle)
    assert seen_by_spmc() == before


def test_a_page_that_is_away_cannot_be_given_a_second_time(kernel):
    """Without a hypervisor nobody but the SPMC's view knows."""
    a, b, c = kernel.a, kernel.b, kernel.c
    ipa = a.pages()
    a.give("lend", [b], [(ipa, 1)])
    with kernel.session.refuses("mem.lend.not_owned"):
        a.give("lend", [c], [(ipa, 1)])


def test_a_page_that_was_donated_belongs_to_the_other_world_no_more(world, page):
    a, b = world.a, world.b
    ipa, seen_by_spmc = page
    b.retrieve(a.give("donate", [b], [(ipa, 1)]), a, rights=RW | NX)
    assert state(seen_by_spmc()) is not OWNED
    assert not seen_by_spmc() & VALID


def test_the_other_world_is_no_endpoint_that_runs(world):
    spmc = world.session.system.firmware.spmc
    assert all(ctx.runner is None for ctx in spmc.normal_world.contexts)
