"""Discovery of SPs by a UUID where the SPMC, older than 1.2, is asked for each UUID."""

from uuid import UUID

import pytest
from msgspec.structs import replace

from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1
from ffabric.guests.errors import FfaError
from ffabric.system.description.python import describe, sp, vm

SERVICE = UUID("5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11")


@pytest.fixture
def system(ffabric):
    spec = describe(
        sps=[sp("b", ffa_version=V1_1, messaging_method=3, uuids=(SERVICE,))], vms=[vm("a")]
    )
    return ffabric.boot(replace(spec, spmc=replace(spec.spmc, ffa_version=V1_1)))


def test_of_uuids_that_nobody_has_nothing_is_kept(system):
    a = system.vm("a").ffa
    for number in range(1, 100):
        with pytest.raises(FfaError) as refused:
            a.partition_info(UUID(int=number))
        assert refused.value.status is Status.INVALID_PARAMETERS
    assert system.system.firmware.hypervisor.secure_services == {}


def test_of_one_that_an_sp_has_it_is_kept(system):
    (found,) = system.vm("a").ffa.partition_info(SERVICE)
    assert found.id == 0x8001
    assert [*system.system.firmware.hypervisor.secure_services] == [SERVICE]
