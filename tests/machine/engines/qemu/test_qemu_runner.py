"""How vCPUs in QEMU are answered, one after the other or at a stretch: with CPUs that are none.

The fake CPUs make calls as the shim does, as soon as they are answered: no order depends on time.
"""

import os
from contextlib import suppress

import pytest

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.guests.partition import Partition
from ffabric.machine.engines.qemu import mailbox as layout
from ffabric.machine.engines.qemu import runner as qemu_runner
from ffabric.machine.engines.qemu.mailbox import Block
from ffabric.machine.engines.qemu.process import QemuProcess
from ffabric.machine.host.processors import Processors
from ffabric.machine.machine import EXIT_COST, OutOfExits
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm
from ffabric.system.spec import KernelBoot

pytestmark = pytest.mark.usefixtures("form")
RAM = 0x4000_0000
WORK = 5000
"""Calls of an SP, 2.5 ms."""


class FakeCpus:
    """What all CPUs of a guest do: the first starts the others; then each calls, or is silent."""

    def __init__(self, count, callers):
        self.callers = callers
        self.made = []
        """Which CPU has made each call, in the order in which they were made."""
        self._to_start = list(range(1, count))

    def asks(self, block):
        """A CPU may execute: it makes its next call."""
        if block.cpu == 0 and self._to_start:
            self._ask(block, psci.CPU_ON_64, self._to_start.pop(0), RAM, 0)
        elif block.cpu in self.callers:
            self._ask(block, fid.FFA_ID_GET)

    def _ask(self, block, *x):
        self.made.append(block.cpu)
        for register, value in enumerate((*x, *[0] * (18 - len(x)))):
            block.words[layout.X // 8 + register] = value
        block.words[layout.KIND // 8] = 0
        block.words[layout.TICKS // 8] = len(self.made)
        block.words[layout.REQUEST // 8] += 1


class ObservedExchange:
    """An exchange whose CPU goes on, with what `on_answer` does, as soon as it is answered."""

    def __init__(self, exchange, on_answer):
        self._exchange = exchange
        self._on_answer = on_answer
        self.take = exchange.take

    @property
    def ticks(self):
        return self._exchange.ticks

    def answer(self, x, resume):
        sleeps = self._exchange.answer(x, resume)
        self._on_answer()
        return sleeps


class NoProcess:
    """A process that is there until it is killed."""

    pid = os.getpid()

    def poll(self):
        return None

    def kill(self):
        pass

    def wait(self):
        return 0


@pytest.fixture
def run(monkeypatch):
    """Let ``cpus`` CPUs, of which ``callers`` call, make ``exits`` exits; we have a processor.

    Returns the system, and which CPU has made each call.
    """
    booted = []

    def spawned(self, program, processors):
        self._process = NoProcess()
        self.mailbox.words[layout.READY // 8] = 1

    def then_asks(method, cpus):
        def answered(self, *arguments, **named):
            method(self, *arguments, **named)
            cpus.asks(self)

        return answered

    def with_a_cpu(method, cpus):
        def made(self, *arguments):
            method(self, *arguments)
            self.exchange = ObservedExchange(self.exchange, lambda: cpus.asks(self))

        return made

    def run(cpus, callers, exits, *, fake=None, sps=()):
        fake = fake or FakeCpus(cpus, callers)
        monkeypatch.setattr(QemuProcess, "_spawn", spawned)
        monkeypatch.setattr(Processors, "divide", lambda self, threads: {0})
        monkeypatch.setattr(Processors, "admit", lambda self, pid: None)
        monkeypatch.setattr(Processors, "waited", lambda self, nanoseconds: None)
        monkeypatch.setattr("ffabric.machine.engines.qemu.process.find_program", lambda: "qemu")
        monkeypatch.setattr(Block, "__init__", with_a_cpu(Block.__init__, fake))
        monkeypatch.setattr(Block, "start", then_asks(Block.start, fake))
        guest = vm("guest", image=bytes(64), engine="qemu", kernel=KernelBoot(), vcpus=cpus)
        system = boot(describe(vms=[guest], sps=sps, pes=cpus))
        booted.append(system)
        machine = system.machine
        endpoint = system.endpoints["guest"]
        endpoint.guest.outside.processors.divided = True
        machine.exit_limit = machine.exits + exits
        with suppress(OutOfExits):
            system.run()
        return system, fake.made

    yield run
    for system in booted:
        system.close()


def stretches(made):
    """How many calls each CPU made before another made one."""
    lengths = []
    for before, cpu in zip([None, *made], made, strict=False):
        if cpu == before:
            lengths[-1] += 1
        else:
            lengths.append(1)
    return lengths


def test_the_only_one_that_calls_is_answered_each_time(run):
    _, made = run(1, {0}, 1000)
    assert len(made) >= 1000


@pytest.mark.parametrize("remembered", [200, 2000])
def test_of_the_last_calls_it_is_known_what_they_were_and_how_long_they_took(
    run, monkeypatch, remembered
):
    monkeypatch.setattr(qemu_runner, "REMEMBERED", remembered)
    system, made = run(1, {0}, 1000)
    runner = system.endpoints["guest"].partition.contexts[0].runner
    assert set(runner.functions) == {fid.FFA_ID_GET}
    known = len(runner.functions)
    assert min(remembered // 2, len(made)) <= known <= remembered
    assert [*runner.round_trips] == [*range(len(made) - known + 1, len(made) + 1)]


@pytest.mark.parametrize("cpus", [2, 4])
def test_the_calls_of_all_are_answered_in_turn(run, cpus):
    _, made = run(cpus, set(range(cpus)), 1000)
    alike = made[cpus * qemu_runner.STAY :]
    counts = [alike.count(cpu) for cpu in range(cpus)]
    assert min(counts) > 0
    assert max(counts) - min(counts) <= qemu_runner.STAY + 1
    assert max(stretches(alike)) <= qemu_runner.LOOK + 1


def test_one_that_calls_while_others_are_silent_is_answered_at_a_stretch(run):
    system, made = run(4, {0}, 1000)
    assert set(made) == {0}
    assert len(made) >= 1000
    assert system.machine.runnable == [system.machine.pes[0]]


def test_time_passes_for_others_while_one_is_answered_at_a_stretch(run):
    system, _ = run(1, {0}, 200)
    machine = system.machine
    machine.exit_limit = None
    deadline = machine.clock.now + 1_000_000
    machine.clock.at(deadline, machine.stop)
    system.run()
    assert machine.clock.now >= deadline


def test_a_machine_that_is_asked_to_stop_stops_after_the_exit(run):
    system, _ = run(1, {0}, 100)
    machine = system.machine
    machine.exit_limit = None
    before = machine.exits
    machine.clock.at(machine.clock.now, machine.stop)
    system.run()
    assert machine.exits - before <= 2


class Worker(Partition):
    """An SP that makes many calls before it answers."""

    async def on_direct_request(self, request, ffa):
        for _ in range(WORK):
            await ffa.id_get()
        return request.respond(request.payload[0] + 1)


class Hostile(FakeCpus):
    """A CPU that runs what it has called again and again, and takes none of its interrupts."""

    def __init__(self):
        super().__init__(1, {0})
        self.answer, self.stops = 0, 0

    def asks(self, block):
        if self.answer == fid.FFA_MSG_SEND_DIRECT_RESP_64:
            self._ask(block, fid.FFA_ID_GET)
            return
        self.answer = block.words[layout.X // 8] & MASK32
        if self.answer == fid.FFA_INTERRUPT:
            self.stops += 1
            self._ask(block, fid.FFA_RUN, 0x8001_0000)
        elif self.answer == fid.FFA_MSG_SEND_DIRECT_RESP_64:
            self._ask(block, fid.FFA_ID_GET)
        else:
            self._ask(block, fid.FFA_MSG_SEND_DIRECT_REQ_64, 0x1_8001, 0, 6)
        block.words[layout.INTERRUPTED // 8] = 1


def test_a_cpu_that_takes_no_interrupt_lets_an_sp_come_to_its_end(run):
    hostile = Hostile()
    run(1, {0}, 10 * WORK, fake=hostile, sps=[Worker("worker")])
    assert hostile.answer == fid.FFA_MSG_SEND_DIRECT_RESP_64
    assert 1 < hostile.stops <= 2 + WORK * EXIT_COST // qemu_runner.PROGRESS
