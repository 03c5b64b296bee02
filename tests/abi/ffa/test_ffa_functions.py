"""The function table: every id, where it is legal and since when."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.call_layouts import ARGS, RESULTS
from ffabric.abi.ffa.functions import FUNCTIONS, Conduit, Instance
from ffabric.abi.ffa.version import LATEST, V1_0, V1_1, V1_2, V1_3, VERSIONS

CONSTANTS = {
    name: value
    for name, value in vars(fid).items()
    if name.startswith("FFA_") and isinstance(value, int)
}

# Function numbers by version, from the specification's tables of interfaces.
NUMBERS_32 = {
    V1_0: {*range(0x60, 0x7D)},
    V1_1: {*range(0x60, 0x8A)} - {0x6A, 0x6E},
    V1_2: {*range(0x60, 0x8D)} - {0x6A, 0x6E, 0x8B},
    V1_3: {*range(0x60, 0x8D), 0x90} - {0x6A, 0x6E, 0x8B},
}
NUMBERS_64_V1_0 = {0x61, 0x66, 0x6F, 0x70, *range(0x71, 0x75)}
NUMBERS_64_V1_1 = NUMBERS_64_V1_0 | {0x83, 0x87, 0x88, 0x89}
NUMBERS_64_V1_2 = NUMBERS_64_V1_1 | {0x8A, 0x8B, 0x8D, 0x8E}
NUMBERS_64 = {
    V1_0: NUMBERS_64_V1_0,
    V1_1: NUMBERS_64_V1_1,
    V1_2: NUMBERS_64_V1_2,
    V1_3: NUMBERS_64_V1_2 | {0x60, 0x62, 0x6B, 0x6C, 0x6D, 0x7C, 0x8F, 0x90},
}


def test_every_constant_has_a_row_of_its_name():
    assert {f.name: f.id for f in FUNCTIONS.values()} == CONSTANTS
    assert all(f.id == function_id for function_id, f in FUNCTIONS.items())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ids_of_a_version(version):
    defined = [f.id for f in FUNCTIONS.values() if f.defined_in(version)]
    assert {i & 0xFF for i in defined if not i & 1 << 30} == NUMBERS_32[version]
    assert {i & 0xFF for i in defined if i & 1 << 30} == NUMBERS_64[version]


def test_a_sweep_of_the_window_knows_the_id_or_says_so():
    for base in (0x8400_0000, 0xC400_0000):
        for number in range(0x50, 0x100):
            function_id = base | number
            assert fid.is_ffa(function_id) == (0x60 <= number <= 0xEF)
            if function_id not in FUNCTIONS and function_id not in fid.KNOWN_BY_NAME:
                assert fid.function_name(function_id) == f"{function_id:#010x}"
    assert not fid.is_ffa(0x8600_0060)
    assert not fid.is_ffa(0x0400_0060)


def test_calls_known_by_name_have_one_and_no_layout():
    assert fid.function_name(0xC400_0094) == "FFA_NOTIFICATION_BIND2"
    assert fid.function_name(0xC400_0097) == "FFA_NOTIFICATION_GET2"
    for function_id, name in fid.KNOWN_BY_NAME.items():
        assert fid.is_ffa(function_id)
        assert fid.function_name(function_id) == name
        assert fid.function_name(function_id & ~(1 << 30)).startswith("0x84")
        assert function_id not in FUNCTIONS
        assert name not in ARGS


def test_widths():
    for function in FUNCTIONS.values():
        assert function.is_64 == bool(function.id & 0x4000_0000)
        if function.name.endswith("_64"):
            assert function.is_64
        if function.name.endswith("_32"):
            assert not function.is_64


def test_versions_are_in_order():
    for function in FUNCTIONS.values():
        assert V1_0 <= function.since <= function.until <= LATEST
    assert [f.name for f in FUNCTIONS.values() if f.until != LATEST] == [
        "FFA_MSG_SEND",
        "FFA_MSG_POLL",
    ]


@pytest.mark.parametrize(
    ("function_id", "instance", "conduits"),
    [
        (fid.FFA_VERSION, Instance.NS_PHYSICAL, {Conduit.SMC}),
        (fid.FFA_VERSION, Instance.NS_VIRTUAL, {Conduit.SMC, Conduit.HVC}),
        (fid.FFA_VERSION, Instance.S_VIRTUAL, {Conduit.SMC, Conduit.HVC, Conduit.SVC}),
        (fid.FFA_MEM_PERM_SET_64, Instance.NS_VIRTUAL, set()),
        (fid.FFA_NORMAL_WORLD_RESUME, Instance.S_PHYSICAL, {Conduit.SMC}),
        (fid.FFA_MSG_SEND_DIRECT_REQ_32, Instance.S_PHYSICAL, {Conduit.SMC, Conduit.ERET}),
        (fid.FFA_RX_ACQUIRE, Instance.S_PHYSICAL, {Conduit.ERET}),
        (fid.FFA_RX_ACQUIRE, Instance.S_VIRTUAL, set()),
    ],
)
def test_conduits(function_id, instance, conduits):
    function = FUNCTIONS[function_id]
    assert function.conduits_at(instance) == conduits
    assert conduits <= function.conduits
    assert (instance in function.instances) == bool(conduits)


def test_every_call_is_legal_somewhere_and_cites_its_definition():
    for function in FUNCTIONS.values():
        assert function.conduits
        assert function.section.startswith(("DEN0077A v", "DEN0140 v"))


def test_layouts_belong_to_functions():
    bases = {name.removesuffix("_32").removesuffix("_64") for name in CONSTANTS}
    assert set(ARGS) == bases
    assert set(RESULTS) <= bases


def test_text():
    assert str(FUNCTIONS[fid.FFA_MSG_SEND2]) == "FFA_MSG_SEND2 (0x84000086, v1.1)"
    assert fid.function_name(fid.FFA_ERROR) == "FFA_ERROR"
