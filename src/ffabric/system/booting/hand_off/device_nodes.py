"""What a devicetree tells of the devices of a system, by the bindings that Linux keeps.

Source: Linux Documentation/devicetree/bindings: serial/pl011, watchdog/arm,sp805 and
arm,sbsa-gwdt, timer/arm,arch_timer_mmio, iommu/arm,smmu-v3, interrupt-controller/arm,gic-v3.
A device that has no binding has no node: its driver has to know where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ffabric.machine.devices.catalogue import TYPES
from ffabric.machine.devices.sp805 import FREQUENCY as SP805_HZ
from ffabric.machine.gic import EXTENDED_SPIS, FIRST_SPI
from ffabric.system.files.dtb import Node, cells, texts, wide
from ffabric.system.spec import DeviceSpec

CLOCK_HZ = 24_000_000
EDGE, LEVEL = 1, 4
_SPI, _ESPI = 0, 2


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """How devices of a type are told of.

    `node` is the generic name of a node, `frames` says how many register frames a driver needs, and
    `in_a_row` that they are one range of registers. `clocks` are the names of its clocks, `hz` the
    rate of the first of them, `properties` what all of the type have.
    """

    node: str
    frames: int = 1
    in_a_row: bool = False
    primecell: bool = False
    clocks: tuple[str, ...] = ()
    hz: int = CLOCK_HZ
    properties: dict[str, bytes] = {}


BINDINGS = {
    "pl011": Binding(node="pl011", primecell=True, clocks=("uartclk", "apb_pclk")),
    "sp805": Binding(node="watchdog", primecell=True, clocks=("wdog_clk", "apb_pclk"), hz=SP805_HZ),
    "generic_watchdog": Binding(node="watchdog", frames=2),
    "generic_timer": Binding(node="timer", frames=2),
    "smmuv3": Binding(
        node="iommu",
        frames=2,
        in_a_row=True,
        properties={
            "#iommu-cells": cells(1),
            "dma-coherent": b"",
            "interrupt-names": texts("eventq"),
        },
    ),
}
"""By type; what is not here is told of to nobody."""


def interrupt(intid: int, trigger: int) -> bytes:
    """The cells of a shared peripheral interrupt of a GICv3, an extended one, too."""
    if intid in EXTENDED_SPIS:
        return cells(_ESPI, intid - EXTENDED_SPIS.start, trigger)
    return cells(_SPI, intid - FIRST_SPI, trigger)


def frames_of(device: DeviceSpec) -> tuple[int, ...]:
    """The addresses of the register frames that a driver needs; () if there is no binding."""
    binding = BINDINGS.get(device.type)
    return device.bases[: binding.frames] if binding else ()


def path(device: DeviceSpec) -> str:
    """Where its node is in the tree."""
    return f"/{BINDINGS[device.type].node}@{device.base:x}"


def device_nodes(devices: Sequence[DeviceSpec], phandle: int) -> Iterator[Node]:
    """The nodes of devices, those of their clocks first; clocks have phandles from `phandle` on."""
    told = [device for device in devices if device.type in BINDINGS]
    rates = sorted({_rate(each) for each in told if BINDINGS[each.type].clocks} | {CLOCK_HZ})
    clocks = {rate: at for at, rate in enumerate(rates, phandle)}
    for rate, handle in clocks.items():
        yield Node(
            "apb-pclk" if rate == CLOCK_HZ else f"clock-{rate}",
            {
                "compatible": texts("fixed-clock"),
                "#clock-cells": cells(0),
                "clock-frequency": cells(rate),
                "phandle": cells(handle),
            },
        )
    for device in told:
        yield _timer(device) if device.type == "generic_timer" else _node(device, clocks)


def _rate(device: DeviceSpec) -> int:
    """Hz of the clock that it counts with."""
    return int(device.options.get("frequency", BINDINGS[device.type].hz))


def _node(device: DeviceSpec, clocks: dict[int, int]) -> Node:
    binding = BINDINGS[device.type]
    primecell = ("arm,primecell",) if binding.primecell else ()
    properties = {"compatible": texts(*TYPES[device.type].compatible, *primecell)}
    if binding.in_a_row:
        properties["reg"] = wide(device.base, binding.frames * device.size)
    else:
        properties["reg"] = b"".join(wide(base, device.size) for base in frames_of(device))
    if binding.clocks:
        rest = [clocks[CLOCK_HZ]] * (len(binding.clocks) - 1)
        properties["clocks"] = cells(clocks[_rate(device)], *rest)
        properties["clock-names"] = texts(*binding.clocks)
    if device.interrupt is not None:
        properties["interrupts"] = interrupt(device.interrupt, LEVEL)
    return Node(f"{binding.node}@{device.base:x}", properties | binding.properties)


def _timer(device: DeviceSpec) -> Node:
    """A memory-mapped timer of one frame: its node is its control frame's, with one below."""
    frame, control = frames_of(device)
    properties = {"frame-number": cells(0), "reg": wide(frame, device.size)}
    if device.interrupt is not None:
        properties["interrupts"] = interrupt(device.interrupt, LEVEL)
    return Node(
        f"timer@{control:x}",
        {
            "compatible": texts(*TYPES[device.type].compatible),
            "#address-cells": cells(2),
            "#size-cells": cells(2),
            "ranges": b"",
            "reg": wide(control, device.size),
        },
        [Node(f"frame@{frame:x}", properties)],
    )
