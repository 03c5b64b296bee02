"""What calls cost that come from QEMU: of an image that makes nothing else, and of a real Linux.

QEMU works for us on another processor, so seconds are those of the wall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state import partition as state
from ffabric.guests.partition import Partition
from ffabric.lab.bench.benchmark import MICROSECONDS, Benchmark, Rig, Unit
from ffabric.lab.bench.images import caller
from ffabric.lab.linux import kernel as kernels
from ffabric.lab.linux import packages, run
from ffabric.lab.linux.report import Report
from ffabric.lab.linux.software import Echo, default_software
from ffabric.lab.running import run_to_end
from ffabric.lab.xtest import software as programs
from ffabric.lab.xtest import system as pair
from ffabric.lab.xtest.campaign import Campaign
from ffabric.machine.engines.qemu.process import find_program
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.machine import OutOfExits
from ffabric.system.booting.boot import boot
from ffabric.system.description.fields import Engine
from ffabric.system.description.python import describe, vm
from ffabric.system.spec import QEMU, KernelBoot

FIRST_SP = 0x8001
XTEST_CASES = ("1001", "1002", "1003", "1004", "1005")
REQUEST = (fid.FFA_MSG_SEND_DIRECT_REQ_64, FIRST_SP, 0, 2, 3)

Measured = Callable[[state.Partition, Report], float]


class MissingPackages(MissingProgram):
    """What a benchmark runs was not downloaded yet; the message has the ``command`` that does."""

    def __init__(self, command: str) -> None:
        super().__init__(command, "")
        self.args = (f"there is no kernel yet: ffabric {command}",)


def calls(sps: Sequence[Partition], call: Sequence[int], exits: int) -> Rig:
    """A guest in QEMU makes one call for ever; ``exits``: the exits of a round."""
    find_program()
    guest = vm("caller", image=caller(call), engine=QEMU, kernel=KernelBoot())
    system = boot(describe(sps=sps, vms=[guest], hypervisor=False))
    machine = system.machine

    def work(count: int) -> float:
        machine.exit_limit = machine.exits + count * exits
        start = perf_counter()
        try:
            system.run()
        except OutOfExits:
            return perf_counter() - start
        raise RuntimeError("the guest stopped by itself")

    return Rig(work, system)


def linux(measured: Measured, *, cpus: int = 1, confined: bool = False) -> Rig:
    """Boots of Linux; what is ``measured`` of each is what a run returns.

    ``confined``: as a VM of a hypervisor.
    """
    find_program()
    kernel = kernels.kept(packages.cache_folder())
    if kernel is None:
        raise MissingPackages("linux")

    def work(_: int) -> float:
        report = Report()

        def listen(_: str, line: str) -> None:
            report.line(line)

        spec = run.system(kernel, default_software(cpus), cpus=cpus, confined=confined)
        with boot(spec) as system:
            normal_world = system.endpoints[run.NAME].partition
            system.listeners.append(listen)
            run_to_end(system).raise_interruption()
            problems = report.problems(run.expected(system), tee=True, notified=not confined)
            if problems:
                raise RuntimeError(f"Linux: {problems[0]}")
            return measured(normal_world, report)

    return Rig(work)


def xtest(engine: Engine) -> Rig:
    """Boots of two Linux VMs on one OP-TEE, each through the first cases of xtest; seconds."""
    find_program()
    cache = packages.cache_folder()
    kernel, software = kernels.kept(cache), programs.kept(cache)
    if kernel is None or software is None:
        raise MissingPackages("xtest")

    def work(_: int) -> float:
        names = "vm1", "vm2"
        linuxes = pair.Linuxes(kernel, software, names)
        spec = pair.below_el3(linuxes, software.optee, engine=engine)
        start = perf_counter()
        with boot(spec) as system:
            campaign = Campaign(system, names, XTEST_CASES, say=lambda _: None)
            run_to_end(system).raise_interruption()
        if problems := campaign.problems():
            raise RuntimeError(f"xtest: {problems[0]}")
        return perf_counter() - start

    return Rig(work)


def _probed(_: state.Partition, report: Report) -> float:
    return report.reached["probed"][0]


def _round_trip(linux: state.Partition, _: Report) -> float:
    return run.quantile(run.round_trips(linux)[run.TO_SPS], 0.5)


BENCHMARKS = (
    Benchmark(
        name="qemu.null",
        what="FFA_ID_GET of a guest in QEMU, there and back",
        unit=MICROSECONDS,
        setup=partial(calls, (), (fid.FFA_ID_GET,), 1),
    ),
    Benchmark(
        name="qemu.direct",
        what="direct request of a guest in QEMU to a Python SP, and the response",
        unit=MICROSECONDS,
        setup=partial(calls, (Echo(),), REQUEST, 2),
        target=40,
    ),
    Benchmark(
        name="linux.probed",
        what="Linux in QEMU, from its start until its optee driver has probed",
        unit=Unit("s", lambda _, seconds: seconds, timed=False),
        setup=partial(linux, _probed),
        target=10,
    ),
    Benchmark(
        name="linux.call",
        what="a call of Linux that runs an SP, there and back: the median of a boot's",
        unit=Unit("µs", lambda _, microseconds: microseconds, timed=False),
        setup=partial(linux, _round_trip),
        target=40,
    ),
    *(
        Benchmark(
            name=f"linux.call.{cpus}",
            what=f"a call of Linux on {cpus} CPUs that runs an SP: the median of a boot's",
            unit=Unit("µs", lambda _, microseconds: microseconds, timed=False),
            setup=partial(linux, _round_trip, cpus=cpus),
        )
        for cpus in (2, 4)
    ),
    Benchmark(
        name="linux.probed.confined",
        what="the same as linux.probed, of Linux as a VM that is confined by our stage 2",
        unit=Unit("s", lambda _, seconds: seconds, timed=False),
        setup=partial(linux, _probed, confined=True),
    ),
    *(
        Benchmark(
            name=f"xtest.{engine}",
            what=f"two Linux VMs on one OP-TEE ({engine}) through 1001 to 1005 of xtest",
            unit=Unit("s", lambda _, seconds: seconds, timed=False),
            setup=partial(xtest, engine),
            target=15,
        )
        for engine in ("unicorn", QEMU)
    ),
)
