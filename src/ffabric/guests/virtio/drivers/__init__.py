"""Drivers: what a driver side does with the devices that it finds."""

from ffabric.abi.virtio.gpio import Irq
from ffabric.guests.virtio.drivers.block import BlockDriver, BlockError
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio.drivers.fs import FsDriver
from ffabric.guests.virtio.drivers.gpio import GpioDriver, GpioError
from ffabric.guests.virtio.drivers.i2c import I2cDriver, NotAcknowledged
from ffabric.guests.virtio.drivers.network import NetworkDriver
from ffabric.guests.virtio.drivers.rng import RngDriver
from ffabric.guests.virtio.drivers.vsock import SocketError, VsockDriver, VsockSocket

__all__ = [
    "BlockDriver",
    "BlockError",
    "ConsoleDriver",
    "FsDriver",
    "GpioDriver",
    "GpioError",
    "I2cDriver",
    "Irq",
    "NetworkDriver",
    "NotAcknowledged",
    "RngDriver",
    "SocketError",
    "VsockDriver",
    "VsockSocket",
]
