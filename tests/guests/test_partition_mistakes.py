"""What a partition's author may get wrong is told where it is wrong, with what may be meant."""

import pytest

from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.system.crash import PartitionCrashed

RETURN = "return request.respond(...)"


class Forgetful(Partition):
    async def on_direct_request(self, request, ffa):
        request.respond(1)


class Talkative(Partition):
    async def on_direct_request(self, request, ffa):
        return "yes"


class Wordy(Partition):
    async def on_direct_request(self, request, ffa):
        return request.respond(*range(6))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            Forgetful,
            "TypeError: Forgetful.on_direct_request returned None (is `return` missing?): "
            + RETURN,
        ),
        (
            Talkative,
            "TypeError: Talkative.on_direct_request returned 'yes': " + RETURN,
        ),
        (Wordy, "ValueError: 6 words of payload: this message carries 5"),
    ],
)
def test_an_answer_that_is_none_crashes_its_partition(ffabric, kind, reason):
    system = ffabric.boot(sps=[kind()], vms=["client"])
    with pytest.raises(PartitionCrashed) as crash:
        system.vm("client").ffa.direct_request(kind)
    assert crash.value.reason == reason


def test_five_words_are_an_answer(ffabric):
    class Answers(Partition):
        async def on_direct_request(self, request, ffa):
            return request.respond(*range(5))

    system = ffabric.boot(sps=[Answers()], vms=["client"])
    assert system.vm("client").ffa.direct_request(Answers).payload == tuple(range(5))


def test_a_misspelt_hook_is_told_when_its_class_is_made():
    with pytest.raises(TypeError, match=r"Adder\.on_direct_reqest is never called \(did you mean"):

        class Adder(Partition):
            async def on_direct_reqest(self, request, ffa):
                return request.respond()


def test_a_method_of_ones_own_may_begin_like_a_hook():
    class Lamp(Partition):
        async def on_off(self):
            pass

    assert Lamp().name == "lamp"


def test_a_hook_that_is_not_async_is_told_when_its_class_is_made():
    with pytest.raises(TypeError, match=r"Adder\.on_boot has to be written with `async def`"):

        class Adder(Partition):
            def on_boot(self, ffa):
                pass


@pytest.fixture
def client(ffabric):
    return ffabric.boot(sps=["echo"], vms=["client"]).vm("client")


def test_an_unknown_endpoint_is_told_with_the_one_that_may_be_meant(client):
    with pytest.raises(
        LookupError, match=r"there is no partition 'ecko' \(did you mean 'echo'\?\)"
    ):
        client.ffa.direct_request("ecko")


def test_an_unknown_object_is_told(client):
    with pytest.raises(LookupError, match="no partition of this system is <class"):
        client.ffa.direct_request(Partition)


def test_an_endpoint_may_be_named_by_its_handle(ffabric, client):
    found = client.ffa.partition_info()
    echo = next(each for each in found if each.id == 0x8001)
    with ffabric.refuses("mem.share.unaligned_base"):
        client.ffa.share(echo, ipa=0x1001)


@pytest.mark.parametrize("call", ["share", "lend", "donate"])
def test_a_misspelt_keyword_of_a_call_is_told(client, call):
    expected = rf"{call}\(\) has no parameter 'page' \(did you mean 'pages'\?\)"
    with pytest.raises(TypeError, match=expected):
        getattr(client.ffa, call)("echo", ipa=0, page=1)


class Misspelling(Partition):
    async def on_boot(self, ffa):
        await ffa.retrieve(handel=1, sender=0)


def test_a_misspelt_keyword_in_a_partition_is_told(ffabric):
    with pytest.raises(PartitionCrashed) as crash:
        ffabric.boot(sps=[Misspelling()])
    told = "TypeError: retrieve() has no parameter 'handel' (did you mean 'handle'?)"
    assert crash.value.reason == told


def test_too_many_arguments_are_told_as_python_tells_them(client):
    with pytest.raises(TypeError, match=r"Ffa\.rx_release\(\) takes 1 positional argument but 2"):
        client.ffa.rx_release(1)
    with pytest.raises(TypeError, match=r"Ffa\.share\(\) takes 2 positional arguments but 3"):
        client.ffa.share("echo", 1)


def test_a_text_that_is_no_uuid_is_told(client):
    for call in (client.ffa.partition_info, client.ffa.partition_info_regs):
        with pytest.raises(ValueError, match="'echo' is not a UUID"):
            call("echo")
    with pytest.raises(ValueError, match="'echo' is not a UUID"):
        client.ffa.direct_request2("echo", uuid="echo")
    with pytest.raises(ValueError, match="'echo' is not a UUID"):
        client.ffa.send2("echo", b"", uuid="echo")


def test_a_text_that_is_a_uuid_is_one(client):
    with pytest.raises(FfaError, match="INVALID_PARAMETERS"):
        client.ffa.partition_info("5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11")


def test_more_words_than_a_request_carries_are_told(client):
    with pytest.raises(ValueError, match="6 words of payload: this message carries 5"):
        client.ffa.direct_request("echo", *range(6))
    with pytest.raises(ValueError, match="15 words of payload: this message carries 14"):
        client.ffa.direct_request2("echo", *range(15))
