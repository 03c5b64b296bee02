"""A trusted OS at S-EL1 below EL3: how the dispatcher enters it, and what comes back."""

from types import coroutine

import pytest
from mediator_sides import Tee

from ffabric.abi import psci
from ffabric.abi.optee import message as m
from ffabric.abi.optee import smc
from ffabric.abi.words import MASK32
from ffabric.guests.trusted_os import TrustedOs
from ffabric.machine import exits
from ffabric.session.ffa import Blocked
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import describe, trusted_os
from ffabric.system.files.dtb import parse_dtb
from ffabric.system.options.problems import SystemErrors

UNKNOWN = (1 << 64) - 1
INTID = 45
SGI = 8


class Recorder(TrustedOs):
    """Says who called on which PE with what, and how often a secure interrupt came."""

    def __init__(self):
        self.calls = []
        self.interrupts = []

    async def on_call(self, x, vcpu):
        self.calls.append((vcpu.index, x))
        return (smc.Return.OK, 11, 12, 13)

    async def on_fiq(self, vcpu):
        self.interrupts.append(vcpu.index)
        gic = vcpu.mrs("ICC_IAR1_EL1")
        vcpu.msr("ICC_EOIR1_EL1", gic)


def boot(ffabric, software=None, *, hypervisor=False, pes=2, **options):
    tos = software or Recorder()
    return tos, ffabric.boot(
        vms=["kernel"], trusted_os=trusted_os(tos, **options), hypervisor=hypervisor, pes=pes
    )


@pytest.mark.parametrize("function", [smc.CALL_WITH_ARG, smc.GET_OS_UUID, smc.CALLS_UID])
def test_a_call_goes_with_eight_registers_and_its_answer_comes_in_four(ffabric, function):
    tos, system = boot(ffabric)
    answer = system.vm("kernel").ffa.call(function, *range(21, 37))
    assert tos.calls == [(0, [function, *range(21, 28)])]
    assert answer == (0, 11, 12, 13, *range(24, 37), 0)


@pytest.mark.parametrize("function", [0x8500_0001, 0xB100_0000, 0xC000_0000])
def test_calls_of_other_owners_are_not_its(ffabric, function):
    tos, system = boot(ffabric)
    assert system.vm("kernel").ffa.call(function)[0] == UNKNOWN
    assert tos.calls == []


def test_each_pe_enters_a_context_of_its_own(ffabric):
    tos, system = boot(ffabric, vcpus=2)
    kernel = system.vm("kernel")
    kernel.ffa.call(psci.CPU_ON_64, system.system.machine.pes[1].mpidr, 0x8000_0000, 0)
    for vcpu in (1, 0, 1):
        assert kernel.vcpu(vcpu).call(smc.CALLS_UID)[0] == smc.Return.OK
    assert [index for index, _ in tos.calls] == [1, 0, 1]


def test_a_pe_without_a_context_has_no_trusted_os(ffabric):
    _, system = boot(ffabric, vcpus=1)
    kernel = system.vm("kernel")
    kernel.ffa.call(psci.CPU_ON_64, system.system.machine.pes[1].mpidr, 0x8000_0000, 0)
    assert kernel.vcpu(1).call(smc.CALLS_UID)[0] == UNKNOWN
    assert kernel.vcpu(0).call(smc.CALLS_UID)[0] == smc.Return.OK


class Leaving(Recorder):
    """Says what it hears of the power."""

    def __init__(self):
        super().__init__()
        self.power = []

    async def program(self, vcpu, entry, x0):
        self.power.append((vcpu.index, "begins"))
        await super().program(vcpu, entry, x0)

    async def on_power(self, what, vcpu):
        self.power.append((vcpu.index, what))


def test_it_hears_that_a_pe_goes_off_and_begins_anew_when_it_comes_back(ffabric):
    tos, system = boot(ffabric, Leaving(), vcpus=2)
    kernel = system.vm("kernel")
    mpidr = system.system.machine.pes[1].mpidr
    for _ in range(2):
        kernel.ffa.call(psci.CPU_ON_64, mpidr, 0x8000_0000, 0)
        assert kernel.vcpu(1).call(smc.CALLS_UID)[0] == smc.Return.OK
        with pytest.raises(Blocked):
            kernel.vcpu(1).call(psci.CPU_OFF)
    assert tos.power == [(0, "begins"), *[(1, "begins"), (1, "cpu_off")] * 2]
    assert kernel.ffa.call(psci.AFFINITY_INFO_64, mpidr, 0)[0] == psci.AffinityState.OFF


@pytest.mark.parametrize("what", ["off", "reset"])
def test_it_hears_that_the_system_goes_off(ffabric, what):
    tos, system = boot(ffabric, Leaving())
    call = psci.SYSTEM_OFF if what == "off" else psci.SYSTEM_RESET
    with pytest.raises(Blocked):
        system.vm("kernel").ffa.call(call)
    assert tos.power[-1] == (0, f"system_{what}")
    assert system.system.firmware.monitor.power_state == what


class Confused(TrustedOs):
    """Makes an SMC that is none of what it was entered for, and notes what it says."""

    def __init__(self, wrong):
        self.wrong, self.answers = wrong, []

    async def on_call(self, x, vcpu):
        for each in self.wrong:
            vcpu.x[0] = each
            await _returning()
            self.answers.append(vcpu.x[0])
        return (smc.Return.OK, 1, 2, 3)


@coroutine
def _returning():
    yield exits.SMC


def test_what_it_was_not_entered_for_it_does_not_answer(ffabric):
    done = [smc.RETURN_ENTRY_DONE, smc.RETURN_ON_DONE, smc.RETURN_FIQ_DONE, smc.RETURN_OFF_DONE]
    tos, system = boot(ffabric, Confused(done))
    assert system.vm("kernel").ffa.call(smc.CALLS_UID)[:4] == (smc.Return.OK, 1, 2, 3)
    assert tos.answers == [UNKNOWN] * len(done)


@pytest.mark.parametrize("hypervisor", [True, False])
def test_a_secure_interrupt_of_the_normal_world_enters_it(ffabric, hypervisor):
    tos, system = boot(ffabric, hypervisor=hypervisor, vcpus=2)
    gic = system.system.machine.gic
    gic.configure(INTID, group=1, enabled=True, edge=True, target=0)
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=True)
    gic.set_pending(INTID, 0)
    kernel = system.vm("kernel").ffa
    assert kernel.features(0x8400_0063)
    system.run()
    assert tos.interrupts == [0]
    assert kernel.call(smc.CALLS_UID)[0] == smc.Return.OK


@coroutine
def _smc():
    yield exits.SMC


class Slow(TrustedOs):
    """An interrupt of the normal world becomes pending while it serves a yielding call."""

    gic = None

    async def on_call(self, x, vcpu):
        if x[0] != smc.CALL_WITH_ARG:
            return (smc.Return.OK, 0, 0, 0)
        self.gic.set_pending(SGI, vcpu.index)  # type: ignore[attr-defined]
        vcpu.x[0] = psci.PSCI_VERSION
        await _smc()
        return (smc.Rpc.FOREIGN_INTR, 0, 0, 0)


def test_an_interrupt_that_it_makes_way_for_reaches_the_normal_world_at_once(ffabric):
    tos, system = boot(ffabric, Slow(), hypervisor=True, pes=1)
    tos.gic = gic = system.system.machine.gic
    gic.configure(SGI, 0, enabled=True, edge=True)
    kernel = system.vm("kernel")
    message = kernel.ram.allocate(1)
    kernel.memory.write(message, m.build_message(m.Message(4)))
    answer = kernel.ffa.call(smc.CALL_WITH_ARG, message >> 32, message & MASK32)
    assert answer[0] == smc.Rpc.FOREIGN_INTR
    assert gic.pending(0) is None


class Dying(TrustedOs):
    async def on_call(self, x, vcpu):
        raise RuntimeError("panic")


def test_callers_hear_that_it_is_dead(ffabric):
    _, system = boot(ffabric, Dying(), vcpus=2)
    kernel = system.vm("kernel").ffa
    with pytest.raises(PartitionCrashed, match="panic"):
        kernel.call(smc.CALLS_UID)
    assert kernel.call(smc.CALLS_UID)[0] == UNKNOWN


def test_it_finds_the_normal_worlds_memory_in_a_devicetree(ffabric):
    _, system = boot(ffabric)
    endpoint = system.system.endpoint("trusted-os")
    at = endpoint.partition.boot_information
    root = parse_dtb(endpoint.memory.read(at, 4096)).root
    found = [
        node.u64("reg") if len(node.props["reg"]) == 8 else node.cells("reg")
        for node in root.children
    ]
    banks = [each for each in system.system.spec.memory if not each.secure]
    assert found == [(0, bank.base, 0, bank.size) for bank in banks]


def test_there_is_one(ffabric):
    with pytest.raises(SystemErrors, match="not driven"):
        describe(vms=["kernel"], trusted_os="tee")


def test_it_reads_messages_of_the_normal_world(ffabric):
    tee, system = boot(ffabric, Tee())
    kernel = system.vm("kernel")
    at = kernel.ram.allocate(1)
    kernel.memory.write(at, m.build_message(m.Message(4)))
    assert kernel.ffa.call(smc.CALL_WITH_ARG, at >> 32, at & MASK32)[0] == smc.Return.OK
    assert tee.messages == [m.Message(4, params=[])]
