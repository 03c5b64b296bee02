"""Several CPUs of a VM in QEMU: what calls cost while others idle or call, too, and revocation.

The limit of a call is the same call answered by the guest's own EL3, without us: the shim does that
when nobody answers, and here nobody does from the beginning (`Mailbox.setup`, no patience): it
stores the registers of the call, asks, looks once, and enters the guest. Calls that we answer are
made by the same code.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.lab.bench.benchmark import MICROSECONDS, Benchmark, Rig
from ffabric.lab.bench.images import call, load, repeat
from ffabric.lab.linux.software import Echo
from ffabric.machine.engines.qemu.process import find_program
from ffabric.machine.machine import OutOfExits
from ffabric.machine.translation.descriptors import VALID
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm
from ffabric.system.layout.defaults import VM_IPA
from ffabric.system.spec import QEMU, KernelBoot
from ffabric.system.system import System

CPUS = (1, 2, 4)
REVOKED = VM_IPA + 0x10_0000
COUNTER = VM_IPA + 0x11_0000
_MEMORY = 4 << 20
_MRS_X19_MPIDR, _AND_X19_255, _CBNZ_X19 = 0xD53800B3, 0x92401E73, 0xB5000013
_WFI = 0xD503207F
_COUNT = (0xF9400295, 0x910006B5, 0xF9000295)  # x20 is the address: ldr, add, str of x21
_CALL = call((fid.FFA_ID_GET,))
_COUNTED = (*_CALL, *_COUNT)


def _image(cpus: int, first: Sequence[int], others: Sequence[int]) -> bytes:
    """CPU 0 starts the others; then it does ``first`` for ever, they ``others``."""
    start: list[int] = []
    for cpu in range(1, cpus):
        start += call((psci.CPU_ON_64, cpu, VM_IPA))
    own = [*start, *load(20, COUNTER), *repeat(first)]
    branch = _CBNZ_X19 | len(own) + 1 << 5
    code = [_MRS_X19_MPIDR, _AND_X19_255, branch, *own, *repeat(others)]
    return struct.pack(f"<{len(code)}I", *code)


def _system(cpus: int, first: Sequence[int], others: Sequence[int]) -> System:
    find_program()
    image = _image(cpus, first, others)
    guest = vm("guest", image=image, engine=QEMU, kernel=KernelBoot(), vcpus=cpus, mem_size=_MEMORY)
    return boot(describe(sps=[Echo()], vms=[guest], pes=cpus))


def calls(cpus: int, *, all_of_them: bool) -> Rig:
    """CPU 0 makes calls, the others idle in WFI or make calls, too; a unit of work is a call."""
    system = _system(cpus, _COUNTED, _CALL if all_of_them else (_WFI,))
    machine = system.machine

    def work(count: int) -> float:
        machine.exit_limit = machine.exits + count
        start = time.perf_counter()
        try:
            system.run()
        except OutOfExits:
            return time.perf_counter() - start
        raise RuntimeError("the guest stopped by itself")

    return Rig(work, system)


def limit(cpus: int) -> Rig:
    """CPU 0 makes calls that its EL3 answers, the others idle in WFI."""
    system = _system(cpus, _COUNTED, (_WFI,))
    machine = system.machine
    machine.exit_limit = machine.exits + 1000
    with suppress(OutOfExits):
        system.run()
    endpoint = system.endpoints["guest"]
    assert endpoint.guest is not None
    endpoint.guest.process.mailbox.setup(patience=0, spin=0, gone=())

    def work(count: int) -> float:
        start = time.perf_counter()
        before = endpoint.memory.read(COUNTER, 8)
        end = int.from_bytes(before, "little") + count
        while int.from_bytes(endpoint.memory.read(COUNTER, 8), "little") < end:
            time.sleep(0)
        return time.perf_counter() - start

    return Rig(work, system)


def revocations(cpus: int) -> Rig:
    """A page is taken from a VM whose CPUs all execute; what the median one takes.

    All CPUs have to stop, so a host with fewer processors than that has to schedule each of them.
    """
    system = _system(cpus, (), ())
    machine = system.machine
    machine.clock.at(machine.clock.now + 100_000_000, machine.stop)
    system.run()
    stage2 = system.endpoints["guest"].partition.stage2
    assert stage2 is not None

    def work(count: int) -> float:
        taken = []
        for _ in range(count):
            start = time.perf_counter()
            stage2.update(REVOKED, 1, VALID, 0)
            taken.append(time.perf_counter() - start)
            stage2.update(REVOKED, 1, 0, VALID)
        return statistics.median(taken) * count

    return Rig(work, system)


_OTHERS = {1: "no other CPU", 2: "one other CPU", 4: "three other CPUs"}

BENCHMARKS = (
    *(
        Benchmark(
            name=f"qemu.limit.{cpus}",
            what=f"FFA_ID_GET answered by the EL3 of QEMU alone, {_OTHERS[cpus]} idle",
            unit=MICROSECONDS,
            setup=partial(limit, cpus),
        )
        for cpus in CPUS
    ),
    *(
        Benchmark(
            name=f"qemu.one.{cpus}",
            what=f"FFA_ID_GET of a confined VM in QEMU, {_OTHERS[cpus]} idle",
            unit=MICROSECONDS,
            setup=partial(calls, cpus, all_of_them=False),
        )
        for cpus in CPUS
    ),
    *(
        Benchmark(
            name=f"qemu.all.{cpus}",
            what=f"FFA_ID_GET of a confined VM in QEMU, {_OTHERS[cpus]} calling: time for a call",
            unit=MICROSECONDS,
            setup=partial(calls, cpus, all_of_them=True),
        )
        for cpus in CPUS[1:]
    ),
    *(
        Benchmark(
            name=f"qemu.revocation.{cpus}",
            what=f"a page is revoked from a VM in QEMU that executes on {cpus} CPUs",
            unit=MICROSECONDS,
            setup=partial(revocations, cpus),
        )
        for cpus in CPUS
    ),
)
