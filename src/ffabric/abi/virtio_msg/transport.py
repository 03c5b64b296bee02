"""The messages between a driver and a device (virtio-msg pr28, transport messages; v2: Linux).

`since=2` and `until=1` are generations: what v2 changed is GET_DEVICE_INFO (a UUID, blocks instead
of bits), the flags of the virtqueue messages, and the width of GET_SHM. rfc2, which is 0, has no
reserved word before the addresses of virtqueues.
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.layout import raw, sbz, u16, u32, u64
from ffabric.abi.virtio_msg.body import BYTES, NOTHING, WORDS, Body, MessageType, Tail

_BLOCKS = (u32("index", "First block of 32 feature bits"), u32("num", "How many blocks"))
_BITS = Tail("blocks", "num", WORDS)
_INDEX = u32("index", "Number of the virtqueue")
_CONFIG = (u32("offset", "Byte offset in the configuration"), u32("length", "Bytes"))
_GENERATION = u32("generation", "Generation count of the configuration")
_ADDRESSES = (
    u64("desc_area", "Address of the descriptor area"),
    u64("driver_area", "Address of the driver area"),
    u64("device_area", "Address of the device area"),
)
_STATUS = Body(u32("status", "Device status bits"))

QUEUE_ENABLED: Final = 1 << 0
"""Flag of GET_VQUEUE and SET_VQUEUE in v2."""
STRICT_CONFIG_GENERATION: Final = 1 << 0
"""Transport feature bit of v2."""

GET_DEVICE_INFO: Final = MessageType(
    0x02,
    "GET_DEVICE_INFO",
    response=Body(
        u32("device_id", "Virtio device id"),
        u32("vendor_id", "Virtio vendor id"),
        u32("num_features", "Feature bits, a multiple of 32", until=1),
        raw("device_uuid", 16, "UUID of the device", since=2),
        u32("num_features", "Blocks of 32 feature bits", since=2),
        u32("config_size", "Bytes of the configuration"),
        u32("max_virtqueues", "How many virtqueues there can be"),
        u16("admin_vq_start", "First administration virtqueue", until=1),
        u16("admin_vq_count", "Administration virtqueues", until=1),
        u32("admin_vq_start", "First administration virtqueue", since=2),
        u32("admin_vq_count", "Administration virtqueues", since=2),
    ),
)
GET_DEVICE_FEATURES: Final = MessageType(
    0x03, "GET_DEVICE_FEATURES", Body(*_BLOCKS), Body(*_BLOCKS, tail=_BITS)
)
SET_DRIVER_FEATURES: Final = MessageType(
    0x04, "SET_DRIVER_FEATURES", Body(*_BLOCKS, tail=_BITS), NOTHING
)
GET_CONFIG: Final = MessageType(
    0x05,
    "GET_CONFIG",
    Body(*_CONFIG),
    Body(_GENERATION, *_CONFIG, tail=Tail("data", "length", BYTES)),
)
SET_CONFIG: Final = MessageType(
    0x06,
    "SET_CONFIG",
    Body(_GENERATION, *_CONFIG, tail=Tail("data", "length", BYTES)),
    Body(_GENERATION, *_CONFIG, tail=Tail("data", "length", BYTES, optional=True)),
)
GET_DEVICE_STATUS: Final = MessageType(0x07, "GET_DEVICE_STATUS", response=_STATUS)
SET_DEVICE_STATUS: Final = MessageType(0x08, "SET_DEVICE_STATUS", _STATUS, _STATUS)
GET_VQUEUE: Final = MessageType(
    0x09,
    "GET_VQUEUE",
    Body(_INDEX),
    Body(
        _INDEX,
        u32("max_size", "Largest size; 0: there is no such virtqueue"),
        u32("size", "Size; 0: it is not set up"),
        sbz(4, since=1, until=1),
        u32("flags", "Bit 0: enabled", since=2),
        *_ADDRESSES,
    ),
)
SET_VQUEUE: Final = MessageType(
    0x0A,
    "SET_VQUEUE",
    Body(
        _INDEX,
        sbz(4, until=1),
        u32("flags", "1: enable", since=2),
        u32("size", "Size"),
        sbz(4, since=1),
        *_ADDRESSES,
    ),
    NOTHING,
)
RESET_VQUEUE: Final = MessageType(0x0B, "RESET_VQUEUE", Body(_INDEX), NOTHING)
GET_SHM: Final = MessageType(
    0x0C,
    "GET_SHM",
    Body(u32("index", "Number of the shared memory region")),
    Body(
        u32("index", "Number of the shared memory region"),
        u32("length", "Bytes; 0: there is no such region", until=1),
        u32("address", "Its address", until=1),
        sbz(4, since=2),
        u64("length", "Bytes; 0: there is no such region", since=2),
        u64("address", "Its address", since=2),
    ),
)
EVENT_CONFIG: Final = MessageType(
    0x40,
    "EVENT_CONFIG",
    Body(
        u32("status", "Device status bits"),
        _GENERATION,
        *_CONFIG,
        tail=Tail("data", "length", BYTES),
    ),
)
EVENT_AVAIL: Final = MessageType(
    0x41,
    "EVENT_AVAIL",
    Body(_INDEX, u32("next", "With NOTIFICATION_DATA: 31 wrap counter, 30:0 next offset")),
)
EVENT_USED: Final = MessageType(0x42, "EVENT_USED", Body(_INDEX))

TRANSPORT: Final = (
    GET_DEVICE_INFO,
    GET_DEVICE_FEATURES,
    SET_DRIVER_FEATURES,
    GET_CONFIG,
    SET_CONFIG,
    GET_DEVICE_STATUS,
    SET_DEVICE_STATUS,
    GET_VQUEUE,
    SET_VQUEUE,
    RESET_VQUEUE,
    GET_SHM,
    EVENT_CONFIG,
    EVENT_AVAIL,
    EVENT_USED,
)
