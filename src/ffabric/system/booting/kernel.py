"""What an operating system's kernel finds when it is entered: its devicetree, its initial files.

Sources: Linux Documentation/arch/arm64/booting.rst (image header, registers, alignment); Devicetree
Specification v0.4; QEMU docs/system/arm/virt.rst. The tree describes what QEMU's `virt` machine
gives its normal world, or (`board_of`) what a VM under Unicorn has here. Devices that are the
secure world's are not in it.

The image lies where it was loaded. From the end of the RAM downwards come the devicetree, in a
block of its own, and the initial file system.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ffabric.abi.words import PAGE, pages_for
from ffabric.machine.gic import FIRST_SPI
from ffabric.system.files.dtb import Node, build_dtb
from ffabric.system.layout.placement import BLOCK
from ffabric.system.spec import QEMU, GicSpec, ImageSource, KernelBoot, PartitionSpec, SystemSpec

DISTRIBUTOR = (0x0800_0000, 0x1_0000)
REDISTRIBUTORS = 0x080A_0000
REDISTRIBUTOR_SIZE = 0x2_0000
UART = (0x0900_0000, 0x1000)
UART_SPI = 1
CLOCK_HZ = 24_000_000
EL2 = 2

_MAGIC_AT, _MAGIC = 56, b"ARM\x64"
_IMAGE_SIZE = struct.Struct("<Q")
_IMAGE_SIZE_AT = 16
_GIC, _CLOCK = 1, 2  # phandles
_SPI, _PPI = 0, 1
_EDGE, _LEVEL = 1, 4
_MAINTENANCE_PPI = 9  # of the GIC's virtual CPU interface, for a hypervisor
_TIMER_PPIS = (13, 14, 11, 10)  # secure, non-secure, virtual, hypervisor


class Uart(msgspec.Struct, frozen=True):
    """A PL011: its address, and its interrupt (None: it has none)."""

    base: int
    intid: int | None = None


class Board(msgspec.Struct, frozen=True):
    """What a devicetree tells of besides processors and memory.

    `gic` are the addresses of the GIC's frames, `conduit` is "smc" or "hvc". `uart` is the console,
    `serials` are more of its kind. `el` is the exception level at which the kernel is entered,
    `cpu` what its processors are.
    """

    gic: GicSpec
    conduit: str
    uart: Uart | None = None
    serials: tuple[Uart, ...] = ()
    el: int = 1
    cpu: str = "arm,cortex-a57"


VIRT = Board(GicSpec(DISTRIBUTOR[0], REDISTRIBUTORS), "smc", Uart(UART[0], FIRST_SPI + UART_SPI))
"""QEMU's `virt`."""
VIRT_EL2 = replace(VIRT, el=EL2, cpu="arm,neoverse-n1")
"""The same for a kernel that is a hypervisor: its processors have VHE."""


def board_of(system: SystemSpec, spec: PartitionSpec) -> Board:
    """The board that the software of a VM finds, with the PL011s that it may reach.

    The first one is its console; in QEMU that is the one of QEMU's machine.
    """
    own = {region.base_address for region in spec.manifest.device_regions}
    kernel = system.hypervisor is None
    if spec.engine == QEMU and kernel:
        return VIRT_EL2 if spec.el == EL2 else VIRT
    uarts = [
        Uart(each.base, each.interrupt)
        for each in system.devices
        if each.type == "pl011" and (each.base in own or (kernel and not each.secure))
    ]
    if spec.engine == QEMU:
        return replace(VIRT, serials=tuple(uarts))
    conduit = "smc" if kernel else "hvc"
    return Board(system.gic, conduit, next(iter(uarts), None), tuple(uarts[1:]))


def image_size(image: bytes) -> int:
    """The memory that a raw kernel image takes, zeros included; its length if it does not say."""
    if image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        return len(image)
    return max(len(image), int(_IMAGE_SIZE.unpack_from(image, _IMAGE_SIZE_AT)[0]))


def room(source: ImageSource, boot: KernelBoot) -> int:
    """The least RAM in bytes: the image, the initial files and the devicetree."""
    image = source.image
    whole = max(part.offset + image_size(part.data) for part in image.parts)
    return pages_for(max(whole, image.end)) * PAGE + _pages(boot.initrd) + BLOCK


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
    chosen = {"bootargs": _text(boot.bootargs)}
    if board.uart is not None:
        chosen["stdout-path"] = _text(f"/pl011@{board.uart.base:x}")
    if boot.initrd:
        chosen["linux,initrd-start"] = _wide(initrd)
        chosen["linux,initrd-end"] = _wide(initrd + len(boot.initrd))
    firmware = [Node("firmware", {}, [optee])] if optee else []
    return Node(
        "",
        {
            "#address-cells": _cells(2),
            "#size-cells": _cells(2),
            "interrupt-parent": _cells(_GIC),
            "compatible": _text("linux,dummy-virt"),
            "model": _text("ffabric"),
        },
        [
            Node("chosen", chosen),
            *firmware,
            Node(f"memory@{ram[0]:x}", {"device_type": _text("memory"), "reg": _wide(*ram)}),
            _cpus(mpidrs, board.cpu),
            Node(
                "psci",
                {
                    "compatible": _text("arm,psci-1.0", "arm,psci-0.2"),
                    "method": _text(board.conduit),
                },
            ),
            Node(
                "timer",
                {
                    "compatible": _text("arm,armv8-timer"),
                    "always-on": b"",
                    "interrupts": b"".join(_cells(_PPI, ppi, _LEVEL) for ppi in _TIMER_PPIS),
                },
            ),
            _gic(board, len(mpidrs)),
            Node(
                "apb-pclk",
                {
                    "compatible": _text("fixed-clock"),
                    "#clock-cells": _cells(0),
                    "clock-frequency": _cells(CLOCK_HZ),
                    "clock-output-names": _text("clk24mhz"),
                    "phandle": _cells(_CLOCK),
                },
            ),
            *([] if board.uart is None else [_uart(board.uart)]),
            *(_uart(each) for each in board.serials),
        ],
    )


def _uart(uart: Uart) -> Node:
    properties = {
        "compatible": _text("arm,pl011", "arm,primecell"),
        "reg": _wide(uart.base, UART[1]),
        "clocks": _cells(_CLOCK, _CLOCK),
        "clock-names": _text("uartclk", "apb_pclk"),
    }
    if uart.intid is not None:
        properties["interrupts"] = _cells(_SPI, uart.intid - FIRST_SPI, _LEVEL)
    return Node(f"pl011@{uart.base:x}", properties)


def optee_node(notification: int | None = None) -> Node:
    """An OP-TEE answers to its SMC ABI, and notifies with an SPI (linaro,optee-tz.yaml)."""
    properties = {"compatible": _text("linaro,optee-tz"), "method": _text("smc")}
    if notification is not None:
        properties["interrupts"] = _cells(_SPI, notification - FIRST_SPI, _EDGE)
    return Node("optee", properties)


def _cpus(mpidrs: Sequence[int], cpu: str) -> Node:
    return Node(
        "cpus",
        {"#address-cells": _cells(1), "#size-cells": _cells(0)},
        [
            Node(
                f"cpu@{mpidr:x}",
                {
                    "device_type": _text("cpu"),
                    "compatible": _text(cpu),
                    "reg": _cells(mpidr),
                    "enable-method": _text("psci"),
                },
            )
            for mpidr in mpidrs
        ],
    )


def _gic(board: Board, cpus: int) -> Node:
    gic = board.gic
    reg = (gic.distributor, DISTRIBUTOR[1], gic.redistributors, REDISTRIBUTOR_SIZE * cpus)
    properties = {
        "compatible": _text("arm,gic-v3"),
        "#interrupt-cells": _cells(3),
        "#address-cells": _cells(0),
        "interrupt-controller": b"",
        "#redistributor-regions": _cells(1),
        "reg": _wide(*reg),
        "phandle": _cells(_GIC),
    }
    if board.el == EL2:
        properties["interrupts"] = _cells(_PPI, _MAINTENANCE_PPI, _LEVEL)
    return Node(f"intc@{gic.distributor:x}", properties)


def _pages(data: bytes) -> int:
    return pages_for(len(data)) * PAGE


def _cells(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def _wide(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "big") for value in values)


def _text(*values: str) -> bytes:
    return b"".join(value.encode() + b"\0" for value in values)
