"""What it costs to let a device of another world reach a driver's memory, by kind of mapping.

A VM reads a disk of an SP through virtio-msg over FF-A, the same reads with each mapping. What is
counted is exact and the same in every run: calls, world switches, pages, bytes. Time is made of
those counts by a table of costs, as no simulator knows what yours are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from ffabric.abi.virtio.block import SECTOR, Type
from ffabric.abi.words import pages_for
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.bench.benchmark import Growth, Rig, Sweep, Unit, Values
from ffabric.machine.events import Call, Event
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe

SIZES: Final = (512, 4096, 16384, 65536)
DEPTHS: Final = (1, 8, 32)
ROUNDS: Final = 64
"""Requests that are counted."""
QUEUES: Final = 8
"""Pages for virtqueues that are mapped in advance."""
LARGEST: Final = 1 << 20
KINDS: Final = ("dynamic", "queues in advance", "static")


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nanoseconds of each thing that is counted. Replace them by those of your system."""

    call: float = 300.0
    """A call of a partition, to its hypervisor or SPM and back."""
    world_switch: float = 900.0
    """From one world to the other, through EL3."""
    page: float = 150.0
    """A page that is shared: entries of tables, their invalidation."""
    kib: float = 60.0
    """1,024 bytes that are copied."""


class Row(msgspec.Struct, frozen=True):
    """What one request costs: a mean of `ROUNDS` requests of `size` bytes, `depth` at a time."""

    mapping: str
    size: int
    depth: int
    calls: float
    world_switches: float
    pages: float
    copied: float
    reserved: int
    """Bytes that are shared for as long as the bus is open."""
    untouched: int
    """Bytes of those that no request has ever used."""
    microseconds: float


class _Counts(msgspec.Struct):
    calls: int = 0

    def record(self, event: Event) -> None:
        """An event of the machine."""
        self.calls += isinstance(event, Call)


class _Reader(DriverSide):
    """Brings a disk up; the rounds are made when the system runs again."""

    def __init__(self, size: int, depth: int, **how: Any) -> None:
        super().__init__("client", **how)
        self.size = size
        self.depth = depth
        self.bus: DriverBus | None = None
        self.stop: Callable[[], object] = dict
        """Ends a run of the system."""

    async def work(self, bus: DriverBus) -> None:
        """Prepare, stop; read, stop."""
        ffa, self.bus = bus.ffa, bus
        disk = await BlockDriver.probe(bus.devices[0])
        pages = pages_for(self.size)
        buffers = [ffa.ram.allocate(pages) for _ in range(self.depth)]
        self.stop()
        await ffa.id_get()
        for _ in range(0, ROUNDS, self.depth):
            await disk.transfer_all([(Type.IN, 0, ipa, self.size) for ipa in buffers])


def _pool(size: int, depth: int) -> int:
    """Pages of a pool that has room for it, a power of two: a system designer's guess."""
    needed = QUEUES + depth * pages_for(size)
    return 1 << (needed - 1).bit_length()


def measure(mapping: str, size: int, depth: int, costs: Costs) -> Row:
    """Count a mapping at one size and depth."""
    how: dict[str, dict[str, Any]] = {
        "dynamic": {},
        "queues in advance": {"queues": QUEUES},
        "static": {"static": _pool(size, depth), "reserved": True},
    }
    reader = _Reader(size, depth, **how[mapping])
    disk = BlockDevice(bytearray(max(size, SECTOR)))
    system = boot(describe(sps=[DeviceSide([disk])], vms=[reader]))
    machine, monitor = system.machine, system.firmware.monitor
    reader.stop = machine.stop
    system.run()
    assert reader.bus is not None
    tally = reader.bus.mapping.tally
    before = (monitor.world_switches, tally.pages, tally.copied)
    counts = _Counts()
    machine.attach(counts)
    try:
        system.run()
        machine.attach(None)
        after = (monitor.world_switches, tally.pages, tally.copied)
    finally:
        system.close()
    switches, pages, copied = (
        (now - then) / ROUNDS for now, then in zip(after, before, strict=True)
    )
    calls = counts.calls / ROUNDS
    time = (
        calls * costs.call
        + switches * costs.world_switch
        + pages * costs.page
        + copied / 1024 * costs.kib
    )
    return Row(
        mapping, size, depth, calls, switches, pages, copied,
        tally.reserved, tally.reserved - tally.touched, time / 1000,
    )  # fmt: skip


def study(sizes: Iterable[int], depths: Iterable[int], costs: Costs) -> Iterator[Row]:
    """All mappings, one after the other."""
    several = list(depths)
    for size in sizes:
        for depth in several:
            for mapping in KINDS:
                yield measure(mapping, size, depth, costs)


def growths(rows: Iterable[Row]) -> list[Growth]:
    """The rows as what a picture is drawn of: time over size, a panel for each depth."""
    found = list(rows)
    drawn = []
    for depth in sorted({row.depth for row in found}):
        for mapping in KINDS:
            line = [row for row in found if row.depth == depth and row.mapping == mapping]
            line.sort(key=lambda row: row.size)
            sweep = Sweep(
                name=mapping,
                what=f"a read, {depth} at a time",
                axis="bytes of a request",
                unit=Unit("µs", lambda _, value: value, timed=False),
                points=tuple(row.size for row in line),
                setup=_nothing,
            )
            values = [Values([row.microseconds]) for row in line]
            drawn.append(Growth(sweep=sweep, values=values))
    return drawn


def _nothing(_: int) -> Rig:
    raise NotImplementedError


def verdicts(rows: Iterable[Row]) -> Iterator[str]:
    """For each depth: up to which size copying is cheaper than sharing, by these costs."""
    found = list(rows)
    for depth in sorted({row.depth for row in found}):
        at = {(row.mapping, row.size): row for row in found if row.depth == depth}
        sizes = sorted({size for _, size in at})
        cheaper = [
            size
            for size in sizes
            if at["static", size].microseconds < at["dynamic", size].microseconds
        ]
        small = at["dynamic", sizes[0]].microseconds / at["static", sizes[0]].microseconds
        if not cheaper:
            told = "sharing each buffer is never dearer than the pool"
        elif cheaper == sizes:
            told = "the pool is cheaper at every size"
        else:
            told = f"the pool is cheaper up to {cheaper[-1]:,} bytes"
        least = f"at {sizes[0]:,} bytes sharing takes {small:.1f} times as long"
        yield f"{depth} at a time: {told}; {least}"
