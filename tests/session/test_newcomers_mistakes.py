"""What somebody reads who makes a mistake: the cause, where it is, what was meant."""

import pytest

from ffabric import FfaError, Partition, sp
from ffabric.system.options.problems import SystemErrors
from ffabric.testing import PartitionCrashed


class Forgetful(Partition):
    async def on_direct_request(self, request, ffa):
        if request.payload[0] == 0:
            await ffa.direct_requst("keeper", 1)
        if request.payload[0] == 1:
            ffa.console_log("x")
            return request.respond(1)
        request.respond(1)


@pytest.fixture
def client(ffabric):
    return ffabric.boot(sps=[Forgetful(), "keeper"], vms=["client", "other"]).vm("client")


def test_a_call_that_is_misspelt_is_told_with_the_one_that_may_be_meant(client):
    with pytest.raises(AttributeError, match=r"no call 'direct_requst' \(did you mean 'direct_req"):
        client.ffa.direct_requst("keeper", 1)
    assert not hasattr(client.ffa, "nothing_like_it")


def test_parameters_are_listed_if_none_is_similar(client):
    with pytest.raises(TypeError, match=r"share\(\) has no parameter 'xyz' \(there are to, ipa, "):
        client.ffa.share("keeper", xyz=1)
    with pytest.raises(TypeError, match=r"no parameter 'pagess' \(did you mean 'pages'\?\)$"):
        client.ffa.share("keeper", pagess=1)


@pytest.mark.parametrize(
    ("what", "told"),
    [(0, r"no attribute 'direct_requst' \(did you mean .direct_request.\?\)"),
     (1, "without await at .*test_newcomers_mistakes.py:15, in on_direct_request"),
     (2, r"Forgetful.on_direct_request returned None \(is `return` missing\?\)")],
)  # fmt: skip
def test_a_crash_is_where_the_partitions_code_is(client, what, told):
    with pytest.raises(PartitionCrashed, match=told) as caught:
        client.ffa.direct_request("forgetful", what)
    assert "ffabric/guests" not in str(caught.value)


def test_an_rx_that_is_full_names_who_has_to_release_it(ffabric):
    system = ffabric.boot(sps=["keeper"], vms=["client", "other"])
    client, other = system.vm("client").ffa, system.vm("other").ffa
    other.map_buffers()
    client.send2("other", b"one")
    with pytest.raises(FfaError, match=r"rx\.busy: got full: other has not released it"):
        client.send2("other", b"two")
    other.receive()
    client.send2("other", b"two")


def test_a_version_is_told_as_it_was_asked_for(ffabric):
    with pytest.raises(SystemErrors, match=r"x: ffa-version: 1\.7 is not a version of FF-A: 1\.0"):
        ffabric.boot(sps=[sp("x", ffa_version="1.7")])
