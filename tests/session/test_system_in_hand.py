"""A system in hand: its partitions, its end, one verb for refusals."""

from typing import ClassVar

import pytest

from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.session.booting import boot
from ffabric.session.refusals import NotRefused
from ffabric.session.system import refuses
from ffabric.session.trace import Trace
from ffabric.system.description.python import describe, sp
from ffabric.system.system import Closed

RULE = "mem.share.unaligned_base"


class Adder(Partition):
    uuid = "5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11"

    async def on_direct_request(self, request, ffa):
        a, b, *_ = request.payload
        return request.respond(a + b)


def test_a_script_boots_a_system_and_closes_it():
    with boot(sps=[Adder()], vms=["client"]) as system:
        assert system.vm("client").ffa.direct_request(Adder, 2, 3).payload[0] == 5
    assert "closed" in repr(system)


def test_a_system_that_is_not_started_has_not_run():
    with boot(sps=[Adder()], vms=["client"], start=False) as system:
        assert system.exits == 0
        system.run()
        assert system.exits > 0


def test_what_happened_is_counted(ffabric):
    system = ffabric.boot(sps=[Adder()], vms=["client"])
    client = system.vm("client").ffa
    exits, switches = system.exits, system.world_switches
    client.direct_request(Adder, 20, 22)
    assert (system.exits - exits, system.world_switches - switches) == (2, 2)


@pytest.mark.parametrize(
    "use",
    [
        lambda system, client: client.ffa.id_get(),
        lambda system, client: client.vcpu(0).direct_request(Adder),
        lambda system, client: system.run(),
        lambda system, client: client.memory,
        lambda system, client: system.create_vm("another"),
        lambda system, client: system.destroy_vm("client"),
    ],
)
def test_a_closed_system_says_so(use):
    system = boot(sps=[Adder()], vms=["client"])
    client = system.vm("client")
    client.ffa.id_get()
    system.close()
    with pytest.raises(Closed, match="system is closed: nothing can be done with it any more"):
        use(system, client)


def test_closing_twice_is_closing():
    system = boot(vms=["client"])
    system.close()
    system.close()


def test_a_partition_that_there_is_not_is_told(ffabric):
    system = ffabric.boot(sps=[Adder()], vms=["client"])
    with pytest.raises(LookupError, match=r"there is no VM 'cleint' \(did you mean 'client'\?\)"):
        system.vm("cleint")
    with pytest.raises(LookupError, match="there is no SP 'client'"):
        system.sp("client")
    with pytest.raises(LookupError, match="there is no vCPU 3: client has 1, counted from 0"):
        system.vm("client").vcpu(3)
    with pytest.raises(LookupError, match="there is no vCPU 'first': client has 1"):
        system.vm("client").vcpu("first")
    with pytest.raises(LookupError, match="there is no VM 1"):
        system.vm(1)


def test_vms_come_and_go_by_what_describes_them(ffabric):
    system = ffabric.boot(vms=["alice"])
    created = system.create_vm("bob")
    system.run()
    assert created.id == system.vm("bob").id == 2
    system.destroy_vm("alice", reason="no longer needed")
    system.run()
    with pytest.raises(LookupError, match="there is no VM 'alice'"):
        system.vm("alice")


def test_a_misspelt_keyword_of_a_method_is_told(ffabric):
    system = ffabric.boot(vms=["alice"])
    with pytest.raises(TypeError, match=r"destroy_vm\(\) has no parameter 'raeson' \(did you mean"):
        system.destroy_vm("alice", raeson="typing")


def test_what_is_shown_of_them_says_who_they_are(ffabric):
    system = ffabric.boot(sps=[Adder()], vms=["client"], name="sums")
    client = system.vm("client")
    assert repr(system) == "<System sums: adder=0x8001 client=0x0001>"
    assert repr(client) == "<VM client 0x0001>"
    assert repr(system.sp("adder")) == "<SP adder 0x8001>"
    assert repr(client.ffa) == "<BlockingFfa of <Vcpu client.0>>"
    answer = client.ffa.direct_request(Adder, 2, 3)
    name = "FFA_MSG_SEND_DIRECT_RESP_64"
    assert repr(answer) == f"<{name} 0x8001 -> 0x0001: 0x5, 0x0, 0x0, 0x0, 0x0>"


def test_memory_that_was_retrieved_is_shown_with_its_pages(ffabric):
    system = ffabric.boot(sps=["vault"], vms=["client"])
    client, vault = system.vm("client"), system.sp("vault")
    handle = client.ffa.share("vault", ipa=client.ram.allocate(2), pages=2)
    got = vault.ffa.retrieve(handle, "client")
    assert repr(got) == f"<Retrieved {handle:#x} of 0x0001: pages 2 at {got.ipa:#x}>"


@pytest.fixture
def pair(ffabric):
    return [ffabric.boot(sps=[Adder()], vms=["client"]) for _ in range(2)]


def test_a_refusal_is_expected_of_any_open_system(pair):
    with refuses(RULE):
        pair[1].vm("client").ffa.share(Adder, ipa=1)


def test_a_refusal_is_expected_of_one_system(pair):
    first, second = pair
    with refuses(RULE, first), first.refuses(RULE):
        first.vm("client").ffa.share(Adder, ipa=1)
    with pytest.raises(FfaError), refuses(RULE, first):
        second.vm("client").ffa.share(Adder, ipa=1)


def test_a_refusal_that_does_not_come_is_told(pair):
    with (
        pytest.raises(NotRefused, match=f"{RULE} refused nothing: the calls succeeded"),
        refuses(RULE),
    ):
        pair[0].vm("client").ffa.id_get()


def test_another_refusal_is_told(pair):
    client = pair[0].vm("client").ffa
    with (
        pytest.raises(NotRefused, match=r"refused by mem\.handle, not by mem"),
        refuses(RULE),
    ):
        client.reclaim(0x42)


def test_a_rule_that_there_is_not_is_told(pair):
    with (
        pytest.raises(ValueError, match=r"there is no rule .* \(did you mean 'mem.share.un"),
        refuses("mem.share.unalined_base"),
    ):
        pass


def test_a_system_that_was_read_is_described_already():
    spec = describe(vms=["client"])
    with boot(spec) as system:
        assert system.vm("client").id == 1
    with pytest.raises(TypeError, match="a system that was read is described already: pes"):
        boot(spec, pes=2)


def test_what_is_written_for_a_value_is_understood():
    adder = sp(
        "adder",
        uuids=["5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11"],
        ffa_version="1.1",
        messaging_method=3,
        memory_regions=[],
    )
    with boot(sps=[adder], vms=["client"], ffa_version="1.2") as system:
        (found,) = system.vm("client").ffa.partition_info("5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11")
        assert found.id == system.sp("adder").id


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"uuids": ["text"]}, "uuids: 'text' is not a UUID"),
        ({"uuid": "text"}, "uuids: 'text' is not a UUID"),
        ({"ffa_version": "new"}, "ffa_version: 'new' is not an FF-A version such as 1.2"),
        ({"ns_interrupts_action": 9}, "ns_interrupts_action: 9 is not one of 0 .QUEUED., 1 .MAN"),
        ({"mem_size": 0x1003}, "mem_size: 0x1003 is not a multiple of 0x1000"),
        ({"uuids": 5}, "uuids: 5 is not a UUID"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_name(said, told):
    with pytest.raises(ValueError, match=told):
        sp("adder", **said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"vcpus": "2"}, "vcpus: expected int, got str: '2'"),
        ({"mem_size": "2"}, "mem_size: expected int or None, got str: '2'"),
        ({"boot_info": [3]}, r"boot_info: expected str, got int at \[0\]: \[3\]"),
        ({"name": 3}, "name: expected str or None, got int: 3"),
        ({"engine": 3}, "engine: expected str or None, got int: 3"),
    ],
)
def test_a_value_of_another_type_is_told_with_its_name(said, told):
    with pytest.raises(TypeError, match=told):
        sp("adder", **said)


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ({"sps": "adder"}, TypeError, "sps: expected a list of partitions, got 'adder'"),
        ({"vms": Adder()}, TypeError, "vms: expected a list of partitions, got <Adder adder>"),
        ({"initialising": "adder"}, TypeError, "initialising: expected a list of names of SPs"),
        ({"pes": "2"}, TypeError, "pes: expected int or None, got str: '2'"),
        ({"seed": "2"}, TypeError, "seed: expected int or None, got str: '2'"),
        ({"spec": "a.toml"}, TypeError, r"not a SystemSpec: ffabric.testing.read_system\(\) makes"),
        ({"spec": sp("a")}, TypeError, "is not a SystemSpec"),
        ({"pes": 0}, ValueError, "pes: 0x0 is less than 0x1"),
        ({"sps": [sp("a", engine="unicron")]}, ValueError, r"\(did you mean 'unicorn'\?\)"),  # type: ignore[arg-type]
    ],
)
def test_a_keyword_of_boot_that_cannot_be_is_told_with_its_name(said, error, told):
    with pytest.raises(error, match=told):
        boot(**said)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda ffa: ffa.direct_request("ader"), LookupError, r"'ader' \(did you mean 'adder'\?\)"),
        (lambda ffa: ffa.direct_request(None), LookupError, "no partition of this system is None"),
        (lambda ffa: ffa.direct_request(0x1_0000), ValueError, "0x10000 is not an endpoint id"),
        (
            lambda ffa: ffa.direct_request(Adder, 1.5),
            ValueError,
            "x3 is of type float, no unsigned",
        ),
        (lambda ffa: ffa.direct_request(Adder, 0, -1), ValueError, "x4 is -0x1, no unsigned integ"),
        (
            lambda ffa: ffa.direct_request(Adder, 1 << 64),
            ValueError,
            "x3 is 0x10000000000000000, n",
        ),
        (lambda ffa: ffa.direct_request(Adder, bits=16), ValueError, "bits: 16: words of payload"),
        (lambda ffa: ffa.call(*range(19)), ValueError, "19 registers: a call has x0 to x17"),
        (
            lambda ffa: ffa.share(Adder, permissions="rw"),
            TypeError,
            "permissions: 'rw' is not an integ",
        ),
        (
            lambda ffa: ffa.share(Adder, ipa="x"),
            ValueError,
            "descriptor: address: 'x' is not an integer",
        ),
        (
            lambda ffa: ffa.share(Adder, pages=-1),
            ValueError,
            "pages: -0x1 is not an unsigned integer of",
        ),
        (
            lambda ffa: ffa.retrieve("x", Adder),
            ValueError,
            "descriptor: handle: 'x' is not an integer",
        ),
    ],
)
def test_an_argument_that_cannot_be_is_told_and_nothing_happens(ffabric, call, error, told):
    system = ffabric.boot(sps=[Adder()], vms=["client"])
    client = system.vm("client").ffa
    client.map_buffers()
    before = system.exits
    with pytest.raises(error, match=told):
        call(client)
    assert system.exits == before
    assert client.direct_request(Adder, 2, 3).payload[0] == 5


class Misspelt(Partition):
    manifest: ClassVar = {"notification_suport": True}


def test_a_misspelt_key_of_a_class_is_told():
    expected = r"misspelt.manifest has no key 'notification_suport' \(did you mean 'notification_su"
    with pytest.raises(ValueError, match=expected):
        boot(sps=[Misspelt()])


def test_a_trace_is_read_in_memory_and_in_a_file(ffabric, tmp_path):
    system = ffabric.boot(sps=[Adder()], vms=["client"])
    client = system.vm("client").ffa
    with Trace(system) as kept:
        client.direct_request(Adder, 2, 3)
    with Trace(system, tmp_path / "trace.jsonl") as written:
        client.direct_request(Adder, 2, 3)
        assert written.lines()[0]["kind"] == "header"
    client.id_get()
    for trace in (kept, written):
        calls = [line for line in trace.lines() if line["kind"] == "call"]
        assert len(calls) == 2
        assert "FFA_MSG_SEND_DIRECT_REQ_64: sender=0x0001 (client)" in trace.text()
    assert repr(kept) == "<Trace of system in memory>"


def test_a_run_is_made_again_by_its_choices():
    def order(**how):
        system = boot(sps=["sp"], vms=["red", "green"], pes=2, **how)
        with system:
            return system.exits, system.choices

    first = order(seed=4)
    assert order(replay=first[1]) == first
