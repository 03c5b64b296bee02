"""VMs in QEMU come and go at any moment; a QEMU that does not answer is ended. The real QEMU."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from puppets import RAM, Cpu, Puppeteer, Puppets, map_buffers, send

import processes_at_hand
from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.guests.partition import Partition
from ffabric.machine.engines.qemu.runner import SLICE
from ffabric.machine.events import Idle
from ffabric.session.ffa import Blocked
from ffabric.system.booting.boot import boot
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import describe, trusted_os, vm
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import RAM as RAM_NAME
from ffabric.system.spec import KernelBoot, MemoryBank

PAGE, COUNTER, STOP = RAM + 0x10_0000, RAM + 0x18_0000, RAM + 0x18_1000
SIZE = 4 << 20
TRUSTED_OS = Path(__file__).parents[3] / "images" / "trusted_os.bin"
SPIN = 0x3200_0000 | 4


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


def stop_for_good(guest):
    """Stop its QEMU, of which nothing is expected any more; others have the time they need."""
    processes_at_hand.stop(guest.process.pid)
    guest.deadline = 0.5
    return guest.process.pid


class Worker(Partition):
    """An SP that works on a request until it is released."""

    released = False
    asked = 0

    async def on_direct_request(self, request, ffa):
        self.asked += 1
        while not self.released:
            await ffa.yield_()
        return request.respond(1)


class Idles:
    """A tracer that has seen how often an endpoint idles."""

    def __init__(self, endpoint):
        self.endpoint, self.seen = endpoint, 0

    def record(self, event):
        self.seen += isinstance(event, Idle) and event.endpoint == self.endpoint


def create(puppets, puppeteer, name="late", **options):
    """A puppet that is created now and hangs on ``puppeteer``, an SP that nobody has yet."""
    puppets.cpus[0][0].do("nothing")
    number = puppets.system.endpoints[puppeteer.name].id - 0x8001
    draft = puppets.vm(name, number, 1, mem_size=SIZE, **options)
    endpoint = puppets.system.create_vm(draft)
    puppeteer.stop = puppets.system.machine.stop
    puppeteer.results.clear()
    puppeteer.waits = False
    return Cpu(puppets, endpoint, puppeteer, 0)


def test_a_vm_that_is_created_while_the_system_runs_has_its_own_memory_only():
    puppeteer = Puppeteer("late-puppeteer")
    with Puppets(1, sps=[puppeteer]) as puppets:
        ((cpu,),) = puppets.cpus
        cpu.do("store", PAGE, 5)
        late = create(puppets, puppeteer)
        assert late.do("load", PAGE).value == 0
        late.do("store", PAGE, 6)
        assert [cpu.do("load", PAGE).value, late.do("load", PAGE).value] == [5, 6]
        pieces = [each for each in late.endpoint.spec.memory if each.name == RAM_NAME]
        assert sum(each.size for each in pieces) == SIZE
        for each in (*pieces, cpu.endpoint.spec.memory[0]):
            assert late.do("load", each.pa).aborted
        assert late.do("load", RAM + SIZE).aborted


def test_a_vm_may_be_at_a_physical_address():
    memory = [
        MemoryBank("secure", 0x0600_0000, 0x0200_0000, secure=True),
        MemoryBank("normal", 0x8000_0000, 0x4000_0000, secure=False),
    ]
    with Puppets(1, 1, memory=memory, places=(0x9000_0000, None)) as puppets:
        (cpu,), (other,) = puppets.cpus
        piece = cpu.endpoint.spec.memory[0]
        assert (piece.ipa, piece.pa) == (RAM, 0x9000_0000)
        cpu.do("store", PAGE, 9)
        assert puppets.memory.read64(0x9000_0000 + PAGE - RAM, secure=False) == 9
        for address in (0x9000_0000, 0x8000_0000, other.endpoint.spec.memory[0].pa):
            assert cpu.do("load", address).aborted


def test_its_memory_is_clean_and_free_when_it_is_gone():
    puppeteer = Puppeteer("late-puppeteer")
    with Puppets(1, sps=[puppeteer]) as puppets:
        ((cpu,),) = puppets.cpus
        frames = puppets.system.hypervisor.frames
        free = frames.free_pages
        for n in range(3):
            late = create(puppets, puppeteer, f"late{n}")
            late.do("store", PAGE, n + 1)
            pieces = [each.pa for each in late.endpoint.spec.memory if each.name == RAM_NAME]
            late.begin("count", 0, COUNTER, STOP)
            assert frames.free_pages < free
            puppets.system.destroy_vm(f"late{n}")
            cpu.do("nothing")
            assert frames.free_pages == free
            for pa in pieces:
                assert not any(puppets.memory.read(pa, 1 << 20, secure=False))
            assert late.endpoint.guest.ended


@pytest.mark.parametrize("moment", ["executing", "in a call", "asleep", "with memory lent"])
def test_a_vm_is_destroyed_at_any_moment(moment):
    worker = Worker("worker")
    with Puppets(1, 1, sps=[worker]) as puppets:
        (cpu,), (other,) = puppets.cpus
        map_buffers(cpu)
        cpu.do("nothing")
        if moment == "executing":
            cpu.begin("count", 0, COUNTER, STOP)
        elif moment == "asleep":
            cpu.begin("sleep", STOP, COUNTER)
        elif moment == "in a call":
            words = (fid.FFA_MSG_SEND_DIRECT_REQ_64, cpu.endpoint.id << 16 | 0x8003)
            cpu.write(PAGE, b"".join(word.to_bytes(8, "little") for word in words))
            cpu.begin("call", PAGE)
            while not worker.asked:
                other.do("nothing")
        else:
            send(cpu, fid.FFA_MEM_LEND_64, [(PAGE, 1)], [0x8003])
        pid = cpu.endpoint.guest.process.pid
        puppets.system.destroy_vm("vm0")
        worker.released = True
        for n in range(10):
            assert other.do("store", PAGE, n).exceptions == 0
        assert "vm0" not in puppets.system.endpoints
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_vm_that_is_stopped_while_it_executes_is_ended_and_named():
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        cpu.begin("sleep", STOP, COUNTER)
        other.do("nothing")
        pid = stop_for_good(cpu.endpoint.guest)
        other.begin("sleep", STOP, COUNTER)
        clock = puppets.system.machine.clock
        while cpu.endpoint.partition.alive:
            clock.at(clock.now + 100_000_000, puppets.system.machine.stop)
            puppets.system.run()
        assert cpu.endpoint.partition.fate == (
            f"QEMU (process {pid}) was ended: it has not heard its doorbell for 0.5 s"
        )
        other.write(STOP, b"\1")
        other.endpoint.partition.gic.set_pending(8, 0)
        assert other.endpoint.partition.alive


def test_a_vm_that_is_paused_from_outside_goes_on_where_it_was():
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        guest = cpu.endpoint.guest
        guest.deadline = processes_at_hand.SOON
        cpu.begin("count", 0, COUNTER, STOP)
        processes_at_hand.run_until(puppets.system, lambda: cpu.word(COUNTER))
        processes_at_hand.stop(guest.process.pid)
        before = cpu.word(COUNTER)
        for n in range(10):
            assert other.do("store", PAGE, n).exceptions == 0
        assert cpu.word(COUNTER) == before
        os.kill(guest.process.pid, signal.SIGCONT)
        processes_at_hand.run_until(puppets.system, lambda: cpu.word(COUNTER) > before)
        cpu.write(STOP, b"\1")
        assert cpu.wait().exceptions == 0


def let_idle(puppets, cpu, other):
    """Let ``cpu`` sleep; ``other``, which shares its PE, runs until that is known."""
    cpu.begin("sleep", STOP, COUNTER)
    idle = Idles(cpu.endpoint.name)
    puppets.system.attach(idle)
    while not idle.seen:
        other.do("nothing")


def test_one_that_dies_while_it_idles_is_named():
    """Nothing would ever wake it: others have its PE."""
    with Puppets(1, 1, pes=1) as puppets:
        (cpu,), (other,) = puppets.cpus
        let_idle(puppets, cpu, other)
        pid = cpu.endpoint.guest.process.pid
        processes_at_hand.kill(pid)
        processes_at_hand.run_until(puppets.system, lambda: not cpu.endpoint.partition.alive)
        assert cpu.endpoint.partition.fate == f"QEMU (process {pid}) ended: killed by SIGKILL"
        assert other.do("load", PAGE).exceptions == 0


def test_one_that_is_stopped_while_it_idles_is_ended_and_named():
    with Puppets(1, 1, pes=1) as puppets:
        (cpu,), (other,) = puppets.cpus
        let_idle(puppets, cpu, other)
        other.begin("sleep", STOP, COUNTER)
        pid = stop_for_good(cpu.endpoint.guest)
        processes_at_hand.run_until(puppets.system, lambda: not cpu.endpoint.partition.alive)
        assert (
            cpu.endpoint.partition.fate
            == f"QEMU (process {pid}) was ended: it was stopped for 0.5 s"
        )
        assert other.endpoint.partition.alive


def test_one_that_is_stopped_while_memory_is_taken_from_it_is_ended_and_named():
    with Puppets(2) as puppets:
        (cpus,) = puppets.cpus
        first, second = cpus
        first.call(psci.CPU_ON_64, 1, RAM, 0)
        map_buffers(first)
        second.begin("count", 0, COUNTER, STOP)
        first.do("nothing")
        processes_at_hand.run_until(puppets.system, lambda: second.word(COUNTER))
        pid = stop_for_good(first.endpoint.guest)
        first.endpoint.partition.stage2.unmap(PAGE, 1)
        told = f"QEMU (process {pid}) was ended: it has not dropped a translation within 0.5 s"
        assert first.endpoint.guest.ended == told


def test_a_trusted_os_that_is_stopped_is_ended_and_named(ffabric):
    tee = trusted_os(name="tee", image=TRUSTED_OS, engine="qemu")
    session = ffabric.boot(vms=["kernel"], trusted_os=tee, hypervisor=False, pes=2)
    ffa = session.vm("kernel").ffa
    guest = session.system.endpoints["tee"].guest
    pid = guest.process.pid
    session.system.listeners.append(lambda name, line: stop_for_good(guest))
    with pytest.raises(PartitionCrashed) as crash:
        ffa.call(SPIN)
    assert f"QEMU (process {pid}) was ended: it has not heard its doorbell" in str(crash.value)


def test_a_trusted_os_has_no_time_slices_though_vms_wait_for_its_pe(ffabric):
    """A VM that has begun on the PE meanwhile gets it when the call is over, or preempted."""
    tee = trusted_os(name="tee", image=TRUSTED_OS, engine="qemu")
    session = ffabric.boot(vms=["kernel"], trusted_os=tee, hypervisor=False, pes=2)
    machine = session.system.machine
    (ctx, *_) = session.system.endpoints["tee"].partition.contexts
    waiting = session.system.endpoints["kernel"].partition.contexts[0]

    def look(name, line):
        ctx.pe.queue = [waiting]
        machine.clock.at(machine.clock.now + 10 * SLICE, machine.stop)

    session.system.listeners.append(look)
    with pytest.raises(Blocked):
        session.vm("kernel").ffa.call(SPIN)
    assert ctx.runner.outside
    assert not session.system.deaths


def test_what_it_prints_last_is_heard_as_a_line_without_its_end():
    lines = []
    with Puppets(1) as puppets:
        ((cpu,),) = puppets.cpus
        (guest,) = (each.guest for each in puppets.system.endpoints.values() if each.guest)
        puppets.system.listeners.append(lambda name, line: lines.append((line, guest.cut)))
        for letter in b"a line\nthe end":
            cpu.do("print", letter, 0x0900_0000, 1)
        words = psci.SYSTEM_OFF.to_bytes(8, "little")
        cpu.write(PAGE, words)
        cpu.begin("call", PAGE)
        puppets.system.run()
        puppets.system.run()
        puppets.system.flush_consoles()
    assert lines == [("a line", False), ("the end", True)]
    assert not guest.cut


def test_a_vm_is_refused_where_qemu_has_no_such_affinities():
    draft = vm(name="late", image=bytes(4096), engine="qemu", kernel=KernelBoot(), vcpus=2)
    with Puppets(1) as puppets:
        flat = puppets.system.spec.mpidrs
        assert flat == tuple(range(len(flat)))
    spec = describe(vms=["client"], pes=4)
    assert spec.mpidrs[1] != 1
    with boot(spec) as system, pytest.raises(SystemErrors, match="affinities"):
        system.create_vm(draft)
