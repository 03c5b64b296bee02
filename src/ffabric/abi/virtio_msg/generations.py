"""Generations of the virtio-msg text, as data; inside, all have the header of 8 bytes.

A generation is a number that the layouts' `since` and `until` refer to. The wire does not say which
one a peer speaks: both sides are configured, or one of them is wrong.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct


class Generation(Struct, frozen=True):
    """`least` is the smallest maximum message size, in bytes, that every mandatory message fits."""

    name: str
    number: int
    least: int
    feature_unit: int
    """What GET_DEVICE_INFO counts features in: bits (1), or blocks of 32."""
    device_uuid: bool
    """GET_DEVICE_INFO has a UUID."""
    queue_flags: bool
    """The virtqueue messages have flags."""
    strict_config: bool
    """SET_CONFIG with a stale generation is rejected (v2: only with STRICT_CONFIG_GENERATION)."""
    narrow_shm: bool
    """GET_SHM has addresses and lengths of 32 bits."""
    area_shift: int = 48
    """Where the number of an area is in an address."""
    early: bool = False
    """Messages have 40 bytes and a header of 4, and the bus is that of 2024."""
    narrow: bool = False
    """Headers have 6 bytes, without a token, and the bus over FF-A is that of July 2025."""
    bus_version: int = 0x0001_0000
    """Version of the bus over FF-A."""

    @property
    def configures_events(self) -> bool:
        """The bus over FF-A has EVENT_CONFIGURE, attributes of areas, and lists by eights."""
        return not (self.early or self.narrow)


PR28: Final = Generation(
    "pr28", 1, 48, 1, device_uuid=False, queue_flags=False, strict_config=True, narrow_shm=True
)
"""Pull request 28 of December 2025, which became v1 in January 2026."""
V2: Final = Generation(
    "v2", 2, 52, 32, device_uuid=True, queue_flags=True, strict_config=False, narrow_shm=False
)
"""v2 of June 2026, as Linux's virtio_msg_protocol.h has it."""

RFC2: Final = Generation(
    "rfc2",
    0,
    44,
    1,
    device_uuid=False,
    queue_flags=False,
    strict_config=True,
    narrow_shm=True,
    area_shift=56,
    narrow=True,
    bus_version=1,
)
"""June 2025, as Linux's patches of July 2025 have it: widened where it comes in."""

DEFAULT: Final = V2
"""What is spoken if nothing is said: the newest, as Linux has it."""
GENERATIONS: Final = {generation.name: generation for generation in (PR28, V2)} | {"v1": PR28}


def _early(name: str) -> Generation:
    return Generation(
        name,
        1,
        48,
        1,
        device_uuid=False,
        queue_flags=False,
        strict_config=True,
        narrow_shm=True,
        area_shift=56,
        early=True,
    )


ALPHA: Final = _early("alpha")
"""December 2024: Linux of that time, xen-vhost-frontend, Android's Trusty."""
RFC1: Final = _early("rfc1")
"""February 2025: the same sizes, with ids of its own."""
EARLY: Final = {generation.name: generation for generation in (ALPHA, RFC1)}
"""Those whose messages are translated where they come in: inside they are those of pr28."""
JUDGED: Final = GENERATIONS | {RFC2.name: RFC2}
"""Those for whose messages there are rules."""
NAMED: Final = JUDGED | EARLY
"""All there are, by name."""
GenerationName = Literal["pr28", "v1", "v2", "rfc2", "alpha", "rfc1"]
"""The names in NAMED."""


def as_generation(value: Generation | GenerationName) -> Generation:
    """A generation that may be given by its name. Raises ValueError for a name of none."""
    if isinstance(value, Generation):
        return value
    known = NAMED.get(value)
    if known is None:
        names = ", ".join(NAMED)
        raise ValueError(f"{value!r} is not a generation: they are {names}")
    return known


def as_wide_generation(value: Generation | GenerationName) -> Generation:
    """A generation whose headers have 8 bytes, as buses other than FF-A carry.

    Raises ValueError for a name of none, and for an older one.
    """
    found = as_generation(value)
    if not found.configures_events:
        raise ValueError(f"{found.name} is spoken over FF-A alone; here it is pr28 or v2")
    return found


def check_size(size: int, generation: Generation, largest: int) -> int:
    """A maximum message size. Raises ValueError for one that no bus can have, and says why."""
    if size < generation.least:
        raise ValueError(
            f"messages of {size} bytes: {generation.name} needs {generation.least}, or else no"
            " virtqueue can be set up"
        )
    if size > largest:
        raise ValueError(f"messages of {size} bytes: the carriers here have {largest} at most")
    return size
