"""SMCCC ids and the tables of the calls that are not FF-A."""

import pytest

from ffabric.abi import hafnium, psci, smccc


@pytest.mark.parametrize(
    ("function_id", "owner", "number", "smc64"),
    [
        (smccc.SMCCC_VERSION, smccc.Owner.ARM_ARCHITECTURE, 0, False),
        (psci.CPU_ON_64, smccc.Owner.STANDARD_SECURE, 3, True),
        (0x8600FF01, smccc.Owner.VENDOR_HYPERVISOR, smccc.CALL_UID, False),
        (0xBF00FF01, smccc.Owner.TRUSTED_OS, smccc.CALL_UID, False),
        (0xB1000000, smccc.Owner.TRUSTED_APPLICATION, 0, False),
    ],
)
def test_anatomy(function_id, owner, number, smc64):
    assert smccc.is_fast(function_id)
    assert smccc.owner(function_id) is owner
    assert smccc.number(function_id) == number
    assert smccc.is_smc64(function_id) is smc64
    assert smccc.make(smccc.owner_number(function_id), number, smc64=smc64) == function_id


def test_reserved_owners_and_yielding_calls():
    assert smccc.owner(0x8700_0000) is None
    assert not smccc.is_fast(0x3200_0000)


@pytest.mark.parametrize(("owner", "number"), [(64, 0), (-1, 0), (4, 0x10000)])
def test_an_id_that_does_not_exist(owner, number):
    with pytest.raises(ValueError, match="no SMCCC function id"):
        smccc.make(owner, number)


@pytest.mark.parametrize("module", [smccc, psci, hafnium])
def test_a_table_names_its_own_constants(module):
    for function_id, function in module.FUNCTIONS.items():
        assert function.id == function_id
        assert getattr(module, function.name) == function_id
        assert len(function.args) == len(set(function.args)) <= 7


def test_psci_numbers():
    low = {function_id & 0xFF for function_id in psci.FUNCTIONS}
    assert low == set(range(0x18))
    assert psci.FUNCTIONS[psci.CPU_ON_32].args == ("target_cpu", "entry_point", "context_id")
    assert psci.Return.ALREADY_ON.register == 0xFFFF_FFFC
    assert psci.Return.ALREADY_ON.register64 == 0xFFFF_FFFF_FFFF_FFFC
