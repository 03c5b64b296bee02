"""Registers decoded for people, encoded for callers, and their reserved bits."""

import random

import pytest

from ffabric.abi import hafnium, psci, smccc
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.calls import (
    decode,
    decode_reply,
    encode,
    encode_success,
)
from ffabric.abi.ffa.registers import Kind, at_version
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, VERSIONS

LINES = [
    (
        [fid.FFA_ERROR, 0, 0xDEAD_0000_FFFF_FFFE],
        "FFA_ERROR: target=0x0000 target_vcpu=0 status=INVALID_PARAMETERS argument=0x0",
    ),
    (
        [fid.FFA_ERROR, 0, 7],
        "FFA_ERROR: target=0x0000 target_vcpu=0 status=unassigned status 0x7 argument=0x0",
    ),
    (
        [fid.FFA_MSG_SEND_DIRECT_REQ_32, 0x0001_8002, 0, 2, 3],
        "FFA_MSG_SEND_DIRECT_REQ_32: sender=0x0001 receiver=0x8002 flags=0x0 w3=0x2 w4=0x3",
    ),
    (
        [fid.FFA_MSG_SEND_DIRECT_REQ_32, 0x8000_8001, 0x8000_0004, 5, 0x8000_0000, 3],
        (
            "FFA_MSG_SEND_DIRECT_REQ_32: sender=0x8000 receiver=0x8001"
            " flags=0x80000004 (FRAMEWORK=1, MESSAGE=4) handle=0x8000000000000005 vm=0x0003"
            "  [framework message VM_CREATED]"
        ),
    ),
    (
        [fid.FFA_MSG_SEND_DIRECT_REQ_32, 1, 0x8000_00EE],
        (
            "FFA_MSG_SEND_DIRECT_REQ_32: sender=0x0000 receiver=0x0001"
            " flags=0x800000ee (FRAMEWORK=1, MESSAGE=238)  [unknown framework message]"
        ),
    ),
    (
        [fid.FFA_MSG_SEND_DIRECT_REQ_32, 1, 0x8000_0000, psci.CPU_OFF],
        (
            "FFA_MSG_SEND_DIRECT_REQ_32: sender=0x0000 receiver=0x0001"
            " flags=0x80000000 (FRAMEWORK=1) function=CPU_OFF argument_1=0x0 argument_2=0x0"
            " argument_3=0x0  [framework message PSCI_REQUEST]"
        ),
    ),
    (
        [fid.FFA_MSG_SEND_DIRECT_RESP_32, 1, 0x8000_0002, 0xFFFF_FFFD],
        (
            "FFA_MSG_SEND_DIRECT_RESP_32: sender=0x0000 receiver=0x0001"
            " flags=0x80000002 (FRAMEWORK=1, MESSAGE=2) status=DENIED"
            "  [framework message PSCI_RESPONSE]"
        ),
    ),
    (
        [fid.FFA_MSG_SEND_DIRECT_REQ2, 0x1_8002, 0xC2C1B2B1A4A3A2A1, 0xD8D7D6D5D4D3D2D1, 1],
        (
            "FFA_MSG_SEND_DIRECT_REQ2: sender=0x0001 receiver=0x8002"
            " uuid=a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8 x4=0x1"
        ),
    ),
    (
        [fid.FFA_PARTITION_INFO_GET, 0xA4A3A2A1, 0xC2C1B2B1, 0xD4D3D2D1, 0xD8D7D6D5, 1],
        (
            "FFA_PARTITION_INFO_GET: uuid=a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8"
            " flags=0x1 (COUNT_ONLY=1)"
        ),
    ),
    ([fid.FFA_VERSION, V1_1], "FFA_VERSION: version=1.1"),
    (
        [fid.FFA_FEATURES, fid.FFA_RXTX_MAP_64],
        "FFA_FEATURES: feature=FFA_RXTX_MAP_64 properties=0x0",
    ),
    ([fid.FFA_FEATURES, 2], "FFA_FEATURES: feature=SRI properties=0x0"),
    (
        [fid.FFA_RXTX_MAP_64, 1 << 36, 0x2000, 4],
        "FFA_RXTX_MAP_64: tx=0x1000000000 rx=0x2000 pages=4 (16 KiB)",
    ),
    (
        [fid.FFA_MEM_RECLAIM, 5, 0x8000_0000, 1],
        "FFA_MEM_RECLAIM: handle=0x8000000000000005 flags=0x1 (CLEAR=1)",
    ),
    ([fid.FFA_CONSOLE_LOG_64, 2, 0x6968], "FFA_CONSOLE_LOG_64: count=2 characters=b'hi'"),
    ([fid.FFA_MSG_WAIT], "FFA_MSG_WAIT: flags=0x0"),
    ([fid.FFA_ID_GET], "FFA_ID_GET"),
    ([fid.FFA_RUN, 0x8002_0003], "FFA_RUN: target=0x8002 target_vcpu=3"),
    (
        [fid.FFA_INTERRUPT, 0x8002_0003, 27],
        "FFA_INTERRUPT: target=0x8002 target_vcpu=3 interrupt=27",
    ),
    ([fid.FFA_SUCCESS_32, 0, 5], "FFA_SUCCESS_32: target=0x0000 target_vcpu=0 w2=0x5"),
    (
        [psci.CPU_ON_64, 0x100, 0x4000_0000, 7],
        "CPU_ON_64: target_cpu=0x100 entry_point=0x40000000 context_id=0x7",
    ),
    ([smccc.SMCCC_VERSION], "SMCCC_VERSION"),
    ([hafnium.HF_INTERRUPT_ENABLE, 5, 1], "HF_INTERRUPT_ENABLE: intid=0x5 enable=0x1 type=0x0"),
    ([0x8400_00EE, 1], "0x840000ee: x1=0x1  [no call of FF-A]"),
    (
        [0xC400_0096, 1],
        "FFA_NOTIFICATION_SET2: x1=0x1  [a call of v1.3 whose registers no public text lays out]",
    ),
    ([0x8400_0096, 1], "0x84000096: x1=0x1  [no call of FF-A]"),
    ([0x1234, 1, 2], "0x00001234: x1=0x1 x2=0x2  [unknown function]"),
    ([0x0200_0010, 1], "0x02000010: x1=0x1  [unknown function]"),
    ([0x8100_0010, 1], "0x81000010: x1=0x1  [unknown function]"),
    ([0x8200_0010, 1], "0x82000010: x1=0x1  [a SiP call: the silicon provider's own]"),
    ([0xC200_0011, 1], "0xc2000011: x1=0x1  [a SiP call: the silicon provider's own]"),
    ([0x8300_0010], "0x83000010  [an OEM call: the equipment manufacturer's own]"),
    ([0xC600_0010], "0xc6000010  [a hypervisor vendor's own call]"),
    ([0xB000_0010], "0xb0000010  [a trusted application's own call]"),
    ([0xBF00_0010], "0xbf000010  [a trusted OS's own call]"),
]


@pytest.mark.parametrize(("regs", "line"), LINES, ids=[line.split(":")[0] for _, line in LINES])
def test_calls_read_like_the_manual(regs, line):
    assert str(decode(regs, V1_2)) == line


REPLIES = [
    (
        [fid.FFA_FEATURES, fid.FFA_RXTX_MAP_64],
        [fid.FFA_SUCCESS_32, 0, 0x0001_0000],
        "properties=0x10000 (MAX_PAGES=1, MIN_SIZE=SIZE_4K) properties_2=0x0",
    ),
    ([fid.FFA_FEATURES, 2], [fid.FFA_SUCCESS_32, 0, 8], "properties=0x8 properties_2=0x0"),
    ([fid.FFA_ID_GET], [fid.FFA_SUCCESS_32, 0, 0x8001], "id=0x8001"),
    ([fid.FFA_MEM_SHARE_64], [fid.FFA_SUCCESS_32, 0, 1, 0x8000_0000], "handle=0x8000000000000001"),
    ([fid.FFA_PARTITION_INFO_GET], [fid.FFA_SUCCESS_32, 0, 3, 24], "count=3 descriptor_size=0x18"),
    (
        [fid.FFA_PARTITION_INFO_GET_REGS],
        [fid.FFA_SUCCESS_64, 0, 24 << 48 | 1 << 32 | 2 << 16 | 4, 5],
        "descriptor_size=0x18 tag=0x1 current_index=2 last_index=4 x3=0x5",
    ),
    (
        [fid.FFA_NOTIFICATION_GET],
        [fid.FFA_SUCCESS_32, 0, 1, 2, 3, 0, 1, 0],
        "from_sps=0x200000001 from_vms=0x3 from_spm=0x1 from_hypervisor=0x0",
    ),
    ([fid.FFA_MEM_PERM_GET_32], [fid.FFA_SUCCESS_32, 0, 5], "permissions=0x5 (XN=1, DATA=RW)"),
]


@pytest.mark.parametrize(("call", "reply", "text"), REPLIES)
def test_a_success_means_what_its_call_says(call, reply, text):
    decoded = str(decode_reply(call, reply, V1_2))
    name = "FFA_SUCCESS_64" if reply[0] & 1 << 30 else "FFA_SUCCESS_32"
    assert decoded == f"{name}: target=0x0000 target_vcpu=0 {text}"


@pytest.mark.parametrize(
    ("call", "result", "line"),
    [
        (fid.FFA_VERSION, V1_2, "FFA_VERSION returned: result=1.2"),
        (fid.FFA_VERSION, 0xFFFF_FFFF, "FFA_VERSION returned: result=NOT_SUPPORTED"),
        (fid.FFA_VERSION, 0xFFFF_FFFF_FFFF_FFFD, "FFA_VERSION returned: result=INVALID_PARAMETER"),
        (fid.FFA_VERSION, 0x8000_0000, "FFA_VERSION returned: result=0x80000000"),
        (psci.PSCI_VERSION, 0x10001, "PSCI_VERSION returned: result=1.1"),
        (psci.CPU_ON_64, 0xFFFF_FFFC, "CPU_ON_64 returned: result=ALREADY_ON"),
        (psci.CPU_ON_64, 0, "CPU_ON_64 returned: result=SUCCESS"),
        (psci.AFFINITY_INFO_64, 1, "AFFINITY_INFO_64 returned: result=0x1"),
        (psci.CPU_ON_32, 0xFFFF_FF00, "CPU_ON_32 returned: result=unassigned status 0xffffff00"),
        (hafnium.HF_INTERRUPT_GET, 5, "HF_INTERRUPT_GET returned: result=0x5"),
        (0x1234, 5, "0x00001234 returned: result=0x5"),
    ],
)
def test_replies_without_a_function_id(call, result, line):
    assert str(decode_reply([call], [result])) == line


def test_other_replies_speak_for_themselves():
    reply = decode_reply([fid.FFA_RXTX_UNMAP], [fid.FFA_ERROR, 0, 0xFFFF_FFFA])
    assert ("status", 0xFFFF_FFFA, "DENIED") in reply.fields


@pytest.mark.parametrize(
    ("regs", "version", "note"),
    [
        ([fid.FFA_MSG_SEND2], V1_0, "not in v1.0, but in v1.1 to v1.3"),
        ([fid.FFA_MSG_POLL], V1_1, "not in v1.1, but in v1.0 to v1.0"),
        ([fid.FFA_MSG_WAIT, 1], V1_1, "w1: reserved bits 0x1 (MBZ)"),
        ([fid.FFA_MSG_WAIT, 0, 1], V1_1, "w2: reserved bits 0x1 (SBZ)"),
        ([fid.FFA_MSG_WAIT, 0, 2], V1_2, "w2: reserved bits 0x2 (MBZ)"),
        ([fid.FFA_ID_GET, 0, 0, 0, 0, 0, 0, 9], V1_0, "w7: reserved bits 0x9 (MBZ)"),
        ([fid.FFA_MSG_SEND_DIRECT_REQ_64, *[0] * 7, 9], V1_2, "x8: reserved bits 0x9 (SBZ)"),
        ([fid.FFA_ERROR, 0, 0xFFFF_FFFF, 5], V1_1, "w3: reserved bits 0x5 (SBZ)"),
    ],
)
def test_notes(regs, version, note):
    assert decode(regs, version).notes == [note]


def test_a_reply_with_leftovers_is_noted():
    reply = decode_reply([fid.FFA_ID_GET], [fid.FFA_SUCCESS_32, 0, 1, 0x77])
    assert reply.notes == ["w3: reserved bits 0x77 (SBZ)"]


def test_upper_halves_of_32_bit_calls_are_not_looked_at():
    clean = [fid.FFA_MSG_SEND_DIRECT_REQ_32, 0x1_8002, 0, 2, 3, 4, 5, 6]
    dirty = [register | 0xDEAD_BEEF << 32 for register in clean]
    assert decode(dirty, V1_2) == decode(clean, V1_2)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_call_comes_back_from_its_registers(version):
    for function in fid.FUNCTIONS.values():
        if not function.defined_in(version):
            continue
        args = [arg for arg in at_version(function.args, version) if arg.name]
        values = {}
        for index, arg in enumerate(args, 1):
            width = arg.width(is_64=function.is_64) * len(arg.span(is_64=function.is_64))
            defined = arg.word.defined(version) & 0x7FFF_FFFF if arg.word else (1 << width) - 1
            values[arg.name] = 0x0123_4567_89AB_CDEF * index & defined
        regs = encode(function.id, version, **values)
        decoded = decode(regs, version)
        assert decoded.notes == []
        found = {name: value for name, value, _ in decoded.fields}
        for arg in args:
            if arg.kind is not Kind.PAYLOAD:
                assert found[arg.name] == values[arg.name], (function.name, arg.name)
        assert arg_payload(function, args, decoded) == values.get("payload")


def arg_payload(function, args, decoded):
    """The payload registers of a decoded call as one number."""
    if not any(arg.kind is Kind.PAYLOAD for arg in args):
        return None
    words = [value for name, value, _ in decoded.fields if name[0] in "wx" and name[1:].isdigit()]
    bits = 64 if function.is_64 else 32
    return sum(word << bits * index for index, word in enumerate(words))


def test_encoding_wrongly():
    with pytest.raises(ValueError, match="no field colour"):
        encode(fid.FFA_RUN, colour=1)
    with pytest.raises(ValueError, match="16 bits"):
        encode(fid.FFA_RUN, target=0x1_0000)
    with pytest.raises(ValueError, match="no field flags"):
        encode(fid.FFA_MSG_WAIT, V1_1, flags=1)
    with pytest.raises(KeyError):
        encode(0x8400_00EE)


def test_encoding_a_success():
    regs = encode_success(fid.FFA_MEM_SHARE_64, handle=0x8000_0000_0000_0005)
    assert regs == [fid.FFA_SUCCESS_32, 0, 5, 0x8000_0000, *[0] * 14]
    regs = encode_success(fid.FFA_NS_RES_INFO_GET, smc64=True, length=4096, remaining=16)
    assert regs[:3] == [fid.FFA_SUCCESS_64, 0, 4096 << 32 | 16]


@pytest.mark.parametrize("version", VERSIONS)
def test_any_registers_decode(version):
    generator = random.Random(version)
    ids = [*fid.FUNCTIONS, *psci.FUNCTIONS, *hafnium.FUNCTIONS, *smccc.FUNCTIONS, 0, 0x8400_00EF]
    for function_id in ids:
        regs = [function_id, *(generator.getrandbits(64) for _ in range(17))]
        assert str(decode(regs, version))
        for reply_id in (fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64, fid.FFA_ERROR, 0xFFFF_FFFF):
            assert str(decode_reply(regs, [reply_id, *regs[1:]], version))
        assert str(decode(regs[: generator.randint(1, 18)], version))
