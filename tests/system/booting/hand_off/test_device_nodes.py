"""What a kernel's devicetree tells of devices, by the bindings of Linux."""

import pytest

from ffabric.machine.devices.catalogue import TYPES
from ffabric.system.booting.hand_off import kernel
from ffabric.system.booting.hand_off.device_nodes import BINDINGS, EDGE, interrupt
from ffabric.system.description.python import describe, vm
from ffabric.system.files.dtb import parse_dtb
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt
from ffabric.system.spec import DeviceSpec, KernelBoot

RETURN = b"\xc0\x03\x5f\xd6"
BASE = 0x1C10_0000


def device(kind, interrupt=60, size=0x1000, **options):
    return DeviceSpec(
        type=kind,
        name=kind,
        base=BASE,
        size=size,
        secure=False,
        interrupt=interrupt,
        options=options,
    )


def region(device, at, *, interrupt=False):
    line = (Interrupt(id=device.interrupt, attributes=1 << 9),) if interrupt else ()
    return DeviceRegion(
        name=f"frame{at:x}",
        base_address=at,
        pages=device.size // 0x1000,
        attributes=3,
        interrupts=line,
    )


def tree(device, frames=2, engine="qemu"):
    """The devicetree of a VM that may reach so many of the device's frames."""
    regions = tuple(
        region(device, at, interrupt=at == device.base and device.interrupt is not None)
        for at in device.bases[:frames]
    )
    linux = vm(
        name="linux",
        image=RETURN,
        engine=engine,
        kernel=KernelBoot(b"", ""),
        device_regions=regions,
    )
    spec = describe(vms=[linux], devices=[device])
    board = kernel.board_of(spec, spec.vms[0])
    return parse_dtb(kernel.Layout(spec.vms[0], spec.mpidrs, None, board).files[0][1]).root


def clocks(root):
    """The rates of a tree's fixed clocks, by phandle."""
    return {
        node.u32("phandle"): node.u32("clock-frequency")
        for node in root.children
        if "clock-frequency" in node.props
    }


def test_a_watchdog_of_primecell_s_kind_has_the_clock_that_it_counts_with():
    root = tree(device("sp805"), frames=1)
    node = root.child("watchdog@1c100000")
    assert node.strings("compatible") == ("arm,sp805", "arm,primecell")
    assert node.cells("interrupts") == (0, 28, 4)
    counted, bus = node.cells("clocks")
    assert node.strings("clock-names") == ("wdog_clk", "apb_pclk")
    assert (clocks(root)[counted], clocks(root)[bus]) == (32_768, 24_000_000)


def test_a_frequency_of_the_user_s_is_told():
    root = tree(device("sp805", frequency=1_000_000), frames=1)
    assert clocks(root)[root.child("watchdog@1c100000").cells("clocks")[0]] == 1_000_000


def test_two_rates_are_two_clocks_and_one_rate_is_one():
    assert sorted(clocks(tree(device("sp805"), 1)).values()) == [32_768, 24_000_000]
    assert list(clocks(tree(device("sp805", frequency=24_000_000), 1)).values()) == [24_000_000]


def test_the_generic_watchdog_has_its_control_frame_first_and_its_refresh_frame_where_it_is():
    node = tree(device("generic_watchdog", refresh_base=0x1C20_0000)).child("watchdog@1c100000")
    assert node.string("compatible") == "arm,sbsa-gwdt"
    assert node.cells("reg") == (0, BASE, 0, 0x1000, 0, 0x1C20_0000, 0, 0x1000)


def test_a_timer_s_frame_is_below_its_control_frame():
    node = tree(device("generic_timer")).child("timer@1c101000")
    assert node.string("compatible") == "arm,armv7-timer-mem"
    frame = node.child("frame@1c100000")
    assert frame.cells("reg") == (0, BASE, 0, 0x1000)
    assert frame.cells("interrupts") == (0, 28, 4)


def test_an_smmu_is_one_row_of_registers_and_coherent():
    node = tree(device("smmuv3", size=0x1_0000)).child("iommu@1c100000")
    assert node.cells("reg") == (0, BASE, 0, 0x2_0000)
    assert "dma-coherent" in node.props


@pytest.mark.parametrize("kind", ["generic_watchdog", "generic_timer"])
def test_a_vm_without_one_of_the_frames_is_not_told(kind):
    told = {node.name for node in tree(device(kind)).children}
    less = {node.name for node in tree(device(kind), frames=1).children}
    assert len(told - less) == 1


@pytest.mark.parametrize("engine", ["unicorn", "qemu"])
def test_a_type_without_a_binding_is_not_told_of(engine):
    root = tree(device("stub", interrupt=None), frames=1, engine=engine)
    assert [node.name for node in root.children if node.name.endswith("1c100000")] == []


def test_without_an_interrupt_there_is_none():
    root = tree(device("sp805", interrupt=None), frames=1)
    assert "interrupts" not in root.child("watchdog@1c100000").props


@pytest.mark.parametrize(
    ("intid", "cells"), [(32, (0, 0)), (1019, (0, 987)), (4096, (2, 0)), (5119, (2, 1023))]
)
def test_extended_spis_are_told_as_what_they_are(intid, cells):
    told = interrupt(intid, EDGE)
    assert told == b"".join(word.to_bytes(4, "big") for word in (*cells, 1))


def test_what_is_bound_is_a_type_with_a_compatible_string():
    assert set(BINDINGS) == {kind for kind, description in TYPES.items() if description.compatible}
