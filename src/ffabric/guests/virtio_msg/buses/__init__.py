"""Buses other than FF-A, with the same transport, devices and drivers."""

from ffabric.guests.virtio_msg.buses.host import DeviceHost, SameMemory
from ffabric.guests.virtio_msg.buses.local import (
    HYPERCALL,
    LocalBus,
    hypercalls,
    loopback,
    registers,
    serve_calls,
)
from ffabric.guests.virtio_msg.buses.mailbox import Mailbox, MailboxBus, PoolDma, run, serve
from ffabric.guests.virtio_msg.buses.register_window import Window

__all__ = [
    "HYPERCALL",
    "DeviceHost",
    "LocalBus",
    "Mailbox",
    "MailboxBus",
    "PoolDma",
    "SameMemory",
    "Window",
    "hypercalls",
    "loopback",
    "registers",
    "run",
    "serve",
    "serve_calls",
]
