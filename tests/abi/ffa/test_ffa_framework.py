"""Framework messages."""

import pytest

from ffabric.abi.ffa import framework as fw
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import V1_1, V1_2

REQ_32, RESP_32 = fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_RESP_32
REQ_64 = fid.FFA_MSG_SEND_DIRECT_REQ_64


@pytest.mark.parametrize(
    ("function_id", "message", "fields", "regs"),
    [
        (
            REQ_32,
            fw.VM_CREATED,
            {"handle": 0x8000_0000_0000_0005, "vm": 3},
            [REQ_32, 0x8000_8001, 0x8000_0004, 5, 0x8000_0000, 3],
        ),
        (
            RESP_32,
            fw.VM_DESTROYED_ACK,
            {"status": 0xFFFF_FFF7},
            [RESP_32, 0x8000_8001, 0x8000_0007, 0xFFFF_FFF7],
        ),
        (
            REQ_64,
            fw.PSCI_REQUEST,
            {"function": 0xC400_0003, "argument_1": 1 << 40, "argument_3": 7},
            [REQ_64, 0x8000_8001, 0x8000_0000, 0xC400_0003, 1 << 40, 0, 7],
        ),
        (
            REQ_32,
            fw.VERSION_REQUEST,
            {"version": V1_1},
            [REQ_32, 0x8000_8001, 0x8000_0008, V1_1],
        ),
    ],
)
def test_registers(function_id, message, fields, regs):
    built = fw.build(function_id, 0x8000, 0x8001, message, **fields)
    assert built == regs + [0] * (18 - len(regs))
    parsed = fw.parse(built)
    assert {name: value for name, value in parsed.items() if value} == fields


def test_every_message_comes_back():
    for message in fw.MESSAGES.values():
        assert message.flags == 0x8000_0000 | message.id
        assert fw.message_of(message.flags) is message
        values = {arg.name: index for index, arg in enumerate(message.fields, 1)}
        if "query" in values:
            values["query"] = 2
        assert fw.parse(fw.build(REQ_32, 1, 2, message.id, **values)) == values


def test_requests_know_their_response():
    pairs = {m.name: fw.MESSAGES[m.response].name for m in fw.MESSAGES.values() if m.response}
    assert pairs["PSCI_REQUEST"] == pairs["WARM_BOOT"] == "PSCI_RESPONSE"
    for request in ("VM_CREATED", "VM_DESTROYED", "PARTITION_STOP", "LIVE_ACTIVATION_START"):
        assert pairs[request] == f"{request}_ACK"


def test_not_a_framework_message():
    assert fw.message_of(4) is None
    assert fw.message_of(0x8000_00FF) is None
    assert fw.parse([REQ_32, 0, 0x8000_00FF, 1, *[0] * 14]) == {}


def test_building_wrongly():
    with pytest.raises(ValueError, match="no field colour"):
        fw.build(REQ_32, 1, 2, fw.VM_CREATED, colour=1)
    with pytest.raises(ValueError, match="32 bits"):
        fw.build(REQ_32, 1, 2, fw.PSCI_REQUEST, argument_1=1 << 40)
    assert fw.MESSAGES[fw.VERSION_REQUEST].since < V1_2
