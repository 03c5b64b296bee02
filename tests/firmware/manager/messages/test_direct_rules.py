"""Every rule of direct messages, broken and kept."""

from uuid import UUID

import pytest
from chain_sides import REQ, REQ2, RESP, RESP2, Link, boot, links

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.uuids import to_pair
from ffabric.system.description.python import sp, vm

REQ_32, RESP_32 = fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_RESP_32
SERVICE = UUID("5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11")
OTHER = UUID("aaaaaaaa-5f4b-4a8e-9a55-3f9c1f0a7b11")
FRAMEWORK = 1 << 31
REQUESTS = [REQ_32, REQ, REQ2]


@pytest.fixture
def chain(ffabric):
    """A VM and two SPs."""
    return links(ffabric, [sp("a", uuid=SERVICE), "b"], ["v"])


@pytest.fixture(params=["vm", "sp"])
def pair(request, chain):
    """Who asks and who is asked: a VM an SP, or an SP another."""
    v, a, b = chain
    if request.param == "vm":
        return v, a
    v.ask(b)
    return b, a


@pytest.mark.parametrize("function", REQUESTS)
def test_the_sender_is_the_caller(ffabric, pair, function):
    one, two = pair
    for sender in (two.id, 0, 0xFFFF, one.id ^ 0x10):
        with ffabric.refuses("direct.req.sender"):
            one.must(function, sender << 16 | two.id)
    one.ask(two, function=function)


@pytest.mark.parametrize("function", REQUESTS)
def test_nobody_asks_itself(ffabric, pair, function):
    one, _ = pair
    with ffabric.refuses("direct.req.self"):
        one.must(function, one.id << 16 | one.id)


@pytest.mark.parametrize("function", REQUESTS)
def test_the_receiver_is_known(ffabric, chain, function):
    v, a, _ = chain
    with ffabric.refuses("direct.req.receiver"):
        v.must(function, v.id << 16 | 0x7ABC)
    with ffabric.refuses("direct.req.to_normal_world"):
        v.must(function, v.id << 16 | 0x8ABC)
    v.ask(a)
    for receiver in (0x8ABC, v.id, 0, 0xFFFF):
        with ffabric.refuses("direct.req.to_normal_world"):
            a.must(function, a.id << 16 | receiver)


@pytest.mark.parametrize("function", [REQ_32, REQ])
@pytest.mark.parametrize("flags", [1, 1 << 7, 1 << 30])
def test_the_flags_are_zero(ffabric, pair, function, flags):
    one, two = pair
    with ffabric.refuses("direct.req.flags_mbz"):
        one.must(function, one.id << 16 | two.id, flags)
    one.ask(two, function=function)


@pytest.mark.parametrize("function", [REQ_32, REQ])
def test_only_partition_managers_send_framework_messages(ffabric, pair, function):
    one, two = pair
    with ffabric.refuses("direct.req.framework_sender"):
        one.must(function, one.id << 16 | two.id, FRAMEWORK)


@pytest.mark.parametrize(("function", "bits"), [(REQ_32, 0b010), (REQ, 0b010), (REQ2, 0b10 << 9)])
def test_the_sender_has_the_property(ffabric, function, bits):
    # bits: those of a manifest's messaging-method that let a partition send
    everything = 0x607
    mute, able = everything & ~bits, everything
    for sender in ("vm", "sp"):
        who = {"vm": [vm("v", messaging_method=mute)], "sp": [vm("v", messaging_method=able)]}
        sps = [sp("a"), sp("b", messaging_method=mute if sender == "sp" else able)]
        v, a, b = links(ffabric, sps, who[sender])
        if sender == "sp":
            v.ask(b)
        one = v if sender == "vm" else b
        with ffabric.refuses("direct.req.sender_property"):
            one.must(function, one.id << 16 | a.id)


@pytest.mark.parametrize(("function", "bits"), [(REQ_32, 0b001), (REQ, 0b001), (REQ2, 0b01 << 9)])
def test_the_receiver_has_the_property(ffabric, function, bits):
    v, a = links(ffabric, [sp("a", messaging_method=0x607 & ~bits)], ["v"])
    with ffabric.refuses("direct.req.receiver_property"):
        v.must(function, v.id << 16 | a.id)


def test_a_service_is_one_of_the_receivers(ffabric, pair):
    one, two = pair
    ids = one.id << 16 | two.id
    with ffabric.refuses("direct.req2.uuid"):
        one.must(REQ2, ids, *to_pair(OTHER))
    one.leave(REQ2, ids, *to_pair(SERVICE), *range(100, 114))
    assert two.x == [REQ2, ids, *to_pair(SERVICE), *range(100, 114)]
    two.answer(one, *range(200, 214), function=RESP2)
    assert one.x == [RESP2, two.id << 16 | one.id, 0, 0, *range(200, 214)]


def test_the_receiver_has_a_context_for_the_pe(ffabric):
    session = boot(ffabric, [], [vm("v", vcpus=2), vm("w", vcpus=2), vm("x", vcpus=3)], pes=3)
    one = Link(session, "x", 2)
    first = Link(session, "x")
    first.call(psci.CPU_ON_64, session.system.machine.pes[2].mpidr, 0x4000_0000, 0)
    session.run()
    with ffabric.refuses("direct.req.no_context"):
        one.must(REQ, one.id << 16 | Link(session, "w").id)


# Responses


@pytest.mark.parametrize("function", REQUESTS)
def test_a_response_goes_back_to_the_sender(ffabric, pair, function):
    one, two = pair
    one.ask(two, function=function)
    kind = RESP2 if function == REQ2 else RESP
    for ids in (
        one.id << 16 | two.id,
        one.id << 16 | one.id,
        two.id << 16 | two.id,
        two.id << 16 | 0x8002 ^ one.id,
        0,
    ):
        with ffabric.refuses("direct.resp.ids"):
            two.must(kind, ids)
    two.answer(one, function=kind)


@pytest.mark.parametrize(
    ("asked", "wrong", "right"),
    [
        (REQ_32, [RESP2], [RESP_32, RESP]),
        (REQ, [RESP2], [RESP_32, RESP]),
        (REQ2, [RESP_32, RESP], [RESP2]),
    ],
)
def test_a_response_is_of_the_requests_kind(ffabric, pair, asked, wrong, right):
    one, two = pair
    for kind in right:
        one.ask(two, function=asked)
        for other in wrong:
            with ffabric.refuses("direct.resp.kind"):
                two.must(other, two.id << 16 | one.id)
        two.answer(one, function=kind)


@pytest.mark.parametrize("flags", [1, 1 << 30, 0xFFFF])
def test_the_flags_of_a_response_are_zero(ffabric, pair, flags):
    one, two = pair
    one.ask(two)
    with ffabric.refuses("direct.resp.flags_mbz"):
        two.must(RESP, two.id << 16 | one.id, flags)
    two.answer(one)


def test_an_ordinary_request_has_no_framework_response(ffabric, pair):
    one, two = pair
    one.ask(two)
    with ffabric.refuses("direct.resp.framework"):
        two.must(RESP, two.id << 16 | one.id, FRAMEWORK | 1)
    two.answer(one)


CREATED, CREATED_ACK, DESTROYED, DESTROYED_ACK = (FRAMEWORK | each for each in (4, 5, 6, 7))


@pytest.fixture
def told(ffabric):
    """A kernel, and an SP that wants to hear of VMs."""
    # a kernel is the partition manager of the normal world: it may send framework messages
    return links(ffabric, [sp("a", vm_availability_messages=3)], ["k"], hypervisor=False)


@pytest.mark.parametrize(("sent", "answer"), [(CREATED, CREATED_ACK), (DESTROYED, DESTROYED_ACK)])
def test_a_framework_message_has_one(ffabric, told, sent, answer):
    k, a = told
    k.leave(REQ, a.id, sent)
    assert a.x[:3] == [REQ, a.id, sent]
    with ffabric.refuses("direct.resp.flags_mbz"):
        a.must(RESP, a.id << 16, 1)
    for other in (0, sent, FRAMEWORK | 2):
        with ffabric.refuses("direct.resp.framework_message"):
            a.must(RESP, a.id << 16, other)
    a.leave(RESP, a.id << 16, answer, 5)
    assert k.x[:4] == [RESP, a.id << 16, answer, 5]


def test_the_request_after_a_framework_message_has_an_ordinary_response(ffabric, told):
    k, a = told
    k.leave(REQ, a.id, CREATED)
    a.leave(RESP, a.id << 16, CREATED_ACK)
    k.leave(REQ, a.id)
    with ffabric.refuses("direct.resp.framework"):
        a.must(RESP, a.id << 16, CREATED_ACK)
    a.leave(RESP, a.id << 16)


def test_a_framework_message_is_not_answered_with_a_resp2(ffabric, told):
    k, a = told
    k.leave(REQ, a.id, CREATED)
    with ffabric.refuses("direct.resp.kind"):
        a.must(RESP2, a.id << 16)


@pytest.mark.parametrize("flags", [FRAMEWORK | each for each in (0, 1, 2, 3, 5, 8, 12, 0xFF)])
def test_the_normal_world_tells_of_vms_alone(ffabric, told, flags):
    k, a = told
    with ffabric.refuses("direct.req.framework_message"):
        k.must(REQ, a.id, flags)


@pytest.mark.parametrize(("subscription", "heard", "unheard"), [(1, 4, 6), (2, 6, 4)])
def test_those_hear_of_vms_who_subscribed(ffabric, subscription, heard, unheard):
    listener = sp("a", vm_availability_messages=subscription)
    k, a = links(ffabric, [listener], ["k"], hypervisor=False)
    with ffabric.refuses("direct.req.framework_message"):
        k.must(REQ, a.id, FRAMEWORK | unheard)
    k.leave(REQ, a.id, FRAMEWORK | heard)
    assert a.has_control


def test_what_is_not_in_the_registers_of_the_call_does_not_pass(pair):
    one, two = pair
    noise = 0xDEAD_BEEF << 32
    ids = one.id << 16 | two.id
    one.leave(noise | REQ_32, noise | ids, noise, noise | 1, noise | 2, noise | 3)
    assert two.x[:8] == [REQ_32, ids, 0, 1, 2, 3, 0, 0]
    back = two.id << 16 | one.id
    two.leave(noise | RESP_32, noise | back, noise, noise | 4)
    assert one.x[:8] == [RESP_32, back, 0, 4, 0, 0, 0, 0]
    one.leave(noise | REQ, noise | ids, 0, noise | 1)
    assert two.x[:4] == [REQ, ids, 0, noise | 1]
    two.leave(noise | RESP, noise | back, 0, noise | 5)
    assert one.x[:4] == [RESP, back, 0, noise | 5]
