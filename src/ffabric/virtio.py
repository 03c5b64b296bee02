"""Virtio over FF-A: the partitions at both ends of virtio-msg, devices, and their drivers."""

from ffabric._face import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.guests.virtio.block import BlockDevice
    from ffabric.guests.virtio.block_driver import BlockDriver
    from ffabric.guests.virtio.console import ConsoleDevice
    from ffabric.guests.virtio.console_driver import ConsoleDriver
    from ffabric.guests.virtio.device import Device
    from ffabric.guests.virtio.driver import DeviceLost, Driver
    from ffabric.guests.virtio.i2c import I2cDevice
    from ffabric.guests.virtio.i2c_driver import I2cDriver
    from ffabric.guests.virtio.vhost_user import kinds
    from ffabric.guests.virtio.vhost_user.device import VhostUserDevice
    from ffabric.guests.virtio_msg.partition_device import DeviceSide
    from ffabric.guests.virtio_msg.partition_driver import DriverSide
    from ffabric.lab.vhost.system import boot_with_devices
    from ffabric.machine.host.vhost_user import programs

__all__ = [
    "BlockDevice",
    "BlockDriver",
    "ConsoleDevice",
    "ConsoleDriver",
    "Device",
    "DeviceLost",
    "DeviceSide",
    "Driver",
    "DriverSide",
    "I2cDevice",
    "I2cDriver",
    "VhostUserDevice",
    "boot_with_devices",
    "kinds",
    "programs",
]

_HOMES = {
    "BlockDevice": "ffabric.guests.virtio.block",
    "BlockDriver": "ffabric.guests.virtio.block_driver",
    "boot_with_devices": "ffabric.lab.vhost.system",
    "ConsoleDevice": "ffabric.guests.virtio.console",
    "ConsoleDriver": "ffabric.guests.virtio.console_driver",
    "Device": "ffabric.guests.virtio.device",
    "DeviceLost": "ffabric.guests.virtio.driver",
    "DeviceSide": "ffabric.guests.virtio_msg.partition_device",
    "Driver": "ffabric.guests.virtio.driver",
    "DriverSide": "ffabric.guests.virtio_msg.partition_driver",
    "I2cDevice": "ffabric.guests.virtio.i2c",
    "I2cDriver": "ffabric.guests.virtio.i2c_driver",
    "kinds": "ffabric.guests.virtio.vhost_user.kinds:.",
    "programs": "ffabric.machine.host.vhost_user.programs:.",
    "VhostUserDevice": "ffabric.guests.virtio.vhost_user.device",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
