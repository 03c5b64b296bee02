"""A system whose secure partition has the disks of storage daemons, and a VM that drives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ffabric.abi.virtio_msg.generations import PR28, Generation
from ffabric.guests.virtio.vhost_user import VhostUserBlock, doorbell
from ffabric.guests.virtio_msg.partition_device import DeviceSide
from ffabric.guests.virtio_msg.partition_driver import DriverSide
from ffabric.machine.host.outside import Outside
from ffabric.machine.host.vhost_user.storage_daemon import StorageDaemon
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp
from ffabric.system.system import System

INTERRUPT: Final = 40
"""By which the daemons call the SP."""


def boot_with(
    daemons: Sequence[StorageDaemon], client: DriverSide, *, generation: Generation = PR28
) -> System:
    """The system, booted. A run of it ends when somebody stops the machine."""
    disks = [VhostUserBlock(daemon.front_end) for daemon in daemons]
    devices = DeviceSide(disks, generation=generation, doorbell=INTERRUPT)
    system = boot(describe(sps=[sp(devices, device_regions=(doorbell(INTERRUPT),))], vms=[client]))
    wire(system, disks)
    return system


def wire(system: System, disks: Iterable[VhostUserBlock]) -> None:
    """Let the daemons call the SP."""
    machine = system.machine
    if machine.outside is None:
        machine.outside = Outside()
    for disk in disks:
        disk.connect(machine.outside, lambda: machine.gic.set_pending(INTERRUPT))
