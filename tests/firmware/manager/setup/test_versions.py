import pytest

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.firmware.manager.setup.version import HANDLERS
from ffabric.firmware.state.interface.call_table import CallTable
from ffabric.system.description.python import sp as described_sp
from ffabric.system.description.python import vm as described_vm

NOT_SUPPORTED = 0xFFFF_FFFF


def ask(bench, partition, version):
    x = bench.call_with(partition, fid.FFA_VERSION, version)
    assert x[1:8] == [0] * 7
    return x[0]


def last_rule(bench):
    return bench.tracer.refusals[-1].rule


@pytest.mark.parametrize("asked", [V1_0, V1_1, V1_2, V1_3])
def test_the_manager_answers_with_its_own_version_and_serves_the_one_asked_for(bench, sp, asked):
    assert ask(bench, sp, asked) == V1_3
    assert sp.version == asked


def test_a_newer_caller_is_served_at_the_managers_version(bench, sp):
    assert ask(bench, sp, 0x1_0007) == V1_3
    assert sp.version == V1_3


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (0x8000_0000 | V1_2, "version.reserved_bit"),
        (0x2_0000, "version.major"),
        (0x0_0009, "version.major"),
    ],
)
def test_an_incompatible_version_is_refused_in_w0_and_changes_nothing(bench, sp, asked, rule):
    assert ask(bench, sp, asked) == NOT_SUPPORTED
    assert last_rule(bench) == rule
    assert bench.refusals == {rule: 1}
    assert sp.version == V1_2
    assert not sp.negotiation.ended


def test_the_version_may_be_asked_again_until_another_call_is_made(bench, sp):
    for version in (V1_1, V1_3, 0x2_0000, V1_0, V1_2):
        ask(bench, sp, version)
    assert sp.version == V1_2
    bench.ok(sp, fid.FFA_ID_GET)
    assert ask(bench, sp, V1_1) == NOT_SUPPORTED
    assert last_rule(bench) == "version.late"
    assert sp.version == V1_2
    assert ask(bench, sp, V1_2) == V1_3


def test_a_refused_call_ends_the_negotiation_too(bench, sp):
    bench.call_with(sp, fid.FFA_RXTX_UNMAP)
    assert ask(bench, sp, V1_1) == NOT_SUPPORTED


def test_a_newer_caller_may_repeat_what_it_asked(bench, sp):
    ask(bench, sp, 0x1_0007)
    bench.ok(sp, fid.FFA_ID_GET)
    assert ask(bench, sp, 0x1_0007) == V1_3


def test_calls_that_are_not_of_the_framework_leave_the_negotiation_open(bench, sp):
    calls = CallTable(HANDLERS, {hafnium.HF_INTERRUPT_GET: lambda pm, pe, caller: caller})
    sp.allow(calls, sp.version)
    bench.call_with(sp, hafnium.HF_INTERRUPT_GET)
    assert ask(bench, sp, V1_1) == V1_3
    assert sp.version == V1_1


def test_a_call_of_a_later_version_than_negotiated_is_refused(bench, sp):
    ask(bench, sp, V1_0)
    assert bench.refused(sp, fid.FFA_SPM_ID_GET) == "abi.newer_than_negotiated"
    ask(bench, sp, V1_0)


def test_ids(bench, sp):
    assert bench.ok(sp, fid.FFA_ID_GET)[2:8] == [0x8001, 0, 0, 0, 0, 0]
    assert bench.ok(bench.gateway, fid.FFA_ID_GET)[2] == 0
    assert bench.ok(sp, fid.FFA_SPM_ID_GET)[2] == 0x8000


def test_without_an_spmc_there_is_no_id_of_it(bench, sp):
    bench.spm_id = 0
    assert bench.refused(sp, fid.FFA_SPM_ID_GET) == "spm_id.no_spmc"


def test_answers_leave_x8_to_x17_alone(bench, sp):
    for call in ([fid.FFA_VERSION, V1_2], [fid.FFA_ID_GET], [fid.FFA_RXTX_UNMAP]):
        assert set(bench.call_with(sp, *call)[8:]) == {0xA5A5_A5A5_A5A5_A5A5}


def test_the_upper_halves_of_a_32_bit_call_are_not_looked_at(bench, sp):
    high = 0xDEAD_BEEF << 32
    call = (fid.FFA_FEATURES, fid.FFA_RXTX_MAP_64)
    clean = bench.ok(sp, *call)[0:8]
    assert bench.ok(sp, *(high | each for each in call), high)[0:8] == clean
    assert ask(bench, sp, high | V1_2) == V1_3


ASK, ASK_NEGOTIATED = 1, 2
NEWER = 0x1_0007


@pytest.mark.parametrize("who", ["v", "s"])
def test_a_query_changes_no_version(ffabric, who):
    sps, vms = [described_sp("s", ffa_version=V1_3)], [described_vm("v", ffa_version=V1_3)]
    system = ffabric.boot(sps=sps, vms=vms)
    ffa = (system.vm("v") if who == "v" else system.sp("s")).ffa
    assert ffa.call(fid.FFA_VERSION, NEWER, ASK)[0] == V1_3
    assert ffa.call(fid.FFA_VERSION, V1_3, ASK_NEGOTIATED)[0] == V1_3
    assert ffa.call(fid.FFA_VERSION, 2 << 16, ASK)[0] == NOT_SUPPORTED
    with ffabric.refuses("version.query"):
        ffa.call(fid.FFA_VERSION, V1_3, 3)


def test_what_was_negotiated_is_told(ffabric):
    client = ffabric.boot(vms=[described_vm("v", ffa_version=V1_3)]).vm("v").ffa
    assert client.call(fid.FFA_VERSION, V1_2)[0] == V1_3
    assert client.call(fid.FFA_VERSION, V1_3, ASK_NEGOTIATED)[0] == V1_2
    client.call(fid.FFA_ID_GET)
    with ffabric.refuses("abi.newer_than_negotiated"):
        client.call(fid.FFA_RUN_64)


@pytest.mark.parametrize("stale", [1, 2, 3, 0xFFFF_FFFF])
def test_what_older_callers_leave_in_w2_means_nothing(ffabric, stale):
    client = ffabric.boot(vms=[described_vm("v", ffa_version=V1_3)]).vm("v").ffa
    assert client.call(fid.FFA_VERSION, V1_1, stale)[0] == V1_3
    with ffabric.refuses("abi.newer_than_negotiated"):
        client.call(fid.FFA_MSG_SEND_DIRECT_REQ2)
