"""Systems with much going on: interrupts, scattered memory, many that talk, many that boot."""

from __future__ import annotations

from functools import partial

from ffabric.abi.words import PAGE
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.bench import rigs
from ffabric.lab.bench.benchmark import MILLISECONDS, Benchmark, Rig, per_second
from ffabric.lab.bench.software import Client, Echo, Meter
from ffabric.machine.gic import Gic
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

INTID = 4100
"""Of the extended range, as platforms number the interrupts of secure devices."""
SCATTERED = (64 << 20) // PAGE
EACH, PES = 16, 4


class Handler(Partition):
    """An SP that handles the interrupts of its device."""

    def __init__(self) -> None:
        super().__init__("handler")
        self.handled = 0

    async def on_boot(self, ffa: Ffa) -> None:
        """Take them from now on."""
        await self.enable_interrupt(ffa, INTID)

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """Count them."""
        self.handled += 1


class Raiser(Client):
    """A VM that makes a device raise an interrupt, and computes until the SP has handled it."""

    def __init__(self, meter: Meter, handler: Handler) -> None:
        super().__init__(meter)
        self.handler = handler

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many interrupts."""
        system = self.meter.system
        assert system is not None
        gic: Gic = system.machine.gic
        for _ in range(count):
            before = self.handler.handled
            gic.set_pending(INTID)
            while self.handler.handled == before:
                await ffa.id_get()


class Talker(Client):
    """A VM that asks all SPs, one after the other."""

    def __init__(self, meter: Meter, number: int) -> None:
        super().__init__(meter, f"talker{number}")
        self.turn = number

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many requests."""
        for _ in range(count):
            self.turn = (self.turn + 1) % EACH
            await ffa.direct_request(f"echo{self.turn}", 1)


def interrupts() -> Rig:
    """A device of a Python SP interrupts it while a Python VM runs."""
    region = DeviceRegion(
        name="device",
        base_address=0x1C0B_0000,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(INTID, 0x100),),
    )
    handler, meter = Handler(), Meter()
    raiser = Raiser(meter, handler)
    return rigs.metered(
        meter, [raiser], sps=[sp(handler, device_regions=(region,))], vms=[vm(raiser)]
    )


def all_talking() -> Rig:
    """16 VMs on four PEs ask 16 SPs with a context for each PE."""
    meter = Meter()
    talkers = [Talker(meter, number) for number in range(EACH)]
    return rigs.metered(
        meter,
        talkers,
        sps=[sp(Echo(f"echo{n}"), mem_size=rigs.SMALL, vcpus=PES) for n in range(EACH)],
        vms=[vm(talker, mem_size=rigs.SMALL) for talker in talkers],
        memory=rigs.MANY_BANKS,
        pes=PES,
        seed=1,
    )


BENCHMARKS = (
    Benchmark(
        name="interrupt.sp",
        what="interrupt of an SP's device until handled, Python, while a VM runs",
        unit=per_second("interrupts"),
        setup=interrupts,
    ),
    Benchmark(
        name="memory.64mib.vm-sp",
        what="memory cycle of 64 MiB in pages that do not adjoin, in fragments, a VM to an SP",
        unit=MILLISECONDS,
        setup=partial(rigs.memory_cycles, "vm", SCATTERED, apart=True),
    ),
    Benchmark(
        name="direct.16.vm-sp",
        what="direct requests of 16 VMs to 16 SPs, all talking, on 4 PEs",
        unit=per_second("round trips"),
        setup=all_talking,
    ),
    Benchmark(
        name="boot.64.aarch64",
        what="boot of 32 SPs and 32 VMs, AArch64 images, from the description on",
        unit=MILLISECONDS,
        setup=partial(rigs.boots, "aarch64", 64),
    ),
)
