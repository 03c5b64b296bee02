import pytest

from ffabric.abi.ffa import features as abi
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3

NS_BIT = abi.RetrieveInput.build(NS_BIT=1)


def supported(bench, who, function, w2=0):
    answer = bench.call_with(who, fid.FFA_FEATURES, function, w2)
    if answer[0] == fid.FFA_ERROR:
        assert bench.tracer.refusals[-1].rule == "features.function"
        return False
    assert answer[0:2] == [fid.FFA_SUCCESS_32, 0]
    assert answer[3:8] == [0] * 5
    return True


def test_what_the_table_offers_is_supported(bench, sp):
    sp.allow(sp.calls, V1_3)
    for function in sp.calls.handlers:
        if function not in UNFIT_FOR_SP:
            assert supported(bench, sp, function, NS_BIT), fid.function_name(function)


UNFIT_FOR_SP = {
    fid.FFA_NOTIFICATION_INFO_GET_32,
    fid.FFA_NOTIFICATION_INFO_GET_64,
    fid.FFA_MEM_PERM_GET_32,
    fid.FFA_MEM_PERM_GET_64,
    fid.FFA_MEM_PERM_SET_32,
    fid.FFA_MEM_PERM_SET_64,
}


def test_what_is_for_others_is_not(bench, sp):
    for function in UNFIT_FOR_SP:
        assert not supported(bench, sp, function)


@pytest.mark.parametrize(
    "function",
    [
        fid.FFA_ERROR,
        fid.FFA_SUCCESS_32,
        fid.FFA_SUCCESS_64,
        fid.FFA_INTERRUPT,
        fid.FFA_MEM_RETRIEVE_RESP,
        fid.FFA_MSG_SEND_DIRECT_RESP2,
        fid.FFA_MSG_WAIT,
    ],
)
def test_the_answers_to_what_is_offered_are_supported(bench, sp, function):
    assert supported(bench, sp, function)


@pytest.mark.parametrize(
    "function",
    [0x8FFF_FFFF, 0x8400_0000, 0x8400_00EF, fid.FFA_NORMAL_WORLD_RESUME, fid.FFA_MSG_POLL],
)
def test_what_is_not_offered_is_not_supported(bench, sp, function):
    assert not supported(bench, sp, function)


@pytest.mark.parametrize(
    ("function", "since"),
    [
        (fid.FFA_MSG_SEND2, V1_1),
        (fid.FFA_NOTIFICATION_SET, V1_1),
        (fid.FFA_MSG_SEND_DIRECT_REQ2, V1_2),
        (fid.FFA_PARTITION_INFO_GET_REGS, V1_2),
        (fid.FFA_MSG_SEND_DIRECT_RESP2, V1_2),
    ],
)
def test_a_function_is_supported_from_its_version_on(bench, sp, function, since):
    for version in (V1_0, V1_1, V1_2, V1_3):
        sp.allow(sp.calls, version)
        assert supported(bench, sp, function) is (version >= since)


@pytest.mark.parametrize(
    ("function", "lacking"),
    [
        (fid.FFA_MSG_SEND_DIRECT_REQ_32, info.DIRECT_REQ_SEND),
        (fid.FFA_MSG_SEND_DIRECT_REQ_64, info.DIRECT_REQ_SEND),
        (fid.FFA_MSG_SEND_DIRECT_RESP_32, info.DIRECT_REQ_RECEIVE),
        (fid.FFA_MSG_SEND_DIRECT_RESP_64, info.DIRECT_REQ_RECEIVE),
        (fid.FFA_MSG_SEND_DIRECT_REQ2, info.DIRECT_REQ2_SEND),
        (fid.FFA_MSG_SEND_DIRECT_RESP2, info.DIRECT_REQ2_RECEIVE),
        (fid.FFA_MSG_SEND2, info.INDIRECT_MESSAGES),
    ],
)
def test_a_partition_that_lacks_the_property_may_not(bench, sp, function, lacking):
    sp.properties &= ~lacking
    assert not supported(bench, sp, function)
    bench.gateway.properties = 0
    assert supported(bench, bench.gateway, function)


def test_kinds_of_partition(bench):
    up = bench.add(0x8003, contexts=1, notified=False)
    up.el = 0
    assert not supported(bench, up, fid.FFA_SECONDARY_EP_REGISTER_64)
    assert supported(bench, up, fid.FFA_MEM_PERM_SET_64)
    assert not supported(bench, up, fid.FFA_NOTIFICATION_BIND)
    assert supported(bench, up, fid.FFA_NOTIFICATION_SET)
    assert supported(bench, bench.gateway, fid.FFA_NOTIFICATION_INFO_GET_64)


@pytest.mark.parametrize(("version", "word"), [(V1_0, 0), (V1_1, 0), (V1_2, 16 << 16)])
def test_rxtx_map_tells_the_sizes_of_buffers(bench, sp, version, word):
    sp.allow(sp.calls, version)
    for function in (fid.FFA_RXTX_MAP_32, fid.FFA_RXTX_MAP_64):
        assert bench.ok(sp, fid.FFA_FEATURES, function)[2:8] == [word, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("function", [fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64])
def test_an_sp_of_v1_1_must_know_the_ns_bit(bench, sp, function):
    assert bench.refused(sp, fid.FFA_FEATURES, function) == "features.retrieve_ns_bit"
    assert bench.ok(sp, fid.FFA_FEATURES, function, NS_BIT)[2] == 0b010
    sp.allow(sp.calls, V1_0)
    assert bench.ok(sp, fid.FFA_FEATURES, function)[2] == 0


def test_an_sp_of_v1_0_may_ask_for_the_ns_bit_and_for_nothing_else(bench, sp):
    sp.allow(sp.calls, V1_0)
    assert bench.ok(sp, fid.FFA_FEATURES, fid.FFA_MEM_RETRIEVE_REQ_64, NS_BIT)[2] == NS_BIT
    assert bench.ok(sp, fid.FFA_FEATURES, fid.FFA_MEM_RETRIEVE_REQ_64)[2] == 0
    refused = bench.refused(sp, fid.FFA_FEATURES, fid.FFA_RXTX_MAP_64, NS_BIT)
    assert refused == "features.input_properties"


def test_the_normal_world_need_not_know_it_and_may_retrieve_as_a_hypervisor(bench):
    answer = bench.ok(bench.gateway, fid.FFA_FEATURES, fid.FFA_MEM_RETRIEVE_REQ_64)
    assert answer[2] == 0b110


def test_memory_is_sent_from_tx_only(bench, sp):
    assert bench.ok(sp, fid.FFA_FEATURES, fid.FFA_MEM_SHARE_64)[2:4] == [0, 0]


# Features


def feature(bench, who, number):
    return bench.ok(who, fid.FFA_FEATURES, number)[2]


def test_interrupts_are_told_to_those_who_take_them(bench, sp):
    vm = bench.add(2, secure=False)
    assert feature(bench, sp, abi.NPI) == feature(bench, vm, abi.NPI) == 5
    assert feature(bench, sp, abi.MEI) == 4
    assert feature(bench, bench.gateway, abi.SRI) == 8
    bench.npi = 7
    assert feature(bench, sp, abi.NPI) == 7


def test_interrupts_are_not_told_to_others(bench, sp):
    vm = bench.add(2, secure=False)
    el0 = bench.add(0x8003)
    el0.el = 0
    for who, number in [
        (sp, abi.SRI),
        (vm, abi.SRI),
        (vm, abi.MEI),
        (el0, abi.NPI),
        (el0, abi.MEI),
        (bench.gateway, abi.NPI),
        (bench.gateway, abi.MEI),
    ]:
        assert bench.refused(who, fid.FFA_FEATURES, number) == "features.feature"
    vm.may_schedule = True
    assert feature(bench, vm, abi.SRI) == 8


def test_the_notification_feature_is_of_v1_3_and_restricts_nothing(bench, sp):
    assert bench.refused(sp, fid.FFA_FEATURES, abi.NOTIFICATION) == "features.feature"
    sp.allow(sp.calls, V1_3)
    assert feature(bench, sp, abi.NOTIFICATION) == 0


def test_features_came_with_v1_1(bench, sp):
    sp.allow(sp.calls, V1_0)
    assert bench.refused(sp, fid.FFA_FEATURES, abi.NPI) == "features.feature"


@pytest.mark.parametrize("number", [0, 5, 0xFF, 0x100, 0x101])
def test_an_unknown_feature_is_not_supported(bench, sp, number):
    assert bench.refused(sp, fid.FFA_FEATURES, number) == "features.feature"


def test_w2_is_zero_for_a_feature(bench, sp):
    assert bench.refused(sp, fid.FFA_FEATURES, abi.NPI, 1) == "features.input_properties"
