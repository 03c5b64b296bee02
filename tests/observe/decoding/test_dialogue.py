"""Direct messages told in the words of their service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events_at_hand import at, header
from ffabric.abi.ffa import functions as fid
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee.ffa import OPTEE_UUID
from ffabric.machine.events import Call
from ffabric.observe.decoding.dialogue import Dialogue
from ffabric.observe.decoding.text import Reader

REQ_32, RESP_32 = fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_RESP_32
REQ_64, RESP_64 = fid.FFA_MSG_SEND_DIRECT_REQ_64, fid.FFA_MSG_SEND_DIRECT_RESP_64
VM, TEE, OTHER = 1, 0x8001, 0x8002
CAPABILITIES = "0x3 (ASYNC_NOTIF=1, ARG_OFFSET=1)"
HEADER = header(
    {"vm": 1, "tee": 0x8001, "other": 0x8002},
    services={"tee": (str(OPTEE_UUID),), "other": ("5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11",)},
)


@pytest.fixture
def dialogue():
    result = Dialogue()
    result.header(HEADER)
    return result


def message(function, sender, receiver, *words):
    return [function, sender << 16 | receiver, 0, *words, *[0] * (15 - len(words))]


@pytest.mark.parametrize(
    ("asked", "request_text", "answered", "response_text"),
    [
        ((0,), "OP-TEE GET_API_VERSION", (1, 0), "OP-TEE: major=1 minor=0"),
        ((1,), "OP-TEE GET_OS_VERSION", (4, 10, 7), "OP-TEE: major=4 minor=10 build=0x7"),
        (
            (2,),
            "OP-TEE EXCHANGE_CAPABILITIES",
            (0, 4, 3),
            f"OP-TEE: rpc_params=4 capabilities={CAPABILITIES} max_notification=0",
        ),
        ((3, 5, 1), "OP-TEE UNREGISTER_SHM cookie=0x100000005", (0,), "OP-TEE: SUCCESS"),
        ((3, 5), "OP-TEE UNREGISTER_SHM cookie=0x5", (0xFFFFFFFC,), "OP-TEE: BUSY"),
        ((3, 5), "OP-TEE UNREGISTER_SHM cookie=0x5", (0xFFFF0000,), "OP-TEE: 0xffff0000"),
        (
            (abi.YIELDING_CALL_WITH_ARG, 5, 0, 0x200),
            "OP-TEE YIELDING_CALL_WITH_ARG cookie=0x5 offset=0x200",
            (0, 0, 0, 0, 0),
            "OP-TEE: DONE",
        ),
        (
            (abi.YIELDING_CALL_WITH_ARG, 5),
            "OP-TEE YIELDING_CALL_WITH_ARG cookie=0x5 offset=0x0",
            (0xFFFF000D,),
            "OP-TEE: BUSY",
        ),
        (
            (abi.YIELDING_CALL_RESUME, 0, 0, 0, 3),
            "OP-TEE YIELDING_CALL_RESUME resume=0x3",
            (0, 1, 0, 0, 3),
            "OP-TEE wants RPC_CMD for thread 3",
        ),
        (
            (abi.YIELDING_CALL_RESUME, 0, 0, 0, 3),
            "OP-TEE YIELDING_CALL_RESUME resume=0x3",
            (0, 9, 0, 0, 3),
            "OP-TEE wants 0x9 for thread 3",
        ),
        ((99,), "OP-TEE: no service 0x63", (0xFFFF0006,), "OP-TEE: BAD_PARAMETERS"),
    ],
)
def test_services_of_optee(dialogue, asked, request_text, answered, response_text):
    for request, response in ((REQ_32, RESP_32), (REQ_64, RESP_64)):
        assert dialogue.text(0, message(request, VM, TEE, *asked)) == request_text
        assert dialogue.text(0, message(response, TEE, VM, *answered)) == response_text


def test_a_response_is_read_with_the_request_on_its_pe(dialogue):
    dialogue.text(0, message(REQ_32, VM, TEE, 0))
    dialogue.text(1, message(REQ_32, VM, TEE, 1))
    assert dialogue.text(0, message(RESP_32, TEE, VM, 1)) == "OP-TEE: major=1 minor=0"
    assert dialogue.text(2, message(RESP_32, TEE, VM, 1)) == ""


def test_what_is_told_as_it_is(dialogue):
    assert dialogue.text(0, message(REQ_32, VM, OTHER, 0)) == ""
    assert dialogue.text(0, message(RESP_32, OTHER, VM, 0)) == ""
    framework = message(REQ_32, 0, TEE, 0)
    framework[2] = 0x80000004
    assert dialogue.text(0, framework) == ""
    assert dialogue.text(0, [fid.FFA_ID_GET, *[0] * 17]) == ""
    assert Dialogue().text(0, message(REQ_32, VM, TEE, 0)) == ""


@given(
    st.lists(st.integers(0, (1 << 64) - 1), min_size=18, max_size=18),
    st.sampled_from([REQ_32, RESP_32, REQ_64, RESP_64]),
)
def test_any_registers_are_told(registers, function):
    dialogue = Dialogue()
    dialogue.header(HEADER)
    for ids in (VM << 16 | TEE, TEE << 16 | VM):
        for chosen in (function, REQ_32, RESP_32):
            registers[:2] = chosen, ids
            dialogue.text(0, registers)


def test_a_reader_leaves_the_payload_to_the_service():
    line = at(Call, "vm", message(REQ_32, VM, TEE, 3, 5))
    (_, text), *_ = Reader().read([HEADER, line])
    assert text.endswith("receiver=0x8001 (tee) flags=0x0  [OP-TEE UNREGISTER_SHM cookie=0x5]")
    (_, brief), *_ = Reader(brief=True).read([HEADER, line])
    assert brief.endswith("FFA_MSG_SEND_DIRECT_REQ_32: vm -> tee OP-TEE UNREGISTER_SHM cookie=0x5")
