"""What an operating system's kernel finds when it is entered: its devicetree, its initial files.

Sources: Linux Documentation/arch/arm64/booting.rst (image header, registers, alignment); Devicetree
Specification v0.4; QEMU docs/system/arm/virt.rst. The tree describes what QEMU's `virt` machine
gives its normal world, or (`board_of`) what a VM under Unicorn has here. Devices that are the
secure world's are not in it.

The image lies where it was loaded. From the end of the RAM downwards come the devicetree, in a
block of its own, and the initial file system.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ffabric.abi.words import PAGE, pages_for
from ffabric.machine.gic import FIRST_SPI, REDISTRIBUTOR_SIZE
from ffabric.system.booting.hand_off.device_nodes import (
    EDGE,
    LEVEL,
    device_nodes,
    frames_of,
    interrupt,
    path,
)
from ffabric.system.files.dtb import Node, build_dtb, cells, texts, wide
from ffabric.system.layout.placement import BLOCK
from ffabric.system.layout.qemu import DISTRIBUTOR, REDISTRIBUTORS, UART, UART_SPI
from ffabric.system.spec import (
    QEMU,
    DeviceSpec,
    GicSpec,
    KernelBoot,
    PartitionSpec,
    SystemSpec,
)

EL2 = 2

_GIC, _CLOCKS = 1, 2  # phandles, the second is the first of the clocks
_PPI = 1
_MAINTENANCE_PPI = 9  # of the GIC's virtual CPU interface, for a hypervisor
_TIMER_PPIS = (13, 14, 11, 10)  # secure, non-secure, virtual, hypervisor


class Board(msgspec.Struct, frozen=True):
    """What a devicetree tells of besides processors and memory.

    `gic` are the addresses of the GIC's frames, `conduit` is "smc" or "hvc". `console` is a PL011,
    `devices` are the others. `el` is the exception level at which the kernel is entered, `cpu` what
    its processors are.
    """

    gic: GicSpec
    conduit: str
    console: DeviceSpec | None = None
    devices: tuple[DeviceSpec, ...] = ()
    el: int = 1
    cpu: str = "arm,cortex-a57"


VIRT = Board(
    GicSpec(DISTRIBUTOR[0], REDISTRIBUTORS),
    "smc",
    DeviceSpec(
        type="pl011",
        name="pl011",
        base=UART[0],
        size=UART[1],
        secure=False,
        interrupt=FIRST_SPI + UART_SPI,
    ),
)
"""QEMU's `virt`."""
VIRT_EL2 = replace(VIRT, el=EL2, cpu="arm,neoverse-n1")
"""QEMU's `virt` for a kernel that is a hypervisor: its processors have VHE."""


def board_of(system: SystemSpec, spec: PartitionSpec) -> Board:
    """The board that the software of a VM finds, with the devices that it may reach.

    Its console is the first PL011 among them; in QEMU it is the one of QEMU's machine.
    """
    own = {region.base_address for region in spec.manifest.device_regions}
    kernel = system.hypervisor is None
    if spec.engine == QEMU and kernel:
        return VIRT_EL2 if spec.el == EL2 else VIRT
    devices = tuple(
        each
        for each in system.devices
        if own.issuperset(frames_of(each)) or (kernel and not each.secure)
    )
    if spec.engine == QEMU:
        return replace(VIRT, devices=devices)
    console = next((each for each in devices if each.type == "pl011"), None)
    conduit = "smc" if kernel else "hvc"
    rest = tuple(each for each in devices if each is not console)
    return Board(system.gic, conduit, console, rest)


class Layout:
    """Where things are in the RAM of a kernel: addresses, and what to write there."""

    def __init__(
        self,
        spec: PartitionSpec,
        mpidrs: Sequence[int],
        optee: Node | None = None,
        board: Board = VIRT,
    ) -> None:
        assert spec.kernel is not None
        ram = spec.memory[0]
        end = ram.ipa + sum(piece.size for piece in spec.memory if piece.name == ram.name)
        self.devicetree = (end - 1) // BLOCK * BLOCK
        self.initrd = self.devicetree - _pages(spec.kernel.initrd)
        tree = platform(
            spec.kernel,
            ram=(ram.ipa, end - ram.ipa),
            mpidrs=mpidrs[: spec.vcpus],
            initrd=self.initrd,
            optee=optee,
            board=board,
        )
        self.files = ((self.devicetree, build_dtb(tree)), (self.initrd, spec.kernel.initrd))


def platform(
    boot: KernelBoot,
    *,
    ram: tuple[int, int],
    mpidrs: Sequence[int],
    initrd: int,
    optee: Node | None = None,
    board: Board = VIRT,
) -> Node:
    """The devicetree of a board; ``ram``: base and size, ``initrd``: its address.

    ``optee``: see `optee_node`.
    """
    chosen = {"bootargs": texts(boot.bootargs)}
    if board.console is not None:
        chosen["stdout-path"] = texts(path(board.console))
    if boot.initrd:
        chosen["linux,initrd-start"] = wide(initrd)
        chosen["linux,initrd-end"] = wide(initrd + len(boot.initrd))
    firmware = [Node("firmware", {}, [optee])] if optee else []
    return Node(
        "",
        {
            "#address-cells": cells(2),
            "#size-cells": cells(2),
            "interrupt-parent": cells(_GIC),
            "compatible": texts("linux,dummy-virt"),
            "model": texts("ffabric"),
        },
        [
            Node("chosen", chosen),
            *firmware,
            Node(f"memory@{ram[0]:x}", {"device_type": texts("memory"), "reg": wide(*ram)}),
            _cpus(mpidrs, board.cpu),
            Node(
                "psci",
                {
                    "compatible": texts("arm,psci-1.0", "arm,psci-0.2"),
                    "method": texts(board.conduit),
                },
            ),
            Node(
                "timer",
                {
                    "compatible": texts("arm,armv8-timer"),
                    "always-on": b"",
                    "interrupts": b"".join(cells(_PPI, ppi, LEVEL) for ppi in _TIMER_PPIS),
                },
            ),
            _gic(board, len(mpidrs)),
            *device_nodes([*([board.console] if board.console else []), *board.devices], _CLOCKS),
        ],
    )


def optee_node(notification: int | None = None) -> Node:
    """An OP-TEE answers to its SMC ABI, and notifies with an SPI (linaro,optee-tz.yaml)."""
    properties = {"compatible": texts("linaro,optee-tz"), "method": texts("smc")}
    if notification is not None:
        properties["interrupts"] = interrupt(notification, EDGE)
    return Node("optee", properties)


def _cpus(mpidrs: Sequence[int], cpu: str) -> Node:
    return Node(
        "cpus",
        {"#address-cells": cells(1), "#size-cells": cells(0)},
        [
            Node(
                f"cpu@{mpidr:x}",
                {
                    "device_type": texts("cpu"),
                    "compatible": texts(cpu),
                    "reg": cells(mpidr),
                    "enable-method": texts("psci"),
                },
            )
            for mpidr in mpidrs
        ],
    )


def _gic(board: Board, cpus: int) -> Node:
    gic = board.gic
    reg = (gic.distributor, DISTRIBUTOR[1], gic.redistributors, REDISTRIBUTOR_SIZE * cpus)
    properties = {
        "compatible": texts("arm,gic-v3"),
        "#interrupt-cells": cells(3),
        "#address-cells": cells(0),
        "interrupt-controller": b"",
        "#redistributor-regions": cells(1),
        "reg": wide(*reg),
        "phandle": cells(_GIC),
    }
    if board.el == EL2:
        properties["interrupts"] = cells(_PPI, _MAINTENANCE_PPI, LEVEL)
    return Node(f"intc@{gic.distributor:x}", properties)


def _pages(data: bytes) -> int:
    return pages_for(len(data)) * PAGE
