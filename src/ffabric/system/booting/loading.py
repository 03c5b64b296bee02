"""A partition's memory: what stage 2 maps for it, and what lies there when it begins."""

from __future__ import annotations

from collections.abc import Sequence

from ffabric.abi.words import PAGE
from ffabric.firmware.state.endpoints import Booted
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    AF,
    MEMATTR_DEVICE_NGNRNE,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    SW_NS,
    VALID,
    XN,
)
from ffabric.machine.translation.stage2 import Stage2
from ffabric.system.layout.address_spaces import device_maps
from ffabric.system.layout.qemu import UART, is_console
from ffabric.system.manifest.manifest import RegionAttributes
from ffabric.system.spec import QEMU, DeviceSpec, ImageSource, MemoryMap, PartitionSpec, SystemSpec
from ffabric.system.spec import RAM as RAM_NAME

RAM = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB
DEVICE = VALID | AF | MEMATTR_DEVICE_NGNRNE | S2AP_R | S2AP_W | XN
_READ, _WRITE = int(RegionAttributes.READ), int(RegionAttributes.WRITE)
_EXECUTE = int(RegionAttributes.EXECUTE)


def map_memory(spec: PartitionSpec, stage2: Stage2, devices: Sequence[DeviceSpec]) -> None:
    """Map a partition's memory and its devices; in QEMU, of ``devices`` its console alone."""
    for each in spec.memory:
        stage2.map(each.ipa, each.pa, each.size // PAGE, _attributes(spec, each))
    for each in device_maps(spec):
        pa = each.pa
        if spec.engine == QEMU:
            if not is_console(spec, each, devices):
                continue
            pa = UART[0]
        attributes = device_attributes(secure=each.secure and spec.secure)
        if not each.attributes & _WRITE:
            attributes &= ~S2AP_W
        stage2.map(each.ipa, pa, each.size // PAGE, attributes)


def map_own_memory(spec: PartitionSpec, stage2: Stage2) -> None:
    """Let the partition's own memory have the permissions with which it began."""
    own = [each for each in spec.memory if each.name == RAM_NAME]
    for each in spec.memory:
        inside = any(piece.ipa <= each.ipa < piece.ipa + piece.size for piece in own)
        if inside:
            stage2.map(each.ipa, each.pa, each.size // PAGE, _attributes(spec, each))


class Loader:
    """Writes into ``memory`` what partitions of the system ``spec`` begin with."""

    def __init__(self, memory: PhysicalMemory, spec: SystemSpec) -> None:
        self._memory = memory
        self._spec = spec

    def fill(self, spec: PartitionSpec, partition: Booted) -> None:
        """Write all that a partition begins with, its boot information too."""
        self.load(spec, partition)
        if spec.manifest_offset is not None:
            partition.boot_information = self._boot_information(spec)

    def load(self, spec: PartitionSpec, partition: Booted) -> None:
        """Write its image, its manifest, and the files that a kernel is handed."""
        if isinstance(spec.source, ImageSource):
            for part in spec.source.image.parts:
                self._write(spec, part.offset, part.data)
        if spec.manifest_offset is not None:
            self._write(spec, spec.manifest_offset, spec.dtb)
        if spec.kernel is not None:
            from ffabric.system.booting.hand_off.kernel import (  # noqa: PLC0415 - few are kernels
                Layout,
                board_of,
                optee_node,
            )

            told = self._spec.trusted_os is not None
            optee = optee_node(self._spec.notification_interrupt) if told else None
            layout = Layout(spec, self._spec.mpidrs, optee, board_of(self._spec, spec))
            partition.boot_information = layout.devicetree
            for at, data in layout.files:
                self._write(spec, at - spec.load_address, data)

    def _write(self, spec: PartitionSpec, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` from the load address, wherever its pieces are."""
        at = spec.load_address + offset
        for piece in spec.memory:
            if piece.ipa <= at < piece.ipa + piece.size and data:
                part = data[: piece.ipa + piece.size - at]
                self._memory.write(piece.pa + at - piece.ipa, part, secure=piece.secure)
                at += len(part)
                data = data[len(part) :]

    def _boot_information(self, spec: PartitionSpec) -> int:
        """Put the boot information at the load address; its IPA."""
        from ffabric.system.booting.hand_off.boot_information import (  # noqa: PLC0415 - of images
            boot_information,
        )

        for offset, data in boot_information(spec):
            self._write(spec, offset, data)
        return spec.load_address


def _attributes(spec: PartitionSpec, region: MemoryMap) -> int:
    attrs = RAM
    if region.attributes & _READ:
        attrs |= S2AP_R
    if region.attributes & _WRITE:
        attrs |= S2AP_W
    if not region.attributes & _EXECUTE:
        attrs |= XN
    if not spec.secure or not region.secure:
        attrs |= SW_NS
    return attrs


def device_attributes(*, secure: bool) -> int:
    """The stage-2 attributes of a device."""
    return DEVICE if secure else DEVICE | SW_NS
