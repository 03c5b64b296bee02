"""The words of memory descriptors, against the numbers that the specification prints."""

import pytest

from ffabric.abi.ffa import memory_words as words
from ffabric.abi.ffa.version import V1_0, V1_1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # DEN0140 v1.2, table 1.18
        ("MEM_ATTR_SHAREABILITY_MASK", 0b11),
        ("MEM_ATTR_NON_SHAREABLE", 0b00),
        ("MEM_ATTR_OUTER_SHAREABLE", 0b10),
        ("MEM_ATTR_INNER_SHAREABLE", 0b11),
        ("MEM_ATTR_CACHEABILITY_MASK", 0b1100),
        ("MEM_ATTR_NON_CACHEABLE", 0b0100),
        ("MEM_ATTR_WRITE_BACK", 0b1100),
        ("MEM_ATTR_DEVICE_NGNRNE", 0b0000),
        ("MEM_ATTR_DEVICE_NGNRE", 0b0100),
        ("MEM_ATTR_DEVICE_NGRE", 0b1000),
        ("MEM_ATTR_DEVICE_GRE", 0b1100),
        ("MEM_ATTR_TYPE_MASK", 0b11_0000),
        ("MEM_ATTR_TYPE_DEVICE", 0b01_0000),
        ("MEM_ATTR_TYPE_NORMAL", 0b10_0000),
        ("MEM_ATTR_NS", 0b100_0000),
        ("MEM_ATTR_NORMAL_WB_INNER", 0x2F),
        # table 1.15
        ("PERM_DATA_MASK", 0b11),
        ("PERM_DATA_RO", 0b01),
        ("PERM_DATA_RW", 0b10),
        ("PERM_INSTRUCTION_MASK", 0b1100),
        ("PERM_INSTRUCTION_NX", 0b0100),
        ("PERM_INSTRUCTION_X", 0b1000),
        ("RECEIVER_FLAG_NON_RETRIEVAL", 1),
        # tables 1.21 to 1.23
        ("FLAG_CLEAR", 1 << 0),
        ("FLAG_TIME_SLICE", 1 << 1),
        ("FLAG_CLEAR_RELINQUISH", 1 << 2),
        ("FLAG_TYPE_MASK", 0b11 << 3),
        ("FLAG_TYPE_SHARE", 0b01 << 3),
        ("FLAG_TYPE_LEND", 0b10 << 3),
        ("FLAG_TYPE_DONATE", 0b11 << 3),
        ("FLAG_ALIGN_HINT_MASK", 0b1111 << 5),
        ("FLAG_ALIGN_HINT_VALID", 1 << 9),
        ("FLAG_BYPASS_BORROWERS_CHECK", 1 << 10),
        # section 2.8
        ("MEM_PERM_DATA_MASK", 0b011),
        ("MEM_PERM_NO_ACCESS", 0b000),
        ("MEM_PERM_RW", 0b001),
        ("MEM_PERM_RO", 0b011),
        ("MEM_PERM_XN", 0b100),
    ],
)
def test_a_constant_is_the_number_of_its_table(name, value):
    assert getattr(words, name) == value


def test_attributes_read_like_the_manual():
    assert str(words.Attributes(words.MEM_ATTR_NORMAL_WB_INNER | words.MEM_ATTR_NS)) == (
        "0x6f (NS=1, TYPE=NORMAL, CACHEABILITY=3, SHAREABILITY=INNER)"
    )


def test_v1_0_has_no_security_state_in_the_attributes():
    assert words.Attributes.defined(V1_0) == 0x3F
    assert words.Attributes.defined(V1_1) == 0x7F
