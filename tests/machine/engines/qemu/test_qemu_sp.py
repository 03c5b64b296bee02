"""SPs in QEMU: confined by their SPMC's stage 2, entered and interrupted, with the real QEMU."""

import os
import shutil
import signal
import struct
from pathlib import Path
from typing import Any

import pytest
from puppets import CODE, COMMANDS, Result, map_buffers, send

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import MASK32
from ffabric.firmware.state.context import State
from ffabric.firmware.state.events import Preempt
from ffabric.guests import images
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    ExceptionLevel,
    Interrupt,
    NsInterruptsAction,
)
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import DeviceSpec, MemoryBank

IMAGE = Path(__file__).parents[3] / "images" / "servant.bin"
SIZE = 0x40_0000
UART = DeviceSpec(type="pl011", name="uart1", base=0x0904_0000, size=0x1000, secure=True)
FAULTS = Path(__file__).parents[3] / "images" / "faults.bin"
MASK_AND_STAY = struct.pack("<2I", 0xD518461F, 0x14000000)
"""msr icc_pmr_el1, xzr; b ."""
NOWHERE = 0x10_0000
"""Where no SP has memory."""


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


STATE: dict[str, Any] = {"secure": False}
"""In which state QEMU executes the SPs of a test; see `state`."""


@pytest.fixture(autouse=True, params=[False, True], ids=["non-secure", "secure"])
def state(request, monkeypatch):
    """Each test holds whatever state QEMU has its SPs in: they cannot tell."""
    monkeypatch.setitem(STATE, "secure", request.param)
    return request.param


def servant(name="servant", **options):
    return sp(name=name, image=IMAGE, engine="qemu", mem_size=SIZE, **STATE, **options)


class Asker:
    """A VM that tells servants what to do."""

    def __init__(self, system, name="client"):
        self.ffa = system.vm(name).ffa

    def do(self, to, what, *arguments):
        payload = (COMMANDS.index(what), *arguments)
        return Result(self.ffa.direct_request(to, *payload).payload)


class Heard:
    """A tracer that keeps what it hears."""

    def __init__(self):
        self.events = []

    def record(self, event):
        self.events.append(event)


@pytest.fixture
def boot(ffabric):
    def boot(*servants, **options):
        return ffabric.boot(sps=servants or [servant()], vms=["client"], **options)

    return boot


def ram(system, name="servant"):
    return system.sp(name).endpoint.spec.memory[0]


def free(system, name="servant"):
    """A page of the SP's that nobody uses."""
    return ram(system, name).ipa + SIZE - 0x4000


def test_an_image_answers_as_under_any_engine(boot):
    system = boot(sp(name="adder", image=images.load("adder_smc"), engine="qemu", **STATE))
    ffa = system.vm("client").ffa
    assert [ffa.direct_request("adder", n, 3).payload[0] for n in range(5)] == [3, 4, 5, 6, 7]


def unprivileged(**options):
    """An SP at S-EL0."""
    return sp(engine="qemu", exception_level=ExceptionLevel.S_EL0, **STATE, **options)


def test_an_image_at_s_el0_answers_as_under_any_engine(boot):
    system = boot(unprivileged(name="adder", image=images.load("adder_svc")))
    ffa = system.vm("client").ffa
    assert [ffa.direct_request("adder", n, 3).payload[0] for n in range(5)] == [3, 4, 5, 6, 7]
    assert system.sp("adder").endpoint.partition.el == 0


def faults(offset):
    """What reaches where nothing is, at S-EL0, or beside that stores into its own memory."""
    return unprivileged(name="x", image=FAULTS, entrypoint_offset=offset, image_offset=0)


def test_one_at_s_el0_ends_with_its_first_abort(boot):
    with pytest.raises(PartitionCrashed, match="data abort at 0x200000008"):
        boot(faults(0x100))


def test_one_at_s_el0_that_stays_within_its_memory_waits(boot):
    system = boot(faults(0x180))
    endpoint = system.sp("x").endpoint
    assert endpoint.partition.contexts[0].state is State.WAITING
    assert endpoint.memory.read64(ram(system, "x").ipa + 0x1000) == 1


@pytest.mark.parametrize("instruction", [0xD4000003, 0xD4000002, 0xD5384100, 0x00000000])
def test_what_only_el1_may_do_is_a_crash_at_s_el0(boot, instruction):
    """SMC, HVC, a read of SP_EL0, and what is undefined everywhere."""
    code = struct.pack("<2I", 0xD503201F, instruction)
    with pytest.raises(PartitionCrashed, match="and there is no EL1 to take it"):
        boot(unprivileged(name="x", image=code, image_offset=0, entrypoint_offset=0))


def test_it_reaches_its_own_memory_and_nothing_else(boot):
    system = boot(servant(), servant("other"))
    asker, page = Asker(system), free(system)
    asker.do("servant", "store", page, 0x1234)
    piece = ram(system)
    memory = system.system.machine.memory
    assert memory.read64(piece.pa + page - piece.ipa, secure=True) == 0x1234
    normal = next(bank for bank in memory.banks if not bank.secure)
    tables = system.system.spec.spmc.memory
    for address in (
        NOWHERE,
        ram(system, "other").pa,
        normal.base,
        tables.base,
        normal.end - 0x1000,
    ):
        for what in ("load", "store", "execute"):
            assert asker.do("servant", what, address, 1).aborted
    assert asker.do("servant", "load", page).value == 0x1234


def test_one_that_is_linked_below_qemus_memory_has_other_physical_addresses(boot):
    system = boot(servant(load_address=0x0E30_0000))
    asker, piece = Asker(system), ram(system)
    assert (piece.ipa, piece.pa >= 0x4000_0000) == (0x0E30_0000, True)
    asker.do("servant", "store", free(system), 7)
    assert asker.do("servant", "load", free(system)).value == 7
    assert asker.do("servant", "load", piece.pa).aborted


@pytest.mark.parametrize("vcpus", [2, 8])
def test_each_pe_has_a_vcpu_of_it(boot, vcpus):
    system = boot(servant(vcpus=vcpus), pes=vcpus)
    contexts = system.sp("servant").endpoint.partition.contexts
    assert len(contexts) == vcpus
    assert all(ctx.state is State.WAITING for ctx in contexts)
    assert all(ctx.runner.functions[-1] == fid.FFA_MSG_WAIT for ctx in contexts)
    assert Asker(system).do("servant", "load", free(system)).exceptions == 0


def test_it_may_silence_nothing(boot):
    """Its interrupt controller is a virtual one: the doorbell is not masked with it."""
    system = boot()
    asker = Asker(system)
    asker.do("servant", "group0")
    assert asker.do("servant", "load", free(system)).exceptions == 0


@pytest.mark.parametrize("state", [True], ids=["secure"], indirect=True)
def test_in_secure_state_one_that_masks_the_doorbell_and_stays_is_ended(boot):
    system = boot()
    system.sp("servant").memory.write(free(system), MASK_AND_STAY)
    system.system.endpoints["servant"].guest.deadline = 0.5
    with pytest.raises(PartitionCrashed, match=r"not heard its doorbell for 0\.5 s"):
        Asker(system).do("servant", "execute", free(system))


def test_only_an_sp_in_qemu_is_in_secure_state():
    told = "secure: it is for SPs that have the engine 'qemu'"
    with pytest.raises(SystemErrors, match=told):
        describe(sps=[sp(name="servant", image=IMAGE, mem_size=SIZE, secure=True)])
    with pytest.raises(SystemErrors, match=told):
        describe(vms=[vm(name="vm", image=IMAGE, engine="qemu", secure=True)])


def test_its_console_is_the_uart_that_the_system_describes(boot):
    region = DeviceRegion(name="uart", base_address=0x0904_0000, pages=1, attributes=3)

    system = boot(servant(device_regions=(region,)), devices=[UART])
    lines = []
    system.system.listeners.append(lambda name, line: lines.append((name, line)))
    asker = Asker(system)
    for letter in b"secure\n":
        asker.do("servant", "print", letter, 0x0904_0000, 1)
    system.system.run()
    system.system.flush_consoles()
    assert lines == [("servant", "secure")]


def test_it_is_preempted_and_goes_on_where_it_was(boot):
    system = boot()
    machine = system.system.machine
    asker, page = Asker(system), free(system)
    count, stop = page + 0x1000, page + 0x2000
    (ctx,) = system.sp("servant").endpoint.partition.contexts
    hits = []

    def interrupt():
        hits.append(int.from_bytes(system.sp("servant").memory.read(count, 8), "little"))
        machine.gic.set_pending(system.system.firmware.spmc.sri, ctx.pe.index)
        if len(hits) == 3:
            system.sp("servant").memory.write(stop, b"\1")
        else:
            machine.clock.at(machine.clock.now + 20_000_000, interrupt)

    machine.clock.at(machine.clock.now + 20_000_000, interrupt)
    heard = Heard()
    system.system.attach(heard)
    result = asker.do("servant", "count", 0, count, stop)
    assert result.exceptions == 0
    preempted = [each.endpoint for each in heard.events if isinstance(each, Preempt)]
    assert set(preempted) == {"servant"}
    assert len(hits) == 3
    assert hits == sorted(hits)


def test_a_dead_qemu_is_named_and_callers_hear_of_it(boot):
    system = boot()
    asker = Asker(system)
    pid = system.system.endpoints["servant"].guest.process.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(
        PartitionCrashed, match=f"QEMU \\(process {pid}\\) ended: killed by SIGKILL"
    ):
        asker.do("servant", "load", free(system))


def test_what_cannot_be_is_said():
    low = MemoryBank("low", 0x0E00_0000, 0x0100_0000, secure=True)
    normal = MemoryBank("normal", 0x4010_0000, 0x1000_0000, secure=False)
    with pytest.raises(SystemErrors) as found:
        describe(sps=[servant()], vms=["client"], memory=[low, normal])
    told = "QEMU's machine, with SPs, has secure memory at 0x40000000-0x3ffdffffff"
    assert f"[[memory]] low: base: 0xe000000-0xeffffff: {told}" in map(str, found.value.problems)


class Cpu:
    """A servant that makes calls: what `puppets.send` wants."""

    def __init__(self, system):
        self.asker = Asker(system)
        self.endpoint = system.sp("servant").endpoint
        self.buffers = free(system) - 0x8000

    def write(self, ipa, data):
        self.endpoint.memory.write(ipa, data)

    def do(self, what, *arguments):
        return self.asker.do("servant", what, *arguments)

    def call(self, *x, how="call"):
        words = (*x, *[0] * 18)[:18]
        at = self.buffers + 0x4000
        self.write(at, b"".join(word.to_bytes(8, "little") for word in words))
        self.do(how, at)
        data = self.endpoint.memory.read(at, 18 * 8)
        return [int.from_bytes(data[n : n + 8], "little") for n in range(0, len(data), 8)]


@pytest.fixture
def lender(boot):
    system = boot(servant(), sp("other"))
    cpu = Cpu(system)
    map_buffers(cpu, cpu.buffers)
    cpu.system = system  # type: ignore[attr-defined]
    return cpu


def test_a_page_that_it_lends_is_gone_until_it_reclaims_it(lender):
    page = free(lender.system)
    other = lender.system.sp("other")
    for n in (1, 2, 3):
        lender.write(page, CODE[n])
        assert lender.do("execute", page).value == n
        answer = send(lender, fid.FFA_MEM_LEND_64, [(page, 1)], [other.id], buffers=lender.buffers)
        assert answer[0] & MASK32 == fid.FFA_SUCCESS_32
        assert lender.do("execute", page).aborted
        assert lender.do("load", page).aborted
        assert lender.call(fid.FFA_MEM_RECLAIM, *answer[2:4], 0)[0] == fid.FFA_SUCCESS_32
        assert lender.do("load", page).value == int.from_bytes(CODE[n], "little")


def test_memory_that_a_vm_shares_is_there_while_it_is_retrieved(lender):
    peer = lender.system.vm("client")
    client = peer.ffa
    page = client.ram.allocate(1)
    client.memory.write(page, (77).to_bytes(8, "little"))
    region = client.share(to="servant", ipa=page)
    request = abi.Transaction(
        sender=peer.id,
        handle=region,
        receivers=[abi.Receiver(lender.endpoint.id, 0b10)],
    )
    data = abi.build_transaction(request, V1_2)
    lender.write(lender.buffers, data)
    answer = lender.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
    assert answer[0] == fid.FFA_MEM_RETRIEVE_RESP
    found = abi.parse_transaction(
        lender.endpoint.memory.read(lender.buffers + 0x1000, answer[1]), V1_2
    )
    ((address, _),) = found.constituents
    assert lender.do("load", address).value == 77
    lender.do("store", address, 78)
    assert client.memory.read(page, 8) == (78).to_bytes(8, "little")
    done = abi.Relinquish(region, 0, [lender.endpoint.id])
    lender.write(lender.buffers, abi.build_relinquish(done))
    assert lender.call(fid.FFA_MEM_RELINQUISH)[0] == fid.FFA_SUCCESS_32
    assert lender.do("load", address).aborted


INTID = 45


def with_interrupt(**options):
    line = Interrupt(id=INTID, attributes=0x100)
    region = DeviceRegion(
        name="uart", base_address=0x0904_0000, pages=1, attributes=3, interrupts=(line,)
    )
    return servant(device_regions=(region,), **options)


def interrupts_of(result):
    return result.exceptions  # x7 of a servant's response


def stop_when_taken(machine, cpu, stop):
    """Let the servant stop what it does as soon as it has asked which interrupt it has taken."""
    (ctx,) = cpu.endpoint.partition.contexts
    asked = len(ctx.runner.functions)

    def look():
        if hafnium.HF_INTERRUPT_GET in ctx.runner.functions[asked:]:
            cpu.write(stop, b"\1")
        else:
            machine.clock.at(machine.clock.now + 1_000_000, look)

    look()


@pytest.mark.parametrize("while_it_executes", [False, True])
def test_its_interrupts_come_to_it_as_virtual_ones(boot, while_it_executes):
    system = boot(with_interrupt(), devices=[UART])
    cpu = Cpu(system)
    machine = system.system.machine
    cpu.call(hafnium.HF_INTERRUPT_ENABLE, INTID, 1, 0, how="hypercall")
    before = interrupts_of(cpu.do("nothing"))
    if while_it_executes:
        stop = free(system)

        def interrupt():
            machine.gic.set_pending(INTID)
            stop_when_taken(machine, cpu, stop)

        machine.clock.at(machine.clock.now + 20_000_000, interrupt)
        assert interrupts_of(cpu.do("count", 0, stop + 0x1000, stop)) == before + 1
    else:
        machine.gic.set_pending(INTID)
        system.run()
        assert interrupts_of(cpu.do("nothing")) == before + 1


def test_it_is_told_to_make_a_managed_exit_while_it_executes(boot):
    action = NsInterruptsAction.MANAGED_EXIT
    system = boot(servant(ns_interrupts_action=action, managed_exit_virq=True))
    cpu = Cpu(system)
    machine = system.system.machine
    (ctx,) = cpu.endpoint.partition.contexts
    stop = free(system)

    def interrupt():
        machine.gic.set_pending(system.system.firmware.spmc.sri, ctx.pe.index)
        stop_when_taken(machine, cpu, stop)

    machine.clock.at(machine.clock.now + 20_000_000, interrupt)
    assert interrupts_of(cpu.do("count", 0, stop + 0x1000, stop)) == 1
