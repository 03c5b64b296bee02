"""Virtio over FF-A: the partitions at both ends of virtio-msg, devices, and their drivers."""

from ffabric._face import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.guests.virtio import devices, drivers
    from ffabric.guests.virtio.device import Device
    from ffabric.guests.virtio.driver import DeviceLost, Driver
    from ffabric.guests.virtio.vhost_user import kinds
    from ffabric.guests.virtio.vhost_user.device import VhostUserDevice
    from ffabric.guests.virtio_msg import buses
    from ffabric.guests.virtio_msg.device.partition import DeviceSide
    from ffabric.guests.virtio_msg.driver.partition import DriverSide
    from ffabric.guests.virtio_msg.outside.devices import SocketDevices
    from ffabric.guests.virtio_msg.outside.driver import SocketDriver
    from ffabric.lab.vhost.system import boot_with_devices
    from ffabric.machine.host.vhost_user import programs

__all__ = [
    "Device",
    "DeviceLost",
    "DeviceSide",
    "Driver",
    "DriverSide",
    "SocketDevices",
    "SocketDriver",
    "VhostUserDevice",
    "boot_with_devices",
    "buses",
    "devices",
    "drivers",
    "kinds",
    "programs",
]

_HOMES = {
    "boot_with_devices": "ffabric.lab.vhost.system",
    "buses": "ffabric.guests.virtio_msg.buses:.",
    "Device": "ffabric.guests.virtio.device",
    "DeviceLost": "ffabric.guests.virtio.driver",
    "devices": "ffabric.guests.virtio.devices:.",
    "DeviceSide": "ffabric.guests.virtio_msg.device.partition",
    "Driver": "ffabric.guests.virtio.driver",
    "drivers": "ffabric.guests.virtio.drivers:.",
    "DriverSide": "ffabric.guests.virtio_msg.driver.partition",
    "kinds": "ffabric.guests.virtio.vhost_user.kinds:.",
    "SocketDevices": "ffabric.guests.virtio_msg.outside.devices",
    "SocketDriver": "ffabric.guests.virtio_msg.outside.driver",
    "programs": "ffabric.machine.host.vhost_user.programs:.",
    "VhostUserDevice": "ffabric.guests.virtio.vhost_user.device",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
