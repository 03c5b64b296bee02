"""FFA_NS_RES_INFO_GET: what non-secure memory SPs reach, in pieces, for the normal world."""

import pytest
from memory_sides import NX, RW, Side
from resource_sides import GO_ON, ONE, Asker

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.resources import INDIRECT, AddressMap
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError, status_of
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import ExceptionLevel, MemoryRegion

FIRST, SECOND = 0x8001, 0x8002
BOTH = 0x11


@pytest.fixture
def system(ffabric):
    return ffabric.boot(
        sps=["b", sp("c", exception_level=ExceptionLevel.S_EL0)],
        vms=[vm("a", el=2)],
        hypervisor=False,
    )


@pytest.fixture
def a(system):
    return Asker(system.vm("a"))


@pytest.fixture
def b(system):
    return Side(system.sp("b"))


def buffers(a):
    return [
        AddressMap(a.ffa.rx, 1, BOTH * 3, 0, INDIRECT),
        AddressMap(a.ffa.tx, 1, BOTH * 1, 0, INDIRECT),
    ]


def test_the_buffers_of_the_caller_are_told(a):
    assert a.all() == buffers(a)


def test_what_sps_were_sent_is_told_of_each(system, a, b):
    at = a.pages(3)
    a.give("share", [b, system.sp("c")], [(at, 1), (at + 2 * PAGE, 1)])
    a.give("share", [b], [(at + PAGE, 1)], rights=1)
    rw_el1, ro_el1, rw_el0 = BOTH * 3, BOTH * 1, 3
    sent = [each for each in a.all() if not each.flags]
    assert sent == [
        AddressMap(at, 1, rw_el1, FIRST),
        AddressMap(at + 2 * PAGE, 1, rw_el1, FIRST),
        AddressMap(at, 1, rw_el0, SECOND),
        AddressMap(at + 2 * PAGE, 1, rw_el0, SECOND),
        AddressMap(at + PAGE, 1, ro_el1, FIRST),
    ]
    assert [each.endpoint for each in a.all(ONE, SECOND) if not each.flags] == [SECOND] * 2


def test_what_was_donated_is_an_sps_own(a, b):
    at = a.pages()
    b.retrieve(a.give("donate", [b], [(at, 1)]), a, rights=RW | NX)
    assert AddressMap(at, 1, BOTH * 3, FIRST) in a.all()


@pytest.mark.parametrize("level", [ExceptionLevel.S_EL1, ExceptionLevel.S_EL0])
@pytest.mark.parametrize(("attributes", "rights"), [(0b1001, 1), (0b1011, 3), (0b1101, 5)])
def test_memory_of_a_manifest_is_told_with_what_may_be_done_there(
    ffabric, level, attributes, rights
):
    region = MemoryRegion(name="code", pages=2, attributes=attributes, base_address=0x8800_0000)
    system = ffabric.boot(
        sps=[sp("b", exception_level=level, memory_regions=(region,))],
        vms=[vm("a", el=2)],
        hypervisor=False,
    )
    several = BOTH if level is ExceptionLevel.S_EL1 else 1
    told = [each for each in Asker(system.vm("a")).all() if not each.flags]
    assert told == [AddressMap(0x8800_0000, 2, several * rights, FIRST)]


def test_what_does_not_fit_rx_comes_in_pieces(a, b):
    at = a.pages(600)
    for n in range(0, 600, 2):
        a.give("share", [b], [(at + n * PAGE, 1)])
    part, rest = a.ask()
    assert len(part) == PAGE
    assert rest == (300 + 2 + 1) * 16 - PAGE
    assert len(a.all()) == 302


def test_who_goes_on_has_begun(ffabric, a):
    with ffabric.refuses("resources.not_begun"):
        a.ask(GO_ON)
    a.ask()
    with ffabric.refuses("resources.not_begun"):
        a.ask(GO_ON)


@pytest.mark.parametrize("what", ["buffers", "memory"])
def test_nothing_may_change_in_between(ffabric, a, b, what):
    at = a.pages(600)
    handles = [a.give("share", [b], [(at + n * PAGE, 1)]) for n in range(0, 600, 2)]
    a.ask()
    if what == "memory":
        a.reclaim(handles[0])
    else:
        a.ffa.unmap_buffers()
        a.ffa.map_buffers()
    with ffabric.refuses("resources.not_begun"):
        a.ask(GO_ON)
    a.ask()


def test_who_was_refused_in_between_begins_again(ffabric, a, b):
    at = a.pages(600)
    for n in range(0, 600, 2):
        a.give("share", [b], [(at + n * PAGE, 1)])
    a.call(fid.FFA_NS_RES_INFO_GET)
    with ffabric.refuses("resources.rx"):
        a.ask(GO_ON)
    a.ffa.rx_release()
    with ffabric.refuses("resources.not_begun"):
        a.ask(GO_ON)
    assert len(a.all()) == 302


@pytest.mark.parametrize(
    ("flags", "endpoint", "rule"),
    [
        (ONE, 0, "resources.endpoint"),
        (ONE, 0x8003, "resources.endpoint"),
        (ONE, 0x8000, "resources.endpoint"),
        (1 << 2, 0, "resources.type"),
        (3 << 2, 0, "resources.type"),
    ],
)
def test_what_is_asked_for_is_there(ffabric, a, flags, endpoint, rule):
    with ffabric.refuses(rule):
        a.ask(flags, endpoint)
    a.ask(ONE, FIRST)


def test_rx_is_there_and_free(ffabric, a):
    a.call(fid.FFA_NS_RES_INFO_GET)
    with ffabric.refuses("resources.rx"):
        a.ask()
    a.ffa.rx_release()
    a.ask()
    a.ffa.unmap_buffers()
    with pytest.raises(FfaError) as error:
        a.ask()
    assert error.value.status is Status.RETRY


def test_sps_and_older_callers_have_no_such_call(ffabric, system):
    x = system.sp("b").ffa.call(fid.FFA_NS_RES_INFO_GET)
    assert status_of(x[2]) is Status.NOT_SUPPORTED
    caller = system.vm("a").ffa
    caller.negotiate(V1_2)
    with ffabric.refuses("abi.newer_than_negotiated"):
        caller.call(fid.FFA_NS_RES_INFO_GET)


def test_buffers_of_vms_are_reached_by_the_spmc(a):
    at = a.pages(2)
    a.put(build_endpoint_buffers(EndpointBuffers(5, [(at, 1)], [(at + PAGE, 1)])))
    a.call(fid.FFA_RXTX_MAP_64)
    assert a.all() == [
        AddressMap(at, 1, BOTH * 3, 0x8000, INDIRECT),
        AddressMap(at + PAGE, 1, BOTH * 1, 0x8000, INDIRECT),
        *buffers(a),
    ]
