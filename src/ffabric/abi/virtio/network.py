"""Network devices: configuration and what precedes each frame (virtio 1.3, 5.1)."""

from __future__ import annotations

from typing import Final

from ffabric.abi.layout import Layout, raw, u8, u16

F_MTU: Final = 1 << 3
F_MAC: Final = 1 << 5
F_STATUS: Final = 1 << 16

RECEIVE, TRANSMIT = 0, 1
"""The virtqueues of the first pair."""
LINK_UP: Final = 1 << 0
MAC_SIZE: Final = 6
ETHERNET_HEADER: Final = 14
"""Destination, source, type."""
LEAST_MTU: Final = 68
MOST_MTU: Final = 0xFFFF

CONFIG: Final = Layout(
    "virtio_net_config",
    "virtio 1.3, 5.1.4",
    raw("mac", MAC_SIZE, "MAC address"),
    u16("status", "Bit 0: the link is up"),
    u16("max_virtqueue_pairs", "How many pairs of virtqueues"),
    u16("mtu", "Largest payload of a frame in bytes"),
)
CONFIG_SIZE: Final = CONFIG.at().size
STATUS_OFFSET: Final = CONFIG.at().offsets["status"]

HEADER: Final = Layout(
    "virtio_net_hdr",
    "virtio 1.3, 5.1.6",
    u8("flags", "What is known of checksums"),
    u8("gso_type", "0: this is one frame"),
    u16("hdr_len", "Bytes of headers, of what is to be segmented"),
    u16("gso_size", "Bytes of a segment"),
    u16("csum_start", "Where the checksum begins"),
    u16("csum_offset", "Where it is stored"),
    u16("num_buffers", "Buffers that the frame is in; 1, unless they are merged"),
)
HEADER_SIZE: Final = HEADER.at().size
FRAME_FOLLOWS: Final = HEADER.at().pack(0, 0, 0, 0, 0, 0, 1)
"""The header of a received frame."""
NO_OFFLOADS: Final = bytes(HEADER_SIZE)
"""The header of a frame to send: the device has nothing to compute."""
