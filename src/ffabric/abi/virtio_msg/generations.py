"""Generations of the virtio-msg text that have the 8-byte header, as data.

A generation is a number that the layouts' `since` and `until` refer to. The wire does not say which
one a peer speaks: both sides are configured, or one of them is wrong.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Generation(Struct, frozen=True):
    """`least` is the smallest maximum message size, in bytes, that every mandatory message fits."""

    name: str
    number: int
    least: int
    feature_bits_per_unit: int
    """What GET_DEVICE_INFO counts features in: bits, or blocks of 32."""
    strict_config: bool
    """SET_CONFIG with a stale generation is rejected (v2: only with STRICT_CONFIG_GENERATION)."""


PR28: Final = Generation("pr28", 1, 48, 1, strict_config=True)
"""Pull request 28 of December 2025, which became v1 in January 2026."""
V2: Final = Generation("v2", 2, 52, 32, strict_config=False)
"""v2 of June 2026, as Linux's virtio_msg_protocol.h has it."""

GENERATIONS: Final = {generation.name: generation for generation in (PR28, V2)} | {"v1": PR28}
