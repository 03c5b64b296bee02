"""Devices: what a device side may have, each with what is behind it."""

from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.devices.fs import FsDevice
from ffabric.guests.virtio.devices.fs_tree import FsError, Tree, read_folder
from ffabric.guests.virtio.devices.gpio import GpioDevice
from ffabric.guests.virtio.devices.i2c import I2cDevice, Registers, Target
from ffabric.guests.virtio.devices.network import Network, NetworkDevice
from ffabric.guests.virtio.devices.rng import RngDevice
from ffabric.guests.virtio.devices.vsock import EchoService, SocketService, Stream, VsockDevice

__all__ = [
    "BlockDevice",
    "ConsoleDevice",
    "EchoService",
    "FsDevice",
    "FsError",
    "GpioDevice",
    "I2cDevice",
    "Network",
    "NetworkDevice",
    "Registers",
    "RngDevice",
    "SocketService",
    "Stream",
    "Target",
    "Tree",
    "VsockDevice",
    "read_folder",
]
