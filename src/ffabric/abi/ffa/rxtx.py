"""Endpoint RX/TX descriptor: how a hypervisor tells the SPMC of a VM's buffers.

With it FFA_RXTX_MAP is forwarded at the non-secure physical instance (DEN0077A v1.1, 13.6).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.memory import build_constituents, parse_constituents
from ffabric.abi.ffa.memory_layouts import COMPOSITE, CONSTITUENT, reserved
from ffabric.abi.layout import Layout, u16, u32

DESCRIPTOR: Final = Layout(
    "endpoint RX/TX descriptor",
    "DEN0077A v1.1, table 13.27",
    u16("endpoint", "ID of the endpoint that owns the buffers"),
    *reserved(2),
    u32("rx_offset", "Offset of the composite descriptor of the RX buffer, a multiple of 8"),
    u32("tx_offset", "Offset of the composite descriptor of the TX buffer, a multiple of 8"),
)

_RECORD = DESCRIPTOR.at()
_COMPOSITE = COMPOSITE.at()
_RANGE_SIZE = CONSTITUENT.at().size
_RX_OFFSET: Final = -(-_RECORD.size // 16) * 16


class EndpointBuffers(Struct):
    """The buffers of one endpoint, each as (address, pages) ranges."""

    endpoint: int
    rx: list[tuple[int, int]]
    tx: list[tuple[int, int]]


def _composite(data: bytes, at: int, path: str, field: str) -> list[tuple[int, int]]:
    if at % 8 or at < _RECORD.size:
        raise DecodeError(
            f"rxtx.{field}", _RECORD.offsets[field], at, "in the header or not a multiple of 8"
        )
    total, count = _COMPOSITE.unpack(data, at, path)
    start = at + _COMPOSITE.size
    end = start + count * _RANGE_SIZE
    if end > len(data):
        where = at + _COMPOSITE.offsets["range_count"]
        raise DecodeError(f"{path}.range_count", where, count, f"the data have {len(data)} bytes")
    ranges = parse_constituents(data[start:end])
    if sum(pages for _, pages in ranges) != total:
        raise DecodeError(f"{path}.total_pages", at, total, "not the sum of the ranges")
    return ranges


def parse_endpoint_buffers(data: bytes) -> EndpointBuffers:
    """The descriptor at the start of `data`; DecodeError if it leads out of it."""
    endpoint, rx, tx = _RECORD.unpack(data, 0, "rxtx")
    return EndpointBuffers(
        endpoint,
        _composite(data, rx, "rxtx.rx", "rx_offset"),
        _composite(data, tx, "rxtx.tx", "tx_offset"),
    )


def build_endpoint_buffers(buffers: EndpointBuffers) -> bytes:
    """The descriptor and its two composite descriptors; ValueError if a value does not fit."""
    parts = []
    for ranges in (buffers.rx, buffers.tx):
        header = _COMPOSITE.pack(sum(pages for _, pages in ranges), len(ranges))
        parts.append(header + build_constituents(ranges))
    head = _RECORD.pack(buffers.endpoint, _RX_OFFSET, _RX_OFFSET + len(parts[0]))
    return head.ljust(_RX_OFFSET, b"\0") + b"".join(parts)
