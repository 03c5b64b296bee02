"""Consoles: configuration and control messages (virtio 1.3, 5.3)."""

from __future__ import annotations

from typing import Final

from ffabric.abi.layout import Layout, u16, u32

F_SIZE: Final = 1 << 0
F_MULTIPORT: Final = 1 << 1
F_EMERG_WRITE: Final = 1 << 2

RECEIVE, TRANSMIT = 0, 1
"""The virtqueues of port 0."""

CONFIG: Final = Layout(
    "virtio_console_config",
    "virtio 1.3, 5.3.4",
    u16("cols", "Columns"),
    u16("rows", "Rows"),
    u32("max_nr_ports", "How many ports"),
    u32("emerg_wr", "A character written here is printed, with no queue set up"),
)
CONFIG_SIZE: Final = CONFIG.at().size
EMERG_WR_OFFSET: Final = CONFIG.at().offsets["emerg_wr"]
WRITABLE: Final = ((EMERG_WR_OFFSET, 4, 0),)
"""What a driver may write of the configuration: offset, bytes, and with which feature (none here:
it need not acknowledge it, 5.3.4)."""
