"""A trusted OS in a QEMU of its own, entered by the dispatcher, with the real QEMU."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from device_sides import Handler, device

from ffabric.abi import psci
from ffabric.abi.optee import smc
from ffabric.machine.events import Call
from ffabric.machine.gic import GROUP1NS
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import sp, trusted_os

IMAGE = Path(__file__).parents[2] / "images" / "trusted_os.bin"
IDENTITY, EXCHANGE, ARM_TIMER, INTERRUPTS, NOTIFY, WAIT = (
    0xB200_0000 | n for n in (1, 7, 10, 11, 12, 13)
)
SPIN, ASK = 0x3200_0000 | 4, 0x3200_0000 | 18
INTID = 45
UNKNOWN = (1 << 64) - 1
DEVICETREE_MAGIC = 0xEDFE0DD0
"""As a little-endian CPU reads it."""


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


@pytest.fixture
def boot(ffabric):
    def boot(sps=(), **options):
        tee = trusted_os(name="tee", image=IMAGE, engine="qemu", **options)
        return ffabric.boot(sps=sps, vms=["kernel"], trusted_os=tee, hypervisor=False, pes=2)

    return boot


def listen(session, on_line):
    lines = []

    def listener(name, line):
        lines.append((name, line))
        on_line(line)

    session.system.listeners.append(listener)
    return lines


def test_it_answers_fast_calls(boot):
    answer = boot().vm("kernel").ffa.call(IDENTITY, *range(21, 28))
    assert answer[:3] == (0, 0, DEVICETREE_MAGIC)
    assert answer[4:8] == (24, 25, 26, 27)


def test_its_normal_world_memory_is_the_machines(boot):
    session = boot()
    kernel = session.vm("kernel")
    page = kernel.ram.allocate(1)
    kernel.memory.write(page, (1234).to_bytes(8, "little"))
    assert kernel.ffa.call(EXCHANGE, page, 5678)[:2] == (0, 1234)
    assert kernel.memory.read(page, 8) == (5678).to_bytes(8, "little")


def test_no_devicetree_of_qemus_is_left_in_our_memory(boot):
    """QEMU writes one at the start of its RAM, which is ours, when it starts."""
    session = boot()
    session.vm("kernel").ffa.call(IDENTITY)
    memory = session.system.machine.memory
    bank = memory.bank_at(0x4000_0000)
    assert bank is not None
    assert bank.base == 0x4000_0000
    assert memory.read(bank.base, 4, secure=False) != DEVICETREE_MAGIC.to_bytes(4, "little")


def test_its_gic_has_no_lpis(boot):
    """It would read and write tables of the trusted OS's choice, wherever they are."""
    session = boot()
    session.vm("kernel").ffa.call(IDENTITY)
    assert not session.system.endpoints["tee"].guest.process.mailbox.has_lpis


def test_each_pe_has_a_cpu_of_it(boot):
    session = boot(vcpus=2)
    kernel = session.vm("kernel")
    kernel.ffa.call(psci.CPU_ON_64, session.system.machine.pes[1].mpidr, 0x4000_0000, 0)
    cpus = [kernel.vcpu(index).call(IDENTITY)[1] for index in (1, 0, 1)]
    assert cpus == [1, 0, 1]


def test_an_rpc_is_served_and_the_call_resumed(boot):
    ffa = boot().vm("kernel").ffa
    answer = ffa.call(ASK)
    assert answer[0] == smc.Rpc.CMD
    assert ffa.call(smc.RETURN_FROM_RPC, 77)[:2] == (0, 77)


def test_it_makes_way_for_a_foreign_interrupt(boot):
    session = boot()
    gic = session.system.machine.gic
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.configure(8, 0, enabled=True, edge=True)
    lines = listen(session, lambda line: gic.set_pending(8, 0) if line == "spinning" else None)
    ffa = session.vm("kernel").ffa
    assert ffa.call(SPIN)[0] == smc.Rpc.FOREIGN_INTR
    assert lines == [("tee", "spinning")]
    gic.acknowledge(0, 8)
    gic.deactivate(0, 8)
    assert ffa.call(smc.RETURN_FROM_RPC)[0] == 0


def test_it_makes_way_for_the_interrupt_of_an_sp(boot):
    handler = Handler(INTID)
    session = boot(sps=[sp(handler, device_regions=(device(INTID),))])
    gic = session.system.machine.gic
    listen(session, lambda line: gic.set_pending(INTID))
    ffa = session.vm("kernel").ffa
    assert ffa.call(SPIN)[0] == smc.Rpc.FOREIGN_INTR
    assert ffa.call(smc.RETURN_FROM_RPC)[0] == 0
    assert handler.handled == 1


def test_its_own_interrupts_enter_it_when_nobody_calls(boot):
    ffa = boot().vm("kernel").ffa
    assert ffa.call(INTERRUPTS)[1] == 0
    ffa.call(ARM_TIMER)
    while ffa.call(INTERRUPTS)[1] == 0:
        pass


@pytest.mark.parametrize("notification", [None, 50, 51])
def test_it_notifies_the_normal_world_with_its_spi(boot, notification):
    session = boot(notification_interrupt=notification)
    gic = session.system.machine.gic
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    ffa = session.vm("kernel").ffa
    for _ in range(2):
        ffa.call(IDENTITY)
        assert gic.pending(0) is None
        ffa.call(NOTIFY)
        if notification == 50:
            assert gic.pending(0) == (50, GROUP1NS)
            gic.acknowledge(0, 50)
            gic.deactivate(0, 50)


def test_one_that_waits_for_ever_is_dead(boot):
    ffa = boot().vm("kernel").ffa
    with pytest.raises(PartitionCrashed, match="waits for an interrupt for ever"):
        ffa.call(WAIT)
    assert ffa.call(IDENTITY)[0] == UNKNOWN


@pytest.mark.parametrize("during_a_call", [True, False])
def test_a_dead_qemu_is_named_and_callers_hear_of_it(boot, during_a_call):
    session = boot()
    ffa = session.vm("kernel").ffa
    ffa.call(IDENTITY)
    pid = session.system.endpoints["tee"].guest.process.pid
    if during_a_call:
        listen(session, lambda line: os.kill(pid, signal.SIGKILL))
    else:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(PartitionCrashed) as crash:
        ffa.call(SPIN)
    assert str(crash.value) == f"tee: QEMU (process {pid}) ended: killed by SIGKILL"
    assert ffa.call(IDENTITY)[0] == UNKNOWN
    assert len(session.system.deaths) == 1


class At:
    """A tracer that does something at the call number ``number`` of the kernel, once."""

    def __init__(self, number, action):
        self.number, self.action = number, action
        self.seen = 0

    def record(self, event):
        if isinstance(event, Call) and event.endpoint == "kernel":
            self.seen += 1
            if self.seen == self.number:
                self.action()


@pytest.mark.parametrize("call", range(1, 60, 10))
def test_one_whose_qemu_dies_at_any_call_is_named_and_the_others_go_on(ffabric, call):
    tee = trusted_os(name="tee", image=IMAGE, engine="qemu")
    session = ffabric.boot(
        sps=["service"], vms=["kernel"], trusted_os=tee, hypervisor=False, pes=2,
        stop_on_crash=False,
    )  # fmt: skip
    kernel = session.vm("kernel")
    page = kernel.ram.allocate(1)
    kernel.ffa.call(IDENTITY)
    guest = session.system.endpoints["tee"].guest
    pid = guest.process.pid
    at = At(call, lambda: os.kill(pid, signal.SIGKILL))
    session.system.attach(at)
    lives = True
    while lives or at.seen < call:
        for request in ((EXCHANGE, page, 1), (ASK,), (smc.RETURN_FROM_RPC, 5)):
            lives = lives and kernel.ffa.call(*request)[0] != UNKNOWN
        kernel.ffa.reclaim(kernel.ffa.share(to="service", ipa=page))
    assert guest.ended == f"QEMU (process {pid}) ended: killed by SIGKILL"
    assert [death.name for death in session.system.deaths] == ["tee"]
    assert kernel.ffa.call(IDENTITY)[0] == UNKNOWN
    kernel.ffa.reclaim(kernel.ffa.share(to="service", ipa=page))
    assert not session.system.firmware.spmc.regions.live
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_qemu_is_gone_when_the_system_is_closed(boot):
    session = boot()
    session.vm("kernel").ffa.call(IDENTITY)
    pid = session.system.endpoints["tee"].guest.process.pid
    os.kill(pid, 0)
    session.system.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
