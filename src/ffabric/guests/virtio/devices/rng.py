"""A source of random numbers (virtio 1.3, 5.4)."""

from __future__ import annotations

from random import Random
from typing import Final

from ffabric.abi.virtio import ids
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue

MOST: Final = 1 << 16
"""Bytes of a buffer that are filled; the driver is told how many."""


class RngDevice(Device):
    """Random numbers that are the same for the same `seed`, so that a run can be repeated."""

    id = ids.RNG
    in_order = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.given: int = 0
        """Bytes so far."""
        self._random = Random(seed)  # noqa: S311 - repeatable by intent

    def handle(self, queue: DeviceQueue, chain: Chain) -> int:
        """Fill a buffer."""
        written = queue.write(chain, self._random.randbytes(min(chain.writable_size, MOST)))
        self.given += written
        return written
