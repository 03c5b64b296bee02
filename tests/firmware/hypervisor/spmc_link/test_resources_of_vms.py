"""FFA_NS_RES_INFO_GET of a VM: its own memory that SPs reach, at its own addresses."""

import pytest
from memory_sides import Side
from msgspec.structs import replace
from resource_sides import GO_ON, ONE, Asker

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.resources import INDIRECT, AddressMap
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2, V1_3
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.spec import MemoryBank

FIRST, SECOND = 0x8001, 0x8002
RW_EL1, RO_EL1 = 0x33, 0x11


def booted(ffabric, messages=3, version=V1_3):
    return ffabric.boot(
        sps=["b", "c"],
        vms=[vm(name, ffa_version=version, messaging_method=messages) for name in ("a", "other")],
    )


@pytest.fixture
def system(ffabric):
    return booted(ffabric)


@pytest.fixture
def a(system):
    return Asker(system.vm("a"))


@pytest.fixture
def b(system):
    return Side(system.sp("b"))


def test_who_has_sent_nothing_hears_of_nothing(a):
    assert a.all() == []


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_what_it_has_sent_is_told_at_its_own_addresses(system, a, b, kind):
    at = a.pages(4)
    a.give(kind, [b, system.sp("c")], [(at, 2), (at + 3 * PAGE, 1)])
    assert sorted(a.all(), key=lambda each: (each.endpoint, each.address)) == [
        AddressMap(each, pages, RW_EL1, endpoint)
        for endpoint in (FIRST, SECOND)
        for each, pages in ((at, 2), (at + 3 * PAGE, 1))
    ]
    assert {each.endpoint for each in a.all(ONE, SECOND)} == {SECOND}


def test_memory_from_physical_address_0_on_is_told_as_any_other(ffabric):
    """A VM's buffers lie there."""
    system = ffabric.boot(
        sps=["b"],
        vms=[vm("a", ffa_version=V1_3, messaging_method=7, physical_address=0, mem_size=2 << 20)],
        memory=[
            MemoryBank("low", 0, 8 << 20, secure=False),
            MemoryBank("high", 0x4000_0000, 64 << 20, secure=False),
            MemoryBank("secure", 0x600_0000, 16 << 20, secure=True),
        ],
    )
    a = Asker(system.vm("a"))
    assert system.system.endpoint("a").spec.memory[0].ipa == a.ffa.tx
    assert a.all() == [
        AddressMap(a.ffa.rx, 1, RW_EL1, 0x8000, INDIRECT),
        AddressMap(a.ffa.tx, 1, RO_EL1, 0x8000, INDIRECT),
    ]


def test_others_do_not_hear_of_it(system, a, b):
    a.give("share", [b], [(a.pages(1), 1)])
    other = Asker(system.vm("other"))
    assert other.all() == []
    assert len(a.all()) == 1


def test_what_it_has_borrowed_is_not_its_own(system, a, b):
    other = Asker(system.vm("other"))
    at = other.pages(1)
    handle = other.give("share", [b, a], [(at, 1)])
    a.retrieve(handle, other, others=[b])
    assert a.all() == []
    assert [each.address for each in other.all()] == [at]


def test_what_has_come_back_is_not_told(a, b):
    handle = a.give("share", [b], [(a.pages(1), 1)])
    assert len(a.all()) == 1
    a.ffa.reclaim(handle)
    assert a.all() == []


def test_buffers_that_the_spmc_fills_are_told(ffabric):
    system = booted(ffabric, messages=7)
    a = Asker(system.vm("a"))
    assert a.all() == [
        AddressMap(a.ffa.rx, 1, 0x33, 0x8000, INDIRECT),
        AddressMap(a.ffa.tx, 1, 0x11, 0x8000, INDIRECT),
    ]
    assert a.all() == a.all()


def many(a, b, count):
    """So many ranges of one page, none next to another: where they are."""
    base = a.pages(2 * count)
    pages = [base + 2 * n * PAGE for n in range(count)]
    for some in (pages[at : at + 100] for at in range(0, count, 100)):
        a.give("share", [b], [(each, 1) for each in some])
    return pages


def test_a_long_answer_comes_in_parts(a, b):
    pages = many(a, b, 300)
    first, rest = a.ask()
    assert len(first) == PAGE
    assert rest
    assert [each.address for each in a.all()] == pages


def test_who_has_not_begun_does_not_go_on(a):
    assert a.refused(0, GO_ON) is Status.ABORTED
    a.all()
    assert a.refused(0, GO_ON) is Status.ABORTED


def test_who_sends_meanwhile_begins_again(a, b):
    many(a, b, 300)
    a.ask()
    a.give("share", [b], [(a.pages(1), 1)])
    assert a.refused(0, GO_ON) is Status.ABORTED
    assert len(a.all()) == 301


def test_what_others_send_meanwhile_does_not_matter(system, a, b):
    other = Asker(system.vm("other"))
    many(a, b, 300)
    _, rest = a.ask()
    other.give("share", [b], [(other.pages(1), 1)])
    part, _ = a.ask(GO_ON)
    assert len(part) == min(rest, PAGE)


@pytest.mark.parametrize("messages", [3, 7])
def test_rx_has_to_be_free(ffabric, messages):
    system = booted(ffabric, messages=messages)
    a, b = Asker(system.vm("a")), Side(system.sp("b"))
    a.give("share", [b], [(a.pages(1), 1)])
    found = len(a.all())
    a.call(fid.FFA_NS_RES_INFO_GET)
    assert a.refused() is Status.RETRY
    a.ffa.rx_release()
    assert len(a.all()) == found


def test_what_is_not_asked_for_rightly(a):
    assert a.refused(0, 1 << 1) is Status.INVALID_PARAMETERS  # another type
    assert a.refused(0x8009, ONE) is Status.INVALID_PARAMETERS  # no such SP
    assert a.refused(2, ONE) is Status.INVALID_PARAMETERS  # a VM


def test_older_vms_do_not_have_it(ffabric):
    a = Asker(booted(ffabric, version=V1_2).vm("a"))
    assert a.refused() is Status.NOT_SUPPORTED
    with pytest.raises(FfaError):
        a.ffa.features(fid.FFA_NS_RES_INFO_GET)


def test_an_older_spmc_does_not_tell_what_its_sps_reach(ffabric):
    spec = describe(sps=[sp("b", ffa_version=V1_2)], vms=[vm("a", ffa_version=V1_3)])
    system = ffabric.boot(replace(spec, spmc=replace(spec.spmc, ffa_version=V1_2)))
    a = Asker(system.vm("a"))
    assert a.refused() is Status.NOT_SUPPORTED
    assert system.refusals == {"resources.spmc": 1}


def test_a_vm_that_is_gone_has_not_begun(system, a, b):
    many(a, b, 300)
    a.ask()
    system.destroy_vm("a")
    system.run()
    assert not system.system.hypervisor.resources
