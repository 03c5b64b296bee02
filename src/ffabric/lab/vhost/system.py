"""A system with a partition that has devices of processes outside, and a VM that drives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ffabric.abi.virtio_msg.generations import DEFAULT, Generation, GenerationName, as_generation
from ffabric.guests.virtio.vhost_user.device import VhostUserDevice, doorbell
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.machine.host.outside import Outside
from ffabric.session.system import System as InHand
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.system import System

INTERRUPT: Final = 40
"""By which back ends call the partition that has their devices."""


def boot_with(
    devices: Sequence[VhostUserDevice],
    client: DriverSide,
    *,
    generation: Generation = DEFAULT,
    in_vm: str = "",
) -> System:
    """The system, booted. A run of it ends when somebody stops the machine.

    The devices are those of an SP, or of a VM with that name.
    """
    name = in_vm or "devices"
    side = DeviceSide(devices, name=name, generation=generation, doorbell=INTERRUPT)
    regions = (doorbell(INTERRUPT, secure=not in_vm),)
    if in_vm:
        spec = describe(sps=["unconcerned"], vms=[vm(side, device_regions=regions), client])
    else:
        spec = describe(sps=[sp(side, device_regions=regions)], vms=[client])
    system = boot(spec)
    wire(system, devices)
    return system


def boot_with_devices(
    devices: Sequence[VhostUserDevice],
    client: DriverSide,
    *,
    generation: Generation | GenerationName = DEFAULT,
) -> InHand:
    """A system with an SP that has ``devices`` of processes outside, and the VM ``client``.

    Nothing has run yet: `System.run` begins, and ends when somebody stops it (`System.stop`).
    """
    return InHand(boot_with(devices, client, generation=as_generation(generation)))


boot_with_devices.__module__ = "ffabric.virtio"


def wire(system: System, devices: Iterable[VhostUserDevice]) -> None:
    """Let the back ends call the partition."""
    machine = system.machine
    if machine.outside is None:
        machine.outside = Outside()
    for device in devices:
        device.connect(machine.outside, lambda: machine.gic.set_pending(INTERRUPT))
