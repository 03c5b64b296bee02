"""Kinds of devices that back ends serve, as far as whoever is between driver and back end knows.

What the kinds differ in is data. Feature bits of a device's own type are passed on as they are.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ffabric.abi.virtio import block, console, ids


class Kind(Struct, frozen=True):
    """A kind of device; queues are named by number.

    `queues` is how many virtqueues it has, if the back end does not say. `config_size` is that of
    the configuration if the back end has it, `writable` the parts (offset, bytes, feature bits)
    that a driver may write. Buffers of `waiting` queues wait for something to happen, so the back
    end may keep them for ever; if it is `prompt`, one of the buffers in any other queue is done
    within its patience.
    """

    id: int
    queues: int = 1
    config_size: int = 0
    writable: tuple[tuple[int, int, int], ...] = ()
    waiting: frozenset[int] = frozenset()
    prompt: bool = False


BLOCK: Final = Kind(ids.BLOCK, 1, block.CONFIG_SIZE, block.WRITABLE, prompt=True)
FILE_SYSTEM: Final = Kind(ids.FILE_SYSTEM, 2)
"""A request may wait for a lock of somebody else."""
VSOCK: Final = Kind(ids.VSOCK, 3, 8, waiting=frozenset({0, 2}), prompt=True)
RNG: Final = Kind(ids.RNG, 1)
"""Its rate may be limited."""
GPIO: Final = Kind(ids.GPIO, 2, 8, waiting=frozenset({1}), prompt=True)
I2C: Final = Kind(ids.I2C, 1, prompt=True)
CONSOLE: Final = Kind(
    ids.CONSOLE, 2, console.CONFIG_SIZE, console.WRITABLE, waiting=frozenset({0, 2})
)
