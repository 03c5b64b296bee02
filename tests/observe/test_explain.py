import re

import pytest

from ffabric.observe import explain
from ffabric.observe.messages import MESSAGES, find


def test_every_message_has_a_letter_that_registers_have_not():
    assert [each.template for each in MESSAGES if not explain._TEXT.search(each.anchor)] == []
    assert not explain._TEXT.search("x0: 0x84000060, w1=0xabcdef r2 = 12  X3 84000063")


def test_registers_are_named_field_by_field():
    lines = explain.registers([0x84000060, 0, 0xFFFFFFFE])

    assert lines[0] == "FFA_ERROR (0x84000060)"
    assert "  status = INVALID_PARAMETERS" in lines
    assert lines[-1].endswith("names the one that did")


def test_an_unassigned_status_is_said_to_be_none():
    assert "  0x63 is not a status code of FF-A" in explain.registers([0x84000060, 0, 0x63])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0xFFFFFFFE], "INVALID_PARAMETERS (-2), as a result of FF-A"),
        ([(1 << 64) - 1], "NOT_SUPPORTED (-1), as a result of FF-A"),
        ([0x10001], "1.1, as the result of FFA_VERSION (0x10001)"),
        ([0xB2000003, 1], "fast SMC32 call 0x3 of the owner trusted os (0xb2000003)"),
        ([0x32000055], "yielding SMC32 call 0x55 of the owner trusted os (0x32000055)"),
        ([0x32000004], "OPTEE_SMC_CALL_WITH_ARG (0x32000004)"),
        ([0xC2000001], "fast SMC64 call 0x1 of the owner sip (0xc2000001)"),
        ([0x84000003], "CPU_ON_32 (0x84000003)"),
        ([0x840000EE], "0x840000ee (0x840000ee)"),
        ([0xC4000097, 1], "FFA_NOTIFICATION_GET2 (0xc4000097)"),
        ([0x84000097, 1], "0x84000097 (0x84000097)"),
    ],
)
def test_other_values_are_named_too(values, expected):
    assert explain.registers(values)[0] == expected


@pytest.mark.parametrize("values", [[12], [0], [0x1000], [0x87000001], [0xFFFFFFFE, 1]])
def test_of_other_registers_nothing_is_known(values):
    assert explain.registers(values) == []


def test_registers_are_read_as_a_version_lays_them_out():
    mentioned = explain.registers([0xC400008D, 0x18001], 0x10001)

    assert any(line.startswith("  note: not in v1.1") for line in mentioned)


# As printed by the software: Linux 6.x and 7.x, OP-TEE 4.x, Hafnium, TF-A.
LOGS = [
    ("[    0.118020] ARM FF-A: Firmware version 1.1 found", "was answered with 1.1"),
    ("[    1.2] ARM FF-A: failed to register FFA RxTx buffers", "rule rxtx.map.mapped"),
    ("ARM FF-A: Notification setup failed -95, not enabled", "(EOPNOTSUPP) stands for NOT_SUPP"),
    ("[    9.1] optee: mem_reclaim: 0x1 -13", "-13 (EACCES) stands for DENIED"),
    ("[    9.1] optee: Unregister SHM id 0x1 rc -16", "-16 (EBUSY) stands for BUSY"),
    ("E/TC:0 0 Failed to relinquish cookie 0x1", "handle 0x1"),
    ("E/TC:0 0 spmc_populate:2139 Failed to fetch cookie 0x2 error code -2", "INVALID_PARAMETERS"),
    ("E/TC:0   thread_spmc_msg_recv:1341 Unhandled FFA function ID 0xffffffff", "knows no FF-A"),
    ("E/TC:0 0 Unhandled FFA function ID 0x84000079", "0x84000079 is"),
    ("hello_world: TEEC_Opensession failed with code 0xffff0008 origin 0x3",
     "0xffff0008 is TEE_ERROR_ITEM_NOT_FOUND\n  0x3 is TEE_ORIGIN_TEE"),
    ("TEEC_InvokeCommand failed with code 0x80000042 origin 0x4", "0x4 is TEE_ORIGIN_TRUSTED_APP"),
    ("E/TC:? 0 Failed for TA 5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d01. Return error 0xffff000d",
     "0xffff000d is TEE_ERROR_BUSY"),
    ("E/TC:? 0 ldelf_init_with_ldelf:152 ldelf failed with res: 0xffff0008", "ITEM_NOT_FOUND"),
    ("smc x0=0x32000004 x1=0x0 x2=0x41000000", "OPTEE_SMC_CALL_WITH_ARG"),
    ("smc 0xb2000009 0x0", "OPTEE_SMC_EXCHANGE_CAPABILITIES"),
    ("0xbe000005 0xffff0005 0x0", "TEESMC_OPTEED_RETURN_CALL_DONE"),
    ("VERBOSE: Invalid memory sender ID.", "rule mem.share.sender (and mem.lend.sender, mem.donat"),
    ("Tried to reclaim memory handle 0x81 that has not been relinquished by all borrowers(8001).",
     "A borrower still has 0x81."),
    ("VERBOSE: Invalid handle 0x7 for FFA_MEM_RELINQUISH.", "rule mem.handle"),
    ("VERBOSE: FFA_VERSION: requested version v2.0 is not compatible with compiled version v1.3",
     "asks for v2.0; Hafnium implements v1.3"),
    ("NOTICE:  SMC 0x84000050 attempted from VM 0x8001, blocked=1", "0x8001 may not make this SMC"),
    ("VERBOSE: SPM Core run time EL2.", "runs at S-EL2"),
    ("WARNING: SPM: Unsupported call 0xc4000095", "The SPMD knows no such function"),
    ("WARNING: Booting device without SPM initialization.", "rule abi.unknown_function"),
    ("(XEN) ffa: notification info get failed: error -6", "-6 is DENIED"),
    ("(XEN) d1v0 ffa: unhandled fid 0x84000099", "abi.unknown_function"),
    ("(XEN) d1v0 ffa: mem share pages invalid: range short pg 3", "after 3 pages, fewer"),
    ("DENIED: Buffer pair already registered", "rule rxtx.map.mapped"),
    ("ArmFfaLibCommonInit: Failed to map Rx/Tx buffer. Status: Access Denied", "rule rxtx.map.map"),
    ("ARM FF-A: Notification Info Get failed: 0x84000060 (-6)", "rule notification.info_get.sch"),
    ("[ 1.1] virtio_blk virtio0: requests:id 7 is not a head!", "no buffer begins"),
    ("[ 1.1] virtio virtio3: device must provide VIRTIO_F_VERSION_1", "does not offer VIRTIO_F_"),
    ("[ 1.1] eth0: rx error: len 2000 exceeds truesize 1500", "2000 bytes into a buffer of 1500"),
    ("[ 1.1] virtio_blk virtio0: [vda] 8192 512-byte logical blocks (4.19 MB/4.00 MiB)", "8192 bl"),
    ("[ 1.1] ARM FF-A: Error registering percpu NPI nIRQ 5 : -22", "told for the NPI could not"),
    ("[ 1.1] optee: PTA_CMD_GET_DEVICES invoke function err: ffff0008", "ffff0008"),
    ("WARNING: spmc_ffa_mem_reclaim: invalid handle, 0x1, not a valid handle.", "rule mem.handle"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LOGS, ids=[text[:40] for text, _ in LOGS])
def test_a_line_of_a_log_is_explained(text, expected):
    assert expected in "\n".join(explain.line(text))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("smc: 0x8400006f 0x00018001 0x0 0x1 0x2", [0x8400006F, 0x18001, 0, 1, 2]),
        ("c4000073,70,70,0,0", [0xC4000073, 0x70, 0x70, 0, 0]),
        ("x0=0x84000060 x1=0x0 x2=0xfffffffe", [0x84000060, 0, 0xFFFFFFFE]),
        ("a0: 0x84000060, a1: 0, a2: -2", [0x84000060, 0, (1 << 64) - 2]),
        ("w0 0x84000070 w1 0x80010000", [0x84000070, 0x80010000]),
        ("VERBOSE: SPM(0): 0x84000063 0x10002 0x0 and be done", [0x84000063, 0x10002, 0]),
        ("00000000c4000061", [0xC4000061]),
        ("84000060 0 fffffffe", [0x84000060, 0, 0xFFFFFFFE]),
        ("at 0x80000000: 0x84000069", [0x84000069]),
        ("Memory range: 0x80000000 - 0xc0000000", []),
    ],
)
def test_registers_are_found_however_they_are_printed(text, values):
    assert explain.find_registers(text) == values


@pytest.mark.parametrize("text", ["", "hello", "0x12 0x34", "84000060x", "x" * 10_000])
def test_of_other_lines_nothing_is_known(text):
    assert explain.line(text) == []


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ([0x84000060], []),
        ([0x84000060, 0], ["  target = 0x0000", "  target_vcpu = 0"]),
        ([0x8400006F], []),
        ([0x8400006F, 0x18001, 0], ["  sender = 0x0001", "  receiver = 0x8001", "  flags = 0x0"]),
        ([0x84000077, 7], []),
        ([0xC4000003, 1], ["  target_cpu = 0x1"]),
        ([0x840000EE, 1], ["  x1 = 0x1"]),
    ],
)
def test_what_is_not_given_is_not_shown(values, fields):
    _, *lines = explain.registers(values)
    assert [each for each in lines if not each.startswith("  note")] == fields


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("func:0x8400006f", ["FFA_MSG_SEND_DIRECT_REQ_32 (0x8400006f)"]),
        (
            "(XEN) FFA call 0x8400006f from 0x1 to 0x8001 returned -6",
            [
                "FFA_MSG_SEND_DIRECT_REQ_32 (0x8400006f)",
                "  -6 is DENIED",
                "  0x1 is the id of a VM",
                "  0x8001 is the id of an SP",
            ],
        ),
        ("FFA_RXTX_MAP failed: 0xfffffffe", ["  0xfffffffe is INVALID_PARAMETERS"]),
        ("ffa: share: 0xfffffffffffffffd", ["  0xfffffffffffffffd is NO_MEMORY"]),
        ("arm_ffa arm-ffa-2: probe failed -95", ["  -95 (EOPNOTSUPP) stands for NOT_SUPPORTED"]),
        ("SPMC: endpoint 0x8000 is away", ["  0x8000 is the id of the SPMC, or of an SP"]),
        ("usb 1-1: device descriptor read/64, error -6", []),
        ("ffa is here since -100 and 2-6", []),
    ],
)
def test_values_are_found_in_any_line_of_ffa(text, told):
    assert explain.line(text) == told


def test_of_a_log_the_known_lines_are_kept():
    log = ["booting\n", "VERBOSE: No receivers!\r\n", "0x84000061\n"]

    assert [text for text, _ in explain.lines(log)] == ["VERBOSE: No receivers!", "0x84000061"]


def printed(message):
    """A line that the message's template could print."""
    words = iter(range(1, 9))
    parts = re.split(r"\{\w*\}", message.template)
    line = parts[0]
    for part in parts[1:]:
        line += f"0x{next(words)}{part}"
    return f"ERROR: {line}"


@pytest.mark.parametrize("message", MESSAGES, ids=[m.template[:40] for m in MESSAGES])
def test_a_message_is_found_and_names_rules_that_exist(message):
    found, words = find(printed(message))
    assert found is message
    assert message.meaning.format(**words)
    assert not message.rule or explain.rules_of(message.rule)


def test_of_two_messages_that_fit_the_one_with_more_fixed_text_is_meant():
    known, _ = find("Panic: Could not parse manifest: UUID should not be NIL.")
    other, _ = find("Panic: Could not parse manifest: UUID should not be odd.")

    assert "zeros" in known.meaning
    assert other.template == "Could not parse manifest: {}"
    assert find("Could parse manifest: UUID should not be NIL") is None


def test_messages_are_told_apart():
    texts = [message.template for message in MESSAGES]

    assert len(set(texts)) == len(texts)
    assert all(len(message.anchor) >= 7 for message in MESSAGES)
