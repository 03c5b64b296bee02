"""The systems that are measured, each set up as a `Rig`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from time import process_time
from typing import Any

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE, pack_ids
from ffabric.guests import images
from ffabric.lab.bench import images as bench_images
from ffabric.lab.bench.benchmark import Rig
from ffabric.lab.bench.software import (
    Bell,
    Borrower,
    Client,
    Echo,
    Lender,
    Meter,
    NullCaller,
    ReadyBorrower,
    ReadyLender,
    Requester,
    Ringer,
    Starter,
)
from ffabric.machine.machine import OutOfExits
from ffabric.observe import explain
from ffabric.observe.recorder import Recorder
from ffabric.system.booting.boot import boot
from ffabric.system.description.fields import Described
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.spec import DeviceSpec, MemoryBank, PartitionDraft, SystemSpec
from ffabric.system.system import System

FIRST_SP = 0x8001
FIRST_DEVICE, FIRST_LINE = 0x1000_0000, 64
"""Where devices that nobody touches begin, and their interrupts."""
SMALL = 1 << 20
"""Memory of a partition where many are booted."""
MANY_BANKS = (
    MemoryBank("secure", 0x2_0000_0000, 1 << 30, secure=True),
    MemoryBank("normal", 0x8000_0000, 1 << 30, secure=False),
)
SAMPLE_REGISTERS = (0xC4000073, 0x60, 0x60)
SAMPLE_LINE = "smc #0: x0=0x84000060 x1=0x0 x2=0xfffffffe x3=0x0"


def metered(meter: Meter, clients: Iterable[Client], **described: Any) -> Rig:
    """A system whose clients make the rounds of `meter`; all have prepared themselves."""
    system = boot(describe(**described))
    meter.system = system
    for _ in clients:
        system.run()
    return Rig(meter.run, system)


def between(kind: str, client: Client, *servers: object, **given: Any) -> Rig:
    """`client` is an SP or a VM (`kind`), the servers are SPs."""
    meter = client.meter
    if kind == "vm":
        return metered(meter, [client], sps=servers, vms=[vm(client, **given)])
    sps = [*servers, sp(client, **given)]
    return metered(meter, [client], sps=sps, vms=[Starter(client.name)])


def null_calls(kind: str) -> Rig:
    """A Python partition asks for its id."""
    return between(kind, NullCaller(Meter()), "sp")


def direct_requests(kind: str) -> Rig:
    """A Python partition sends requests to a Python SP."""
    return between(kind, Requester(Meter(), "echo"), Echo())


def recorded_requests() -> Rig:
    """A Python SP sends requests to another; the last calls are kept, as for a test."""
    rig = direct_requests("sp")
    assert rig.system is not None
    Recorder(rig.system)
    return rig


def notified(*, rung: bool) -> Rig:
    """A Python VM notifies a Python SP, or is notified by it."""
    bell = Bell()
    return between("vm", Ringer(Meter(), bell, rung=rung), bell)


def memory_cycles(kind: str, pages: int, *, batch: int = 1, apart: bool = False) -> Rig:
    """A Python partition lends pages to a Python SP."""
    size = max(2 << 20, (batch * pages + 16) * PAGE)
    lender = Lender(Meter(), pages, batch=batch, apart=apart)
    return between(kind, lender, Borrower(), mem_size=size)


def cycles_beside(kind: str, regions: int) -> Rig:
    """A Python partition lends a page to a Python SP, while so many `regions` are under way."""
    size = max(2 << 20, (regions + 16) * PAGE)
    return between(kind, Lender(Meter(), 1, held=regions - 1), Borrower(), mem_size=size)


def ready_cycles(kind: str, batch: int) -> Rig:
    """A Python partition lends a page to a Python SP, by descriptors that were built before."""
    return between(kind, ReadyLender(Meter(), 1, batch=batch), ReadyBorrower())


def requests_among(partitions: int) -> Rig:
    """A VM and the last of many SPs, which wait for requests, too."""
    meter = Meter()
    count = partitions - 1
    servers = [sp(Echo(f"echo{n}"), mem_size=SMALL) for n in range(count)]
    client = Requester(meter, f"echo{count - 1}")
    vms = [vm(client, mem_size=SMALL)]
    return metered(meter, [client], sps=servers, vms=vms, memory=MANY_BANKS)


def requests_beside(devices: int) -> Rig:
    """A VM sends requests to an SP of a machine with so many devices that nobody touches."""
    meter = Meter()
    client = Requester(meter, "echo")
    there = _devices(devices)
    return metered(meter, [client], sps=[Echo()], vms=[vm(client)], devices=there)


def _devices(count: int) -> tuple[DeviceSpec, ...]:
    """UARTs in a row, each with an interrupt."""
    return tuple(
        DeviceSpec(
            type="pl011",
            name=f"uart{n}",
            base=FIRST_DEVICE + n * PAGE,
            size=PAGE,
            secure=None,
            interrupt=FIRST_LINE + n,
        )
        for n in range(count)
    )


def boots_beside(devices: int) -> Rig:
    """From the description of two partitions and so many devices until nothing can run."""

    def run(count: int) -> float:
        start = process_time()
        for _ in range(count):
            described = describe(sps=[Echo("sp")], vms=[Echo("vm")], devices=_devices(devices))
            with boot(described) as system:
                system.run()
        return process_time() - start

    run(0)
    return Rig(run)


def requests_on(pes: int) -> Rig:
    """A requester on each PE, each with an SP of its own."""
    meter = Meter()
    clients = [Requester(meter, f"echo{n}", f"client{n}") for n in range(pes)]
    servers = [sp(Echo(f"echo{n}"), mem_size=SMALL) for n in range(pes)]
    vms = [vm(client, mem_size=SMALL) for client in clients]
    return metered(meter, clients, sps=servers, vms=vms, pes=pes, seed=1)


# AArch64 images make their calls for ever: the machine is told after how many exits to stop.


def counted(system: System, exits: int) -> Rig:
    """A system of which `exits` exits are one round."""
    machine = system.machine

    def run(count: int) -> float:
        machine.exit_limit = machine.exits + count * exits
        start = process_time()
        try:
            system.run()
        except OutOfExits:
            return process_time() - start
        raise RuntimeError("the images stopped by themselves")

    return Rig(run, system)


def aarch64_null_calls() -> Rig:
    """A VM under Unicorn asks for its id."""
    caller = vm(name="caller", image=bench_images.caller([fid.FFA_ID_GET]))
    return counted(boot(describe(sps=["sp"], vms=[caller])), exits=1)


def aarch64_requests(kind: str) -> Rig:
    """A VM or an SP under Unicorn sends requests to an SP under Unicorn."""
    sender = 1 if kind == "vm" else FIRST_SP + 1
    request = (fid.FFA_MSG_SEND_DIRECT_REQ_64, pack_ids(sender, FIRST_SP), 0, 2, 3)
    sps = [sp(name="adder", image=images.load("adder_smc"), id=FIRST_SP)]
    if kind == "vm":
        vms: list[Described] = [vm(name="caller", id=sender, image=bench_images.caller(request))]
    else:
        code = bench_images.caller((fid.FFA_MSG_WAIT,), request)
        sps.append(sp(name="caller", id=sender, image=code))
        vms = [Starter("caller")]
    return counted(boot(describe(sps=sps, vms=vms)), exits=2)


# Booting.


def many(engine: str, count: int) -> SystemSpec:
    """A system of `count` partitions, SPs and VMs in turn."""
    return describe(
        sps=[_one(sp, engine, n) for n in range(0, count, 2)],
        vms=[_one(vm, engine, n) for n in range(1, count, 2)],
        memory=MANY_BANKS,
    )


def _one(make: Callable[..., PartitionDraft], engine: str, number: int) -> PartitionDraft:
    name = f"{engine}{number}"
    if engine == "python":
        return make(Echo(name), mem_size=SMALL)
    return make(name=name, image=images.load("adder_smc"), mem_size=SMALL)


def boots(engine: str, partitions: int) -> Rig:
    """From the description to the moment when nothing can run any more."""

    def run(count: int) -> float:
        start = process_time()
        for _ in range(count):
            with boot(many(engine, partitions)) as system:
                system.run()
        return process_time() - start

    run(0)
    return Rig(run)


def resident(engine: str, partitions: int, *, each: bool = False) -> Rig:
    """What a process grows by when it boots; `each`: by each further partition."""

    def run(_: int) -> float:
        grown = _grown_by(engine, partitions)
        return (grown - _grown_by(engine, 1)) / (partitions - 1) if each else float(grown)

    return Rig(run)


def _grown_by(engine: str, partitions: int) -> int:
    """Bytes, measured in a process of its own."""
    command = [sys.executable, "-m", "ffabric.lab.bench.resident", engine, str(partitions)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return int(json.loads(done.stdout))


# Explaining.


def explanations(of: Callable[[], object]) -> Rig:
    """Explain the same thing again and again."""

    def run(count: int) -> float:
        start = process_time()
        for _ in range(count):
            of()
        return process_time() - start

    return Rig(run)


def explained_registers() -> Rig:
    """Registers of FFA_MEM_SHARE."""
    return explanations(lambda: explain.registers(SAMPLE_REGISTERS))


def explained_lines() -> Rig:
    """A line of a log with an FFA_ERROR in it."""
    return explanations(lambda: explain.line(SAMPLE_LINE))
