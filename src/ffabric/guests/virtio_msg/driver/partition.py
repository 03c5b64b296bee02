"""A partition that drives devices: it finds device sides, opens their buses, and does its work."""

from __future__ import annotations

from typing import ClassVar, Final
from uuid import UUID

from ffabric.abi.ffa.version import V1_2
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.generations import DEFAULT, Generation, GenerationName, as_generation
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.guests.virtio_msg.driver.attention import PATIENCE, Attention
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus, find_device_sides
from ffabric.system.layout.defaults import DMA_POOL
from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes

FIRST_NOTIFICATION = 16
"""Notification of the first bus; the others follow."""
POOL_IPA: Final = 0x20_0000_0000
"""Where a pool that is reserved is mapped."""


def pool_region(pages: int) -> MemoryRegion:
    """What a VM's manifest says of memory that is reserved for a pool."""
    attributes = RegionAttributes.READ | RegionAttributes.WRITE | RegionAttributes.NON_SECURE
    return MemoryRegion(
        name=DMA_POOL, pages=pages, attributes=int(attributes), base_address=POOL_IPA
    )


class DriverSide(Partition):
    """A VM with drivers. A subclass says in `work` what it does with its buses.

    `notifications`: device sides announce their events by them, else they are polled. `indirect`,
    `static`, `queues`, `fifo`, `lend` and `max_size` are as for `DriverBus`. `patience`: how long
    an answer may take, in nanoseconds of virtual time. `reserved`: the VM's manifest has a memory
    region for the pool (`restricted-dma-pool`), as large as `static` says. It is a file of its
    own: a back end outside can be given it and nothing else.
    """

    uuid: str | UUID | None = abi.DRIVER_UUID
    manifest: ClassVar[dict[str, object]] = {"notification_support": True}

    def __init__(
        self,
        name: str = "",
        *,
        generation: Generation | GenerationName = DEFAULT,
        notifications: bool = False,
        indirect: bool | None = None,
        static: int = 0,
        reserved: bool = False,
        patience: int = PATIENCE,
        fifo: bool = False,
        lend: bool = False,
        max_size: int = abi.MAX_DIRECT,
        queues: int = 0,
    ) -> None:
        super().__init__(name)
        self.patience = patience
        self.reserved = reserved
        if reserved:
            self.manifest = {**self.manifest, "memory_regions": (pool_region(static),)}  # type: ignore[misc]
        self.generation: Generation = as_generation(generation)
        self.notifications = notifications
        self.indirect = indirect
        self.fifo = fifo
        self.lend = lend
        self.max_size = max_size
        self.queues = queues
        self.static = static
        self.attention: Attention | None = None

    async def main(self, ffa: Ffa) -> None:
        """Open the buses, work, and rest."""
        buses = await self.open_buses(ffa)
        await self.work(buses[0])
        while True:
            await ffa.idle()

    async def open_buses(self, ffa: Ffa) -> list[DriverBus]:
        """The buses to all device sides, open. Raises BusError if there is none."""
        if ffa.version < V1_2:
            raise BusError("direct messages with a UUID are of FF-A 1.2")
        if not ffa.buffers.pages:
            await ffa.map_buffers()
        attention = self.attention = self.attention or Attention(
            ffa,
            by_interrupt=self.notifications,
            timer=not ffa.vcpu.secure,
            patience=self.patience,
        )
        if self.notifications:
            await self.enable_notifications(ffa)
        buses = []
        for index, peer in enumerate(await find_device_sides(ffa)):
            bus = DriverBus(
                ffa,
                peer,
                attention,
                generation=self.generation,
                indirect=self.indirect,
                static=self.static,
                reserved=self.reserved,
                fifo=self.fifo,
                lend=self.lend,
                max_size=self.max_size,
                queues=self.queues,
            )
            await bus.open(FIRST_NOTIFICATION + index if self.notifications or self.fifo else None)
            buses.append(bus)
        if not buses:
            raise BusError("no partition has virtio devices")
        return buses

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """Whoever waits for them looks at them."""
        if self.attention is not None:
            self.attention.notified(from_sps, from_vms, framework)

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """The timer: a pause is over."""
        if self.attention is not None:
            self.attention.interrupted(intid)

    async def work(self, bus: DriverBus) -> None:
        """What this VM is for."""
