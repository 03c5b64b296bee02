"""The devices of the bus, as an emulator reaches them.

Unicorn calls for every access to a page that holds a device; accesses of 64 bits come as two of 32.
Stage 2 has already decided that the vCPU may be there. What stands in both physical spaces is seen
from the vCPU's own; a Secure vCPU finds Non-secure devices where its own space has none. Where no
device is, reads are zero and writes ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ffabric.abi.words import PAGE, pages_for
from ffabric.machine.engines.unicorn import native

if TYPE_CHECKING:
    from ffabric.machine.bus import Bus, Region


class Owner(Protocol):
    """The runner, as its devices see it."""

    def spend(self, ns: int) -> None:
        """Account for what was executed, and let `ns` more pass."""

    def keep_deadline(self) -> None:
        """End the present stretch at the next deadline of the clock."""

    def fail(self, error: BaseException) -> None:
        """Something went wrong in a hook: raise it outside the emulator."""


class Devices:
    """The windows of one emulator to the bus."""

    def __init__(self, owner: Owner, emulator: native.Emulator, bus: Bus, *, secure: bool) -> None:
        self._owner = owner
        self._bus = bus
        self._secure = secure
        self._last: Region | None = None
        load, store = native.MmioRead(self._load), native.MmioWrite(self._store)
        for base, size in pages_of(bus):
            emulator.map_device(base, size, load, store)

    def _find(self, pa: int) -> Region | None:
        region = self._last
        if region is None or not region.base <= pa < region.end:
            region = self._bus.find(pa, secure=self._secure)
            if region is None and self._secure:
                region = self._bus.find(pa, secure=False)
            self._last = region
        return region

    def _load(self, _engine: int, offset: int, size: int, base: int | None) -> int:
        try:
            pa = (base or 0) + offset
            region = self._find(pa)
            if region is None:
                return 0
            self._owner.spend(0)
            value = region.device.read(pa - region.base, size)
            self._owner.keep_deadline()
        except BaseException as error:  # noqa: BLE001 - raised again outside the emulator
            self._owner.fail(error)
            return 0
        return value

    def _store(self, _engine: int, offset: int, size: int, value: int, base: int | None) -> None:
        try:
            pa = (base or 0) + offset
            region = self._find(pa)
            if region is not None:
                self._owner.spend(0)
                region.device.write(pa - region.base, size, value)
                self._owner.keep_deadline()
        except BaseException as error:  # noqa: BLE001 - raised again outside the emulator
            self._owner.fail(error)


def pages_of(bus: Bus) -> list[tuple[int, int]]:
    """The pages that hold devices, as disjoint ranges (base, size)."""
    ranges: list[tuple[int, int]] = []
    for region in sorted(bus.regions, key=lambda region: region.base):
        base = region.base & -PAGE
        end = pages_for(region.end) * PAGE
        if ranges and base <= sum(ranges[-1]):
            first, size = ranges[-1]
            ranges[-1] = (first, max(size, end - first))
        else:
            ranges.append((base, end - base))
    return ranges
