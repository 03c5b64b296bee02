"""What EL3 answers to a kernel without asking the SPMC, and what it leaves to it."""

import pytest

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.functions import FUNCTIONS, Instance
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2
from ffabric.abi.psci import Return
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm

NOT_SUPPORTED = 0xFFFF_FFFF
LOGICAL = 0xFFC0


@pytest.fixture
def kernel(ffabric):
    return ffabric.boot(sps=["s"], vms=[vm("k")], hypervisor=False).vm("k").ffa


@pytest.mark.parametrize(
    "use",
    [
        (fid.FFA_ID_GET,),
        (fid.FFA_FEATURES, fid.FFA_YIELD),
        (fid.FFA_MSG_SEND_DIRECT_REQ_32, LOGICAL),
    ],
)
def test_a_call_ends_the_negotiation_of_the_version(kernel, use):
    assert kernel.call(fid.FFA_VERSION, V1_0)[0] >= V1_0
    assert kernel.call(fid.FFA_VERSION, V1_1)[0] >= V1_1
    kernel.call(*use)
    assert kernel.call(fid.FFA_VERSION, V1_2)[0] == NOT_SUPPORTED
    assert kernel.call(fid.FFA_VERSION, V1_1)[0] != NOT_SUPPORTED


@pytest.mark.parametrize("use", [(psci.PSCI_VERSION,), (0x8000_0000,)])
def test_a_call_that_is_not_of_the_framework_does_not(kernel, use):
    kernel.call(fid.FFA_VERSION, V1_0)
    kernel.call(*use)
    assert kernel.call(fid.FFA_VERSION, V1_2)[0] != NOT_SUPPORTED


@pytest.mark.parametrize(("version", "known"), [(V1_0, False), (V1_1, True)])
def test_a_call_that_its_version_lacks_is_refused(ffabric, kernel, version, known):
    kernel.call(fid.FFA_VERSION, version)
    if known:
        assert kernel.spm_id_get() == 0x8000
    else:
        with ffabric.refuses("abi.newer_than_negotiated"):
            kernel.spm_id_get()


@pytest.mark.parametrize("function", [fid.FFA_YIELD, fid.FFA_RUN])
def test_what_is_a_feature_may_be_called_and_nothing_else(ffabric, kernel, function):
    offered = Instance.NS_PHYSICAL in FUNCTIONS[function].called_at
    assert offered == (function == fid.FFA_RUN)
    x = kernel.call(fid.FFA_FEATURES, function)
    assert (x[0] == fid.FFA_SUCCESS_32) == offered
    if not offered:
        with ffabric.refuses("abi.unknown_function"):
            kernel.yield_()


def test_how_a_run_ends_is_a_feature_though_nobody_may_call_it(ffabric, kernel):
    assert kernel.call(fid.FFA_FEATURES, fid.FFA_MSG_WAIT)[0] == fid.FFA_SUCCESS_32
    with ffabric.refuses("abi.unknown_function"):
        kernel.msg_wait()


@pytest.mark.parametrize("power_state", [1 << 16, 1 << 24, 1 << 30])
def test_there_is_no_state_of_power_but_standby(kernel, power_state):
    answer = kernel.call(psci.CPU_SUSPEND_64, power_state)[0]
    assert answer == Return.INVALID_PARAMETERS.register64


def test_a_standby_does_not_begin_while_an_interrupt_is_pending(ffabric):
    system = ffabric.boot(sps=["s"], vms=[vm("k")], hypervisor=False)
    kernel, gic = system.vm("k").ffa, system.system.machine.gic
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.sysreg_write(0, "ICC_PMR_EL1", 0xFF, secure=False)
    gic.configure(9, pe=0, enabled=True)
    gic.set_pending(9, 0)
    assert kernel.call(psci.CPU_SUSPEND_64, 7)[0] == Return.SUCCESS
    gic.configure(9, pe=0, enabled=False)
    with pytest.raises(Blocked):
        kernel.call(psci.CPU_SUSPEND_64, 7)


RAM, SECURE_RAM, NOTHING = 0x8000_0000, 0x0600_0000, 0x1000
ENTRIES = [
    (RAM, Return.SUCCESS),
    (RAM + 2, Return.INVALID_ADDRESS),
    (RAM - 4, Return.INVALID_ADDRESS),
    (SECURE_RAM, Return.INVALID_ADDRESS),
    (NOTHING, Return.INVALID_ADDRESS),
    (1 << 63, Return.INVALID_ADDRESS),
]


@pytest.mark.parametrize(("entry", "status"), ENTRIES)
def test_a_pe_comes_on_where_the_normal_world_has_memory(ffabric, entry, status):
    system = ffabric.boot(vms=[vm("k", vcpus=2)], hypervisor=False, pes=2)
    pe = system.system.machine.pes[1]
    assert system.vm("k").ffa.call(psci.CPU_ON_64, pe.mpidr, entry, 0)[0] == status.register64
    assert pe.on == (status is Return.SUCCESS)
