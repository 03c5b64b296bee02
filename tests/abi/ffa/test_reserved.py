"""What a call's registers may not hold: from the tables, and against the specification by hand."""

import random

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.registers import at_version, last_register
from ffabric.abi.ffa.reserved import defined, judged, reserved, reserved_reply, stray
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3, VERSIONS
from ffabric.abi.words import MASK32, MASK64

REGISTERS = range(1, 8)
INSTANCES = [pytest.param(True, id="virtual"), pytest.param(False, id="physical")]
ALL = MASK32
"""A whole w register."""

# Call, versions, whether at a virtual instance (None: at any) -> register: (reserved bits, kind).
# Registers that are not named have no reserved bits. From the tables of DEN0077A and DEN0140.
SPECIFIED = [
    (fid.FFA_ID_GET, [V1_0], None, dict.fromkeys(REGISTERS, (ALL, "MBZ"))),
    (fid.FFA_ID_GET, [V1_1, V1_2, V1_3], None, dict.fromkeys(REGISTERS, (ALL, "SBZ"))),
    (fid.FFA_RUN, [V1_0], None, dict.fromkeys(range(2, 8), (ALL, "MBZ"))),
    (fid.FFA_RUN, [V1_1, V1_2, V1_3], None, dict.fromkeys(range(2, 8), (ALL, "SBZ"))),
    (fid.FFA_MEM_SHARE_32, [V1_0], None, dict.fromkeys((5, 6, 7), (ALL, "MBZ"))),
    (fid.FFA_MEM_SHARE_32, [V1_1, V1_2], None, dict.fromkeys((5, 6, 7), (ALL, "SBZ"))),
    (fid.FFA_MEM_SHARE_64, [V1_1, V1_2], None, dict.fromkeys((5, 6, 7), (MASK64, "SBZ"))),
    (fid.FFA_MSG_WAIT, [V1_0], None, dict.fromkeys(REGISTERS, (ALL, "MBZ"))),
    (
        fid.FFA_MSG_WAIT,
        [V1_1],
        None,
        {1: (ALL, "MBZ"), **dict.fromkeys(range(2, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_MSG_WAIT,
        [V1_2, V1_3],
        None,
        {1: (ALL, "MBZ"), 2: (ALL & ~1, "MBZ"), **dict.fromkeys(range(3, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_YIELD,
        [V1_1, V1_2],
        True,
        {1: (ALL, "MBZ"), **dict.fromkeys(range(4, 8), (ALL, "MBZ"))},
    ),
    (fid.FFA_YIELD, [V1_1, V1_2], False, dict.fromkeys(range(4, 8), (ALL, "MBZ"))),
    (fid.FFA_MSG_SEND_DIRECT_REQ_32, VERSIONS, None, {2: (0x7FFF_FF00, "MBZ")}),
    (fid.FFA_MSG_SEND_DIRECT_RESP_64, [V1_2], None, {2: (0x7FFF_FF00, "MBZ")}),
    (fid.FFA_MSG_SEND_DIRECT_REQ2, [V1_2, V1_3], None, {}),
    (fid.FFA_MSG_SEND_DIRECT_RESP2, [V1_2], None, dict.fromkeys((2, 3), (MASK64, "MBZ"))),
    (
        fid.FFA_RXTX_MAP_32,
        [V1_1, V1_2],
        None,
        {3: (ALL & ~0x3F, "MBZ"), **dict.fromkeys(range(4, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_RXTX_MAP_64,
        [V1_2],
        None,
        {3: (MASK64 & ~0x3F, "MBZ"), **dict.fromkeys(range(4, 8), (MASK64, "SBZ"))},
    ),
    (
        fid.FFA_RXTX_UNMAP,
        [V1_1],
        False,
        {1: (0xFFFF, "SBZ"), **dict.fromkeys(range(2, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_RX_RELEASE,
        [V1_0],
        False,
        {1: (0xFFFF_0000, "MBZ"), **dict.fromkeys(range(2, 8), (ALL, "MBZ"))},
    ),
    (fid.FFA_PARTITION_INFO_GET, [V1_0], None, dict.fromkeys((5, 6, 7), (ALL, "MBZ"))),
    (
        fid.FFA_PARTITION_INFO_GET,
        [V1_1, V1_2],
        None,
        {5: (ALL & ~1, "MBZ"), 6: (ALL, "SBZ"), 7: (ALL, "SBZ")},
    ),
    (
        fid.FFA_NOTIFICATION_BIND,
        [V1_1, V1_2],
        None,
        {2: (ALL & ~1, "MBZ"), **dict.fromkeys(range(5, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_NOTIFICATION_UNBIND,
        [V1_1, V1_2],
        None,
        {2: (ALL, "MBZ"), **dict.fromkeys(range(5, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_NOTIFICATION_SET,
        [V1_1, V1_2],
        None,
        {2: (0xFFFC, "MBZ"), **dict.fromkeys(range(5, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_NOTIFICATION_GET,
        [V1_1],
        None,
        {2: (ALL & ~0xF, "MBZ"), **dict.fromkeys(range(3, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_NOTIFICATION_GET,
        [V1_2],
        None,
        {2: (ALL & ~0xF, "SBZ"), **dict.fromkeys(range(3, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_MEM_RECLAIM,
        [V1_1, V1_2],
        None,
        {3: (ALL & ~0b11, "MBZ"), **dict.fromkeys(range(4, 8), (ALL, "SBZ"))},
    ),
    (
        fid.FFA_ABORT_32,
        [V1_3],
        None,
        {1: (ALL, "MBZ"), **dict.fromkeys(range(3, 8), (ALL, "MBZ"))},
    ),
]


@pytest.mark.parametrize(
    ("call", "versions", "virtual", "expected"),
    [pytest.param(*row, id=f"{fid.function_name(row[0])}-{row[1][0] & 0xF}") for row in SPECIFIED],
)
def test_the_table_reserves_what_the_specification_prints(call, versions, virtual, expected):
    for version in versions:
        for instance in [True, False] if virtual is None else [virtual]:
            found = {}
            for each in judged(call, version, virtual=instance):
                mask, rule = found.get(each.register, (0, each.rule))
                assert rule == each.rule, "one kind a register in this list"
                found[each.register] = (mask | each.mask, rule)
            assert found == expected


def test_at_virtual_instances_the_fields_of_the_hypervisor_are_reserved():
    virtual = set(judged(fid.FFA_RXTX_UNMAP, V1_1, virtual=True))
    assert [str(c) for c in virtual - set(judged(fid.FFA_RXTX_UNMAP, V1_1, virtual=False))] == [
        "register 1 & 0xffff0000 MBZ"
    ]
    for call in (fid.FFA_MEM_FRAG_RX, fid.FFA_MEM_FRAG_TX):
        virtual = set(judged(call, V1_2, virtual=True)) - set(judged(call, V1_2, virtual=False))
        assert [str(each) for each in virtual] == ["register 4 & 0xffff0000 MBZ"]


@pytest.mark.parametrize("virtual", INSTANCES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_bit_is_defined_or_reserved_or_above_a_w_register(version, virtual):
    for function in fid.FUNCTIONS.values():
        bits = dict(zip(REGISTERS, defined(function.id, version, virtual=virtual), strict=True))
        for each in judged(function.id, version, virtual=virtual):
            assert not bits[each.register] & each.mask, (function.name, str(each))
            bits[each.register] |= each.mask
        whole = {MASK32, MASK64} if function.is_64 else {MASK32}
        assert set(bits.values()) <= whole, function.name


@pytest.mark.parametrize("virtual", INSTANCES)
@pytest.mark.parametrize("version", VERSIONS)
def test_stray_bits_are_found_and_no_others(version, virtual):
    generator = random.Random(version)
    for function in [*fid.FUNCTIONS, 0xFF03, 0xC400_0003]:
        masks = [0, *defined(function, version, virtual=virtual)]
        found = stray(function, version, virtual=virtual)
        clean = [function, *(generator.getrandbits(64) & mask for mask in masks[1:])]
        clean += [generator.getrandbits(64) for _ in range(10)]
        if found is None:
            assert masks[1:] == [MASK64] * 7
            continue
        assert not found(clean), fid.function_name(function)
        for register in REGISTERS:
            for bit in (0, 1, 15, 16, 31, 32, 63):
                if not masks[register] >> bit & 1:
                    dirty = [*clean]
                    dirty[register] |= 1 << bit
                    assert found(dirty), (fid.function_name(function), register, bit)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_field_and_a_reserved_bit_never_meet(version):
    for function in fid.FUNCTIONS.values():
        last = last_register(version, is_64=function.is_64)
        used = dict.fromkeys(range(1, 18), 0)
        for arg in at_version(function.args, version):
            for register in arg.span(is_64=function.is_64):
                mask = (1 << arg.width(is_64=function.is_64)) - 1 << arg.lo
                if arg.word:
                    mask = arg.word.defined(version)
                assert not used[register] & mask, (function.name, arg.name)
                used[register] |= mask if arg.name else 0
        for check in reserved(function.id, version):
            assert check.rule in {"MBZ", "SBZ"}
            assert 1 <= check.register <= max(last, 17)
            assert not used[check.register] & check.mask, (function.name, str(check))


def test_reserved_bits_by_version():
    def rules(version):
        return {(c.register, c.rule) for c in reserved(fid.FFA_RXTX_UNMAP, version)}

    assert rules(V1_0) == {(register, "MBZ") for register in range(1, 8)}
    assert rules(V1_1) == {(register, "SBZ") for register in range(1, 8)}
    assert {c.register for c in reserved(fid.FFA_RXTX_MAP_64, V1_1)} == set(range(3, 8))
    assert {c.register for c in reserved(fid.FFA_RXTX_MAP_64, V1_2)} == set(range(3, 18))
    assert [str(c) for c in reserved(fid.FFA_MSG_SEND_DIRECT_REQ_64, V1_3)] == [
        "register 2 & 0x7fffff00 MBZ"
    ]


def test_fields_of_the_hypervisor_are_mbz_at_virtual_instances():
    physical = reserved(fid.FFA_RXTX_UNMAP, V1_1)
    virtual = reserved(fid.FFA_RXTX_UNMAP, V1_1, virtual=True)
    assert [str(c) for c in set(virtual) - set(physical)] == ["register 1 & 0xffff0000 MBZ"]


def test_reserved_bits_of_a_success():
    checks = reserved_reply(fid.FFA_ID_GET, fid.FFA_SUCCESS_32, V1_1)
    assert {c.register: c.mask for c in checks} == {
        2: 0xFFFF_0000,
        **dict.fromkeys(range(3, 8), 0xFFFF_FFFF),
    }
