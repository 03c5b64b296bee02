"""Where a manifest's device regions may be: where a device is, or nothing, but never memory."""

from collections.abc import Callable

import pytest

from ffabric.system.description.python import describe, sp, vm
from ffabric.system.layout.address_spaces import Placed, check_device_memory
from ffabric.system.manifest.manifest import DeviceRegion, MemoryRange
from ffabric.system.options.problems import Problems, SystemErrors
from ffabric.system.spec import MemoryBank, PartitionDraft, SystemSpec

BANKS = (
    MemoryBank("secure", 0x0600_0000, 0x0200_0000, secure=True),
    MemoryBank("normal", 0x8000_0000, 0x4000_0000, secure=False),
)
SPMC = 0x0780_0000
HYPERVISOR = 0xBF80_0000
DISTRIBUTOR = 0x2F00_0000
UART = 0x1C0B_0000

Maker = Callable[..., PartitionDraft]


def region(base: int, *, pages: int = 1, exclusive: bool = False) -> DeviceRegion:
    return DeviceRegion(
        name="uart", base_address=base, pages=pages, attributes=3, exclusive_access=exclusive
    )


def system(*partitions: PartitionDraft) -> SystemSpec:
    sps = [each for each in partitions if each.kind == "sp"]
    vms = [each for each in partitions if each.kind == "vm"]
    return describe(memory=BANKS, sps=[sp("victim", load_address=0x0700_0000), *sps], vms=vms)


OTHERS = (
    (0x0700_0000, "0x7000000-0x7000fff is memory of victim (0x7000000-0x71fffff)"),
    (0x071F_F000, "0x71ff000-0x71fffff is memory of victim (0x7000000-0x71fffff)"),
    (SPMC, "0x7800000-0x7800fff is memory of the SPMC's tables (0x7800000-0x7ffffff)"),
    (HYPERVISOR, "is memory of the hypervisor's tables (0xbf800000-0xbfffffff)"),
    (0x0740_0000, "0x7400000-0x7400fff is memory of the bank secure (0x6000000-0x7ffffff)"),
    (0x9000_0000, "0x90000000-0x90000fff is memory of the bank normal (0x80000000-0xbfffffff)"),
    (DISTRIBUTOR, "0x2f000000-0x2f000fff overlaps the GIC's distributor at 0x2f000000"),
    (0x2F11_0000, "0x2f110000-0x2f110fff overlaps the GIC's redistributors at 0x2f100000"),
)


@pytest.mark.parametrize("make", [sp, vm])
@pytest.mark.parametrize(("base", "line"), OTHERS, ids=[hex(base) for base, _ in OTHERS])
def test_what_is_no_device_is_refused_by_name(make: Maker, base: int, line: str) -> None:
    with pytest.raises(SystemErrors) as caught:
        system(make("thief", device_regions=(region(base),)))
    assert any(line in str(problem) for problem in caught.value.problems), str(caught.value)


@pytest.mark.parametrize("make", [sp, vm])
@pytest.mark.parametrize("base", [0x0800_0000, 0x05FF_F000, 0x7FFF_F000, 0x2EFF_F000, 0x2F01_0000])
def test_the_page_beside_it_is_accepted(make: Maker, base: int) -> None:
    assert system(make("neighbour", device_regions=(region(base),)))


def test_a_region_that_reaches_into_memory_is_refused() -> None:
    with pytest.raises(SystemErrors, match="0x5fff000-0x6000fff is memory of"):
        system(sp("thief", device_regions=(region(0x05FF_F000, pages=2),)))


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("other", [sp, vm])
def test_an_exclusive_device_has_one_partition(other: Maker, first: bool, second: bool) -> None:
    with pytest.raises(SystemErrors, match="b: uart: a has the device at 0x1c0b0000, and it is ex"):
        system(
            sp("a", device_regions=(region(UART, exclusive=first),)),
            other("b", device_regions=(region(UART, exclusive=second),)),
        )


@pytest.mark.parametrize("other", [sp, vm])
def test_another_device_is_had_by_all_that_ask_for_it(other: Maker) -> None:
    found = system(
        sp("a", device_regions=(region(UART),)), other("b", device_regions=(region(UART),))
    )
    assert len([*found.sps, *found.vms]) == 3


def test_a_partition_may_have_an_exclusive_device_beside_its_own() -> None:
    assert system(
        sp("a", device_regions=(region(UART, exclusive=True),)),
        sp("b", device_regions=(region(UART + 0x1000, exclusive=True),)),
    )


RANGES = (
    MemoryRange(0x1C09_0000, 0x1_0000, secure=True, device=True),
    MemoryRange(0x1C0B_0000, 0x1000, secure=True, device=True),
)


def outside(base: int, *, make: Maker = sp, attributes: int = 3) -> list[str]:
    """What is wrong with a device at ``base`` where the SPMC manifest has these ranges."""
    uart = DeviceRegion(name="uart", base_address=base, pages=1, attributes=attributes)
    found = system(make("a", device_regions=(uart,)))
    placed = [Placed(spec, spec.name) for spec in (*found.sps, *found.vms)]
    problems = Problems()
    check_device_memory(placed, RANGES, problems)
    return [str(each) for each in problems.found]


def test_an_sp_has_devices_where_the_spmc_manifest_has_some() -> None:
    assert outside(0x1C09_F000) == outside(0x1C0B_0000) == []
    line = "a: uart: 0x1c0a0000-0x1c0a0fff is not in the SPMC manifest's device-memory"
    assert outside(0x1C0A_0000) == [line]


def test_a_world_of_which_it_lists_nothing_is_not_judged() -> None:
    assert outside(0x1C0A_0000, attributes=0xB) == []
    assert outside(0x1C0A_0000, make=vm) == []
