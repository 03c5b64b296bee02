"""An unexpected refusal says which rule refused, and what it compared."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition


@pytest.fixture
def system(ffabric):
    return ffabric.boot(sps=["echo"], vms=["client"])


def test_what_is_no_refusal_goes_through_whoever_expects_one(ffabric):
    system = ffabric.boot(vms=["v"])
    with pytest.raises(KeyError), system.refuses("mem.share.not_owned"):
        raise KeyError("of the test")


def test_the_last_calls_are_told_one_a_line(ffabric):
    system = ffabric.boot(vms=["v"])
    system.vm("v").ffa.id_get()
    call, answer = system.last_calls().splitlines()[-2:]
    assert call.split()[2:] == ["v.0", "FFA_ID_GET"]
    assert "FFA_SUCCESS_32: id=0x0001 (v)" in answer
    assert system.last_calls(1).splitlines() == [call, answer]


def test_a_refusal_of_the_hypervisor_is_told(system):
    client = system.vm("client").ffa
    with pytest.raises(FfaError) as caught:
        client.share("echo", ipa=0x1001)
    error = caught.value
    assert error.rule == "mem.share.unaligned_base"
    assert error.status is Status.INVALID_PARAMETERS
    assert error.refusal.got == "0x1001"
    assert str(error) == (
        f"FFA_MEM_SHARE_64: INVALID_PARAMETERS, refused by {error.rule}: "
        f"got 0x1001, expected {error.refusal.expected} ({error.refusal.section})"
    )
    assert error.answer == "FFA_MEM_SHARE_64: INVALID_PARAMETERS"


def test_a_refusal_of_the_spmc_is_told_to_a_vm(system):
    client = system.vm("client").ffa
    with pytest.raises(FfaError) as caught:
        client.direct_request(0x8042)
    assert caught.value.rule
    assert caught.value.rule in system.refusals


def test_a_refusal_that_nobody_asked_about_is_not_told_later(system):
    client = system.vm("client").ffa
    assert client.call(fid.FFA_MEM_RECLAIM, 0x42)[0] == fid.FFA_ERROR
    client.id_get()
    vcpu = client.vcpu
    assert vcpu.refusal(Status.INVALID_PARAMETERS) is None


def test_a_refusal_is_told_by_its_own_status_only(system):
    client = system.vm("client").ffa
    assert client.call(fid.FFA_MEM_RECLAIM, 0x42)[0] == fid.FFA_ERROR
    assert client.vcpu.refusal(Status.INVALID_PARAMETERS).rule == "mem.handle"
    assert client.vcpu.refusal(Status.DENIED) is None


class Answering(Partition):
    """Answers FFA_ERROR by itself, in the place of a response."""

    async def on_direct_request(self, request, ffa):
        await ffa.call(fid.FFA_MEM_RECLAIM, 0x42)
        return request.respond(7)


def test_what_another_partition_was_refused_is_not_ones_own(ffabric):
    system = ffabric.boot(sps=[Answering()], vms=["client"])
    client = system.vm("client").ffa
    assert client.direct_request(Answering).payload[0] == 7
    with pytest.raises(FfaError) as caught:
        client.share(Answering, ipa=0x1001)
    assert caught.value.rule == "mem.share.unaligned_base"
