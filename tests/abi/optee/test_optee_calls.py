"""The FF-A and SMC ABIs and the codes: numbers as OP-TEE's headers have them."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi.ffa.registers import encode
from ffabric.abi.optee import ffa, rpc, smc, tee
from ffabric.abi.words import MASK32

COOKIE = 0x8000_0000_0000_0007


@pytest.mark.parametrize(
    ("service", "fields", "words"),
    [
        (ffa.GET_API_VERSION, {}, [0, 0, 0, 0, 0]),
        (ffa.EXCHANGE_CAPABILITIES, {}, [2, 0, 0, 0, 0]),
        (ffa.UNREGISTER_SHM, {"cookie": COOKIE}, [3, 7, 0x8000_0000, 0, 0]),
        (ffa.ENABLE_ASYNC_NOTIF, {"bottom_half_value": 5}, [5, 5, 0, 0, 0]),
        (
            ffa.YIELDING_CALL_WITH_ARG,
            {"cookie": COOKIE, "offset": 0x200},
            [0x8000_0000, 7, 0x8000_0000, 0x200, 0],
        ),
        (ffa.YIELDING_CALL_RESUME, {"resume": 3}, [0x8000_0001, 0, 0, 0, 3]),
    ],
)
def test_requests(service, fields, words):
    assert ffa.build_request(service, **fields) == words
    assert ffa.parse_request(words) == fields
    assert ffa.service_of(words[0]).id == service


@pytest.mark.parametrize(
    ("service", "fields", "words"),
    [
        (ffa.GET_OS_VERSION, {"major": 4, "minor": 10, "build": 9}, [4, 10, 9, 0, 0]),
        (
            ffa.EXCHANGE_CAPABILITIES,
            {"result": 0, "rpc_params": 4, "capabilities": 3, "max_notification": 0},
            [0, 4, 3, 0, 0],
        ),
        (
            ffa.YIELDING_CALL_WITH_ARG,
            {"result": 0, "kind": ffa.Return.RPC_CMD, "resume": 2},
            [0, 1, 0, 0, 2],
        ),
    ],
)
def test_replies(service, fields, words):
    assert ffa.build_reply(service, **fields) == words
    assert ffa.parse_reply(service, words) == fields


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=5, max_size=5))
def test_any_words_parse(words):
    service = ffa.service_of(words[0])
    assert (service is None) == (words[0] & MASK32 not in ffa.SERVICES)
    assert all(value >= 0 for value in ffa.parse_request(words).values())


@pytest.mark.parametrize("service", ffa.SERVICES.values(), ids=lambda each: each.name)
def test_services_are_read_and_built_as_their_tables_say(service):
    """What is made of a table does what the table says, for its widest contents and one more."""
    for args, build, parse in (
        (service.args, ffa.build_request, ffa.parse_request),
        (service.reply, ffa.build_reply, partial(ffa.parse_reply, service.id)),
    ):
        widest = {
            arg.name: (1 << 32 * arg.count) - 1 for arg in args if arg.width(is_64=False) > 31
        }
        registers = [0] * 18
        registers[3] = service.id if args is service.args else 0
        encode(args, registers, widest, is_64=False)

        assert build(service.id, **widest) == registers[3:8]
        told = parse(registers[3:8])
        assert told == {arg.name: arg.get(registers, is_64=False) for arg in args}
        for name, content in widest.items():
            with pytest.raises(ValueError, match=f"{name}: .* does not fit"):
                build(service.id, **{name: content + 1})


def test_building_wrongly():
    with pytest.raises(ValueError, match="no field colour"):
        ffa.build_request(ffa.GET_API_VERSION, colour=1)
    with pytest.raises(ValueError, match="64 bits"):
        ffa.build_request(ffa.UNREGISTER_SHM, cookie=1 << 64)


def test_ids_of_the_smc_abi():
    assert smc.CALL_WITH_ARG == 0x3200_0004
    assert smc.CALL_WITH_RPC_ARG == 0x3200_0012
    assert smc.CALL_WITH_REGD_ARG == 0x3200_0013
    assert smc.RETURN_FROM_RPC == 0x3200_0003
    assert smc.GET_SHM_CONFIG == 0xB200_0007
    assert smc.EXCHANGE_CAPABILITIES == 0xB200_0009
    assert smc.VM_CREATED == 0xB200_000D
    assert smc.VM_DESTROYED == 0xB200_000E
    assert smc.GET_ASYNC_NOTIF_VALUE == 0xB200_0011
    assert smc.CALLS_UID == 0xBF00_FF01
    assert smc.RETURN_CALL_DONE == 0xBE00_0005
    assert smc.FUNCTIONS[smc.GET_THREAD_COUNT].name == "OPTEE_SMC_GET_THREAD_COUNT"


def test_what_is_an_rpc():
    assert all(smc.is_rpc(rpc_id) for rpc_id in smc.Rpc)
    assert not any(smc.is_rpc(code) for code in smc.Return)


def test_capabilities_of_debians_virtualized_image():
    assert str(smc.Capabilities(0xFD & ~0xE9)) == "0x14 (MEMREF_NULL=1, DYNAMIC_SHM=1)"
    assert str(ffa.Capabilities(7)) == "0x7 (RPMB_PROBE=1, ASYNC_NOTIF=1, ARG_OFFSET=1)"


def test_names_of_results_and_origins():
    assert tee.result_name(0xFFFF_0006) == "BAD_PARAMETERS"
    assert tee.result_name(0x1234) == "0x00001234"
    assert tee.origin_name(4) == "TRUSTED_APP"
    assert tee.origin_name(9) == "9"


def test_notification_values_of_threads_are_no_asynchronous_ones():
    assert rpc.SYNC_VALUE_BASE == ffa.MAX_ASYNC_NOTIF_VALUE
