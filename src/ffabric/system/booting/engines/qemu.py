"""The partitions that QEMU executes, each in a process with the memory of its world.

A VM is confined by its stage 2, whose addresses are QEMU's physical ones: our banks are where they
are, and of QEMU's devices a VM has a GIC and a console. Devices of ours it reaches by trapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.machine.engines.qemu.engine import QemuGuest
from ffabric.machine.engines.qemu.process import Image, Piece, pieces
from ffabric.machine.engines.qemu.secure_partition import QemuSecurePartition
from ffabric.machine.engines.qemu.trapped import Devices, Window
from ffabric.machine.engines.qemu.trusted_os import QemuTrustedOs
from ffabric.machine.translation.watched import WatchedStage2
from ffabric.system.layout.address_spaces import device_maps
from ffabric.system.layout.qemu import is_console
from ffabric.system.manifest.manifest import RegionAttributes
from ffabric.system.spec import TRUSTED_OS

if TYPE_CHECKING:
    from ffabric.system.endpoint import Endpoint

_WRITE = RegionAttributes.WRITE
GONE = (fid.FFA_ERROR, 0, Status.ABORTED.register)
"""What a call returns when nobody answers any more."""


def make_guest(endpoint: Endpoint) -> QemuGuest:
    """The QEMU of a partition; it is started with its first vCPU."""
    if endpoint.spec.kind == TRUSTED_OS:
        return _trusted_os(endpoint)
    if endpoint.partition.stage2 is None:
        return _kernel(endpoint)
    return _secure_partition(endpoint) if endpoint.spec.secure else _vm(endpoint)


def _devices(endpoint: Endpoint) -> Devices | None:
    system, spec = endpoint.system, endpoint.spec
    windows = [
        Window(each.ipa, each.ipa + each.size, each.pa, bool(each.attributes & _WRITE))
        for each in device_maps(spec)
        if not is_console(spec, each, system.spec.devices)
    ]
    return Devices(system.machine.bus, windows, secure=spec.secure) if windows else None


def _vm(endpoint: Endpoint) -> QemuGuest:
    machine, spec = endpoint.system.machine, endpoint.spec
    stage2 = endpoint.partition.stage2
    assert isinstance(stage2, WatchedStage2)
    return QemuGuest(
        machine,
        spec.name,
        pieces(bank for bank in machine.memory.banks if not bank.secure),
        cpus=len(endpoint.partition.contexts),
        on_line=lambda line: endpoint.system.printed(spec.name, line),
        gone=GONE,
        stage2=stage2,
        devices=_devices(endpoint),
    )


def _secure_partition(endpoint: Endpoint) -> QemuGuest:
    """An SP: what it borrows may be non-secure, so all memory is there."""
    machine, spec = endpoint.system.machine, endpoint.spec
    stage2 = endpoint.partition.stage2
    assert isinstance(stage2, WatchedStage2)
    return QemuSecurePartition(
        machine,
        spec.name,
        pieces(machine.memory.banks),
        cpus=len(endpoint.partition.contexts),
        on_line=lambda line: endpoint.system.printed(spec.name, line),
        stage2=stage2,
        devices=_devices(endpoint),
        level=spec.el,
        secure_state=spec.secure_state,
    )


def _kernel(endpoint: Endpoint) -> QemuGuest:
    """The kernel of the normal world, without a hypervisor: its bank is where it is linked to."""
    machine, spec = endpoint.system.machine, endpoint.spec
    bank = machine.memory.bank_at(spec.memory[0].pa)
    assert bank is not None
    return QemuGuest(
        machine,
        spec.name,
        [Piece(bank.fd, bank.size)],
        cpus=len(endpoint.partition.contexts),
        on_line=lambda line: endpoint.system.printed(spec.name, line),
        gone=GONE,
        el2=spec.el == 2,
    )


def _trusted_os(endpoint: Endpoint) -> QemuTrustedOs:
    machine, spec = endpoint.system.machine, endpoint.spec
    ram = spec.memory[0]
    data = machine.memory.read(ram.pa, ram.size, secure=True).rstrip(b"\0")
    trusted_os = QemuTrustedOs(
        machine,
        spec.name,
        pieces(bank for bank in machine.memory.banks if not bank.secure),
        cpus=len(endpoint.partition.contexts),
        on_line=lambda line: endpoint.system.printed(spec.name, line),
        image=Image(ram.pa, data),
    )
    trusted_os.notification = endpoint.system.spec.notification_interrupt
    return trusted_os
