import pytest

from ffabric.firmware import catalogue
from ffabric.firmware.rules import RULES
from ffabric.observe import explain
from ffabric.observe.log_messages import MESSAGES


def test_registers_are_named_field_by_field():
    lines = explain.registers([0x84000060, 0, 0xFFFFFFFE])

    assert lines[0] == "FFA_ERROR (0x84000060)"
    assert "  status = INVALID_PARAMETERS" in lines
    assert lines[-1].endswith("names the one that did")


def test_an_unassigned_status_is_said_to_be_none():
    assert "  0x63 is no status of FF-A" in explain.registers([0x84000060, 0, 0x63])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VERBOSE: Invalid memory sender ID.", "rule mem.share.sender"),
        ("ARM FF-A: Firmware version 1.1 found", "answered with 1.1"),
        ("E/TC:0 Failed to relinquish cookie 0x1", "handle 0x1"),
        ("INFO:    SPM Core run time EL: S-EL2", "runs at S-EL2"),
        ("smc: 0x8400006f 0x00018001 0x0 0x1 0x2", "FFA_MSG_SEND_DIRECT_REQ_32"),
        ("c4000073,70,70,0,0", "FFA_MEM_SHARE_64"),
    ],
)
def test_a_line_of_a_log_is_explained(text, expected):
    assert expected in "\n".join(explain.line(text))


@pytest.mark.parametrize("text", ["", "hello", "0x12 0x34", "84000060x", "x" * 10_000])
def test_of_other_lines_nothing_is_known(text):
    assert explain.line(text) == []


def test_every_known_message_names_a_rule_that_exists():
    catalogue.load()

    assert not [m.rule for m in MESSAGES if m.rule and m.rule not in RULES]
