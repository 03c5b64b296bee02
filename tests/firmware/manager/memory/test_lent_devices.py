"""Devices of the normal world that are lent to SPs, which then reach them."""

from typing import Any

import pytest
from memory_sides import NX, RW, Side

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import PAGE
from ffabric.machine.access import DataAbort
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, RegionAttributes
from ffabric.system.spec import DeviceSpec, GicSpec

UART = 0x1C0B_0000
DEVICE = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
PL011_ID = 0x11
"""The first byte of a PL011's peripheral ID."""


def uart(secure: bool | None = False) -> DeviceSpec:
    return DeviceSpec(type="pl011", name="uart", base=UART, size=PAGE, secure=secure)


def region(*, secure: bool = False, exclusive_access: bool = False) -> DeviceRegion:
    attributes = RegionAttributes.READ | RegionAttributes.WRITE
    if not secure:
        attributes |= RegionAttributes.NON_SECURE
    return DeviceRegion(
        name="uart",
        base_address=UART,
        pages=1,
        attributes=attributes,
        exclusive_access=exclusive_access,
    )


def kernel(ffabric, **fields: Any):
    """A kernel without a hypervisor, and an SP."""
    fields = {"devices": [uart()], "sps": ["b", "c"], **fields}
    return ffabric.boot(vms=[vm("a", el=2)], hypervisor=False, **fields)


def guest(ffabric, **fields: Any):
    """A VM with the UART, and an SP."""
    fields = {"devices": [uart()], "sps": ["b", "c"], **fields}
    return ffabric.boot(vms=[vm("a", device_regions=(region(),)), "w"], **fields)


@pytest.fixture(params=[kernel, guest])
def system(request, ffabric):
    return request.param(ffabric)


def sides(system):
    return Side(system.vm("a")), Side(system.sp("b"))


def test_a_device_is_lent_to_an_sp_and_taken_back(system):
    a, b = sides(system)
    assert a.memory.read(UART + 0xFE0, 1)[0] == PL011_ID
    with pytest.raises(DataAbort):
        b.memory.read(UART + 0xFE0, 1)
    handle = a.give("lend", [b], [(UART, 1)])
    got = b.retrieve(handle, a, rights=RW | NX, attributes=DEVICE)
    assert got.attributes == DEVICE | mem.MEM_ATTR_NS
    assert b.memory.read(UART + 0xFE0, 1)[0] == PL011_ID
    b.relinquish(handle)
    a.reclaim(handle)
    with pytest.raises(DataAbort):
        b.memory.read(UART + 0xFE0, 1)


def test_who_has_lent_a_device_does_not_reach_it(ffabric):
    a, b = sides(guest(ffabric))
    handle = a.give("lend", [b], [(UART, 1)])
    assert not a.reaches(UART)
    a.reclaim(handle)
    assert a.reaches(UART)


def test_a_device_is_never_normal_memory(system, ffabric):
    a, b = sides(system)
    handle = a.give("lend", [b], [(UART, 1)])
    normal = mem.MEM_ATTR_NORMAL_WB_INNER
    with ffabric.refuses("mem.retrieve.attributes"):
        b.retrieve(handle, a, rights=RW | NX, attributes=normal)
    b.retrieve(handle, a, rights=RW | NX)


@pytest.mark.parametrize("kind", ["share", "donate"])
def test_a_device_is_neither_shared_nor_donated(system, ffabric, kind):
    a, b = sides(system)
    with ffabric.refuses(f"mem.{kind}.device"):
        a.give(kind, [b], [(UART, 1)])


def test_a_device_has_one_borrower_and_is_not_cleared(system, ffabric):
    a, b = sides(system)
    c = Side(system.sp("c"))
    with ffabric.refuses("mem.lend.device"):
        a.give("lend", [b, c], [(UART, 1)], attributes=DEVICE)
    with ffabric.refuses("mem.lend.device"):
        a.give("lend", [b], [(UART, 1)], flags=mem.FLAG_CLEAR)


def test_memory_and_a_device_are_not_lent_together(system, ffabric):
    a, b = sides(system)
    with ffabric.refuses("mem.lend.mixed_memory"):
        a.give("lend", [b], [(a.pages(), 1), (UART, 1)])


def test_a_device_is_no_buffer(system, ffabric):
    a, _ = sides(system)
    a.ffa.unmap_buffers()
    with ffabric.refuses("rxtx.map.access"):
        a.call(fid.FFA_RXTX_MAP_64, UART, a.pages(), 1)


def test_a_device_of_the_secure_world_is_not_the_kernels_to_lend(ffabric):
    a, b = sides(kernel(ffabric, devices=[uart(secure=True)]))
    with ffabric.refuses("mem.lend.not_owned"):
        a.give("lend", [b], [(UART, 1)])


def test_a_device_that_both_worlds_reach_is(ffabric):
    a, b = sides(kernel(ffabric, devices=[uart(secure=None)]))
    handle = a.give("lend", [b], [(UART, 1)])
    b.retrieve(handle, a, rights=RW | NX)


def test_a_device_that_an_sp_has_is_not_the_kernels_to_lend(ffabric):
    sps = [sp("b", device_regions=(region(),)), "c"]
    a, b = sides(kernel(ffabric, sps=sps))
    with ffabric.refuses("mem.lend.not_owned"):
        a.give("lend", [b], [(UART, 1)])
    assert b.memory.read(UART + 0xFE0, 1)[0] == PL011_ID


@pytest.mark.parametrize("frame", ["distributor", "redistributors"])
def test_the_gic_is_nobodys_to_lend(ffabric, frame):
    a, b = sides(kernel(ffabric))
    with ffabric.refuses("mem.lend.not_owned"):
        a.give("lend", [b], [(getattr(GicSpec(), frame), 1)])


def test_where_nothing_is_nothing_is_lent(ffabric):
    a, b = sides(kernel(ffabric, devices=[]))
    with ffabric.refuses("mem.lend.not_owned"):
        a.give("lend", [b], [(UART, 1)])


def test_a_device_of_a_dead_vm_is_no_memory_for_others(ffabric):
    system = guest(ffabric)
    a, b = sides(system)
    frames = system.system.firmware.hypervisor.frames
    handle = a.give("lend", [b], [(UART, 1)])
    b.retrieve(handle, a, rights=RW | NX)
    system.destroy_vm("a")
    system.run()
    assert b.memory.read(UART + 0xFE0, 1)[0] == PL011_ID
    b.relinquish(handle)
    system.vm("w").ffa.id_get()
    system.run()
    assert not any(base <= UART < base + pages * PAGE for base, pages in frames.ranges)
    assert not system.system.firmware.hypervisor.retried.orphans
    assert not system.system.firmware.spmc.regions.live
