"""The ways of messages that a device side offers, as VERSION tells of them (DEN0153, features)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from ffabric.abi.virtio_msg import ffa as abi

Carrier = Literal["direct", "indirect", "notifications", "fifo"]
_FEATURES: Final[dict[str, int]] = {
    "direct": abi.BusFeatures.build(DIRECT_RX=1, DIRECT_TX=1),
    "indirect": abi.BusFeatures.build(INDIRECT_RX=1, INDIRECT_TX=1),
    "notifications": abi.BusFeatures.build(NOTIFICATION_RX=1, NOTIFICATION_TX=1),
    "fifo": abi.BusFeatures.build(FIFO=1),
}
"""What each carrier is to VERSION. Linux uses direct messages, and notifications, only with a peer
that has both bits."""
CARRIERS: Final[tuple[Carrier, ...]] = ("direct", "indirect", "notifications")
"""Those that a device side offers unless it is told otherwise. The FIFO is for who asks for it."""
ALL_CARRIERS: Final[tuple[Carrier, ...]] = (*CARRIERS, "fifo")
ALL_FEATURES: Final = sum(_FEATURES.values())
VM_FEATURES: Final = ALL_FEATURES & ~_FEATURES["direct"]
"""Nobody sends direct requests to a VM."""


def features_of(carriers: Iterable[Carrier]) -> int:
    """The feature bits of carriers. ValueError for an unknown one, or without any to begin with."""
    names = set(carriers)
    if unknown := names - _FEATURES.keys():
        raise ValueError(f"no carriers: {', '.join(sorted(unknown))}; {', '.join(_FEATURES)} are")
    if not names & {"direct", "indirect"}:
        raise ValueError("a bus is opened by direct or by indirect messages")
    return sum(_FEATURES[name] for name in names)
