"""Everything that `ffabric bench` measures."""

from __future__ import annotations

from functools import partial

from ffabric.lab.bench import busy, campaigns, optee, rigs, workbench
from ffabric.lab.bench.benchmark import (
    KIB,
    MIB,
    MICROSECONDS,
    MILLISECONDS,
    Benchmark,
    Sweep,
    per_second,
)
from ffabric.lab.bench.qemu import calls as qemu
from ffabric.lab.bench.qemu import crowd
from ffabric.lab.bench.qemu import sps as qemu_sps
from ffabric.lab.bench.software import BATCH
from ffabric.lab.bench.virtio import buses as virtio_buses
from ffabric.lab.bench.virtio import growth as virtio_growth
from ffabric.lab.bench.virtio import reads as virtio

CALLS = per_second("calls")
ROUND_TRIPS = per_second("round trips")
CYCLES = per_second("cycles")
NOTIFICATIONS = per_second("notifications")
INVOCATIONS = per_second("invocations")
EXPLAINED = per_second("explained")
SIDES = {"sp": "an SP to an SP", "vm": "a VM to an SP, through hypervisor, monitor and SPMC"}
"""What lends or asks -> how that is said."""
ENGINES = {"python": "Python", "aarch64": "AArch64 (Unicorn)"}
"""What runs the partitions -> how that is said."""

BENCHMARKS = (
    Benchmark(
        name="null.sp",
        what="FFA_ID_GET of a Python SP, answered by the SPMC",
        unit=CALLS,
        setup=partial(rigs.null_calls, "sp"),
    ),
    Benchmark(
        name="null.vm",
        what="FFA_ID_GET of a Python VM, answered by the hypervisor",
        unit=CALLS,
        setup=partial(rigs.null_calls, "vm"),
    ),
    Benchmark(
        name="null.aarch64",
        what="FFA_ID_GET of an AArch64 VM, answered by the hypervisor",
        unit=CALLS,
        setup=rigs.aarch64_null_calls,
    ),
    *(
        Benchmark(
            name=f"direct.{kind}-sp",
            what=f"direct request and response, Python, {side}",
            unit=ROUND_TRIPS,
            setup=partial(rigs.direct_requests, kind),
            target=100_000,
            traced=True,
        )
        for kind, side in SIDES.items()
    ),
    Benchmark(
        name="direct.recorded.sp-sp",
        what="direct request and response of Python SPs, with what is kept for tests that fail",
        unit=ROUND_TRIPS,
        setup=rigs.recorded_requests,
    ),
    *(
        Benchmark(
            name=f"direct.aarch64.{kind}-sp",
            what=f"direct request and response, AArch64 images, {side}",
            unit=ROUND_TRIPS,
            setup=partial(rigs.aarch64_requests, kind),
            target=20_000,
            traced=True,
        )
        for kind, side in SIDES.items()
    ),
    *(
        Benchmark(
            name=f"notification.{way}",
            what=f"notification set until handled, Python, {side}",
            unit=NOTIFICATIONS,
            setup=partial(rigs.notified, rung=rung),
            traced=True,
        )
        for way, side, rung in (
            ("vm-sp", "a VM's, by an SP", False),
            ("sp-vm", "an SP's, by the VM that has asked for it", True),
        )
    ),
    *(
        Benchmark(
            name=f"memory.1.{kind}-sp",
            what=f"memory cycle of 1 page, {BATCH} at a time, {side}",
            unit=CYCLES,
            setup=partial(rigs.memory_cycles, kind, 1, batch=BATCH),
            target=20_000,
            traced=True,
        )
        for kind, side in SIDES.items()
    ),
    *(
        Benchmark(
            name=f"memory.1.ready.{kind}-sp",
            what=f"the same with descriptors that were built before, {side}",
            unit=CYCLES,
            setup=partial(rigs.ready_cycles, kind, BATCH),
            target=20_000,
            traced=True,
        )
        for kind, side in SIDES.items()
    ),
    *(
        Benchmark(
            name=f"memory.1.alone.{kind}-sp",
            what=f"memory cycle of 1 page, one at a time, each with a message, {side}",
            unit=CYCLES,
            setup=partial(rigs.memory_cycles, kind, 1),
        )
        for kind, side in SIDES.items()
    ),
    *(
        Benchmark(
            name=f"memory.{pages}.{kind}-sp",
            what=f"memory cycle of {pages} pages, {batch} at a time, {side}",
            unit=CYCLES,
            setup=partial(rigs.memory_cycles, kind, pages, batch=batch),
        )
        for pages, batch in ((16, BATCH), (1024, 1))
        for kind, side in SIDES.items()
    ),
    Benchmark(
        name="optee.invoke",
        what="a TA in Python invoked by a Python VM, with a value",
        unit=INVOCATIONS,
        setup=partial(optee.calls, optee.Invoker),
    ),
    Benchmark(
        name="optee.session",
        what="a session with the TA opened, the TA invoked, the session closed",
        unit=CYCLES,
        setup=partial(optee.calls, optee.Opener),
    ),
    Benchmark(
        name="optee.memory",
        what="a page shared with OP-TEE, read by the TA, unregistered and reclaimed",
        unit=CYCLES,
        setup=partial(optee.calls, optee.Sharer),
    ),
    *(
        Benchmark(
            name=f"boot.{engine}",
            what=f"boot of 2 SPs and 2 VMs, {engine}, from the description on",
            unit=MILLISECONDS,
            setup=partial(rigs.boots, engine, 4),
        )
        for engine in ("python", "aarch64")
    ),
    *(
        Benchmark(
            name=f"resident.{engine}",
            what=f"memory of the process for each partition, {engine}",
            unit=KIB,
            setup=partial(rigs.resident, engine, count, each=True),
        )
        for engine, count in (("python", 65), ("aarch64", 9))
    ),
    Benchmark(
        name="explain.registers",
        what="the registers of a call explained",
        unit=EXPLAINED,
        setup=rigs.explained_registers,
    ),
    Benchmark(
        name="explain.line",
        what="a line of a log explained",
        unit=EXPLAINED,
        setup=rigs.explained_lines,
    ),
    *workbench.BENCHMARKS,
    *busy.BENCHMARKS,
    *virtio.BENCHMARKS,
    *virtio_buses.BENCHMARKS,
    *virtio_growth.BENCHMARKS,
    *qemu.BENCHMARKS,
    *campaigns.BENCHMARKS,
    *crowd.BENCHMARKS,
    *qemu_sps.BENCHMARKS,
)

PAGES = (1, 4, 16, 64, 256, 1024, 4096)
PARTITIONS = (1, 2, 4, 8, 16, 32, 64)
PES = (1, 2, 3, 4, 6, 8)
REGIONS = (1, 10, 100, 1000)
DEVICES = (1, 4, 16, 64, 256)

SWEEPS = (
    *(
        Sweep(
            name=f"{kind.upper()} to SP",
            what="time of a memory cycle",
            axis="pages",
            unit=MICROSECONDS,
            points=PAGES,
            setup=partial(rigs.memory_cycles, kind),
        )
        for kind in SIDES
    ),
    Sweep(
        name="VM to SP, page by page",
        what="time of a memory cycle",
        axis="pages",
        unit=MICROSECONDS,
        points=PAGES,
        setup=partial(rigs.memory_cycles, "vm", apart=True),
    ),
    *(
        Sweep(
            name=f"{kind.upper()} to SP",
            what="time of a memory cycle of 1 page",
            axis="regions under way",
            unit=MICROSECONDS,
            points=REGIONS,
            setup=partial(rigs.cycles_beside, kind),
        )
        for kind in SIDES
    ),
    *(
        Sweep(
            name=ENGINES[engine],
            what="time to boot",
            axis="partitions",
            unit=MILLISECONDS,
            points=PARTITIONS,
            setup=partial(rigs.boots, engine),
        )
        for engine in ENGINES
    ),
    *(
        Sweep(
            name=ENGINES[engine],
            what="memory of the process",
            axis="partitions",
            unit=MIB,
            points=PARTITIONS,
            setup=partial(rigs.resident, engine),
        )
        for engine in ENGINES
    ),
    Sweep(
        name="VM to SP",
        what="time of a direct request",
        axis="partitions",
        unit=MICROSECONDS,
        points=PARTITIONS[1:],
        setup=rigs.requests_among,
    ),
    Sweep(
        name="VM to SP",
        what="time of a direct request",
        axis="devices",
        unit=MICROSECONDS,
        points=DEVICES,
        setup=rigs.requests_beside,
    ),
    Sweep(
        name="an SP and a VM in Python",
        what="time to boot",
        axis="devices",
        unit=MILLISECONDS,
        points=DEVICES,
        setup=rigs.boots_beside,
    ),
    Sweep(
        name="VM to SP on each PE, all together",
        what="direct requests",
        axis="PEs",
        unit=ROUND_TRIPS,
        points=PES,
        setup=rigs.requests_on,
    ),
    *virtio.SWEEPS,
    *virtio_growth.SWEEPS,
    *campaigns.SWEEPS,
)
