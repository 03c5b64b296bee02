"""Other IDs of partitions (auxiliary-id, stream-endpoint-ids): memory for them, and discovery."""

from contextlib import suppress

import pytest
from memory_sides import NX, RW, World

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.version import V1_0, V1_1
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import AbortAction

AUXILIARY, STREAM, OF_A, OF_A_VM = 0x80AE, 0x9001, 0x80AF, 0x5AE


class Named:
    """What a test calls a partition by another ID."""

    def __init__(self, number):
        self.id = number


def world_of(ffabric, kind):
    """A system whose `b` has two other IDs, and whose `a` has one."""
    b = sp("b", auxiliary_id=AUXILIARY, stream_endpoint_ids=(STREAM,))
    if kind == "vm-sp":
        return World(ffabric, kind, sps=[b, "c"], vms=[vm("a", auxiliary_id=OF_A_VM)])
    a = sp("a", mem_size=8 << 20, auxiliary_id=OF_A)
    return World(ffabric, kind, sps=[a, b, "c"])


@pytest.fixture(params=["vm-sp", "sp-sp"])
def named(request, ffabric):
    """Such a system, with a VM or an SP as the owner of memory."""
    return world_of(ffabric, request.param)


@pytest.mark.parametrize("number", [AUXILIARY, STREAM])
@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
def test_memory_for_another_id_is_its_partitions(named, kind, number):
    a, b = named.a, named.b
    at = a.pages()
    handle = a.give(kind, [Named(number)], [(at, 1)])
    rights = {"share": RW, "lend": RW | NX, "donate": NX}[kind]
    response = b.retrieve(handle, a, rights=rights)
    assert [each.endpoint for each in response.receivers] == [b.id]
    assert b.reaches(response.constituents[0][0])
    if kind != "donate":
        b.relinquish(handle, endpoints=[number])
        a.reclaim(handle)
        assert a.reaches(at)


def test_a_borrower_and_a_sender_may_call_themselves_so(named):
    a, b = named.a, named.b
    own = OF_A if named.kind == "sp-sp" else OF_A_VM
    handle = a.give("share", [b], [(a.pages(), 1)], sender=own)
    request = b.request(handle, a)
    request.receivers[0].endpoint = AUXILIARY
    if named.kind == "sp-sp":
        request.sender = own
    b.take(request)
    b.relinquish(handle)
    a.reclaim(handle)


def test_nobody_is_named_twice(ffabric, named):
    a, b = named.a, named.b
    with ffabric.refuses("mem.share.receiver_twice"):
        a.give("share", [b, Named(AUXILIARY)], [(a.pages(), 1)])


def test_another_partition_does_not_borrow_in_that_name(ffabric, named):
    a, c = named.a, named.c
    handle = a.give("share", [Named(AUXILIARY)], [(a.pages(), 1)])
    request = c.request(handle, a)
    request.receivers[0].endpoint = AUXILIARY
    with ffabric.refuses("mem.retrieve.borrower"):
        c.take(request)
    with ffabric.refuses("mem.relinquish.endpoints"):
        c.relinquish(handle, endpoints=[AUXILIARY])


def test_it_is_no_endpoint_of_messages(ffabric, named):
    with ffabric.refuses("direct.req.to_normal_world"):  # the rule of what is no SP
        named.a.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, named.a.id << 16 | AUXILIARY)


def test_discovery_tells_of_them(named):
    found = {each.id: each for each in named.a.ffa.partition_info()}
    auxiliary, stream = found[AUXILIARY], found[STREAM]
    assert info.Properties(auxiliary.properties).ID_TYPE == info.IdType.AUXILIARY
    assert info.Properties(stream.properties).ID_TYPE == info.IdType.DEPENDENT_DEVICE
    assert (auxiliary.contexts, stream.contexts) == (0, named.b.id)
    in_registers = {each.id for each in named.a.ffa.partition_info_regs()}
    assert {AUXILIARY, STREAM} <= in_registers


def test_callers_of_v1_0_do_not_hear_of_them(ffabric):
    for version, told in (("1.0", False), ("1.1", True)):
        old = sp("old", ffa_version=version, messaging_method=3)
        system = ffabric.boot(sps=[sp("b", auxiliary_id=AUXILIARY), old])
        ffa = system.sp("old").ffa
        ffa.negotiate(V1_1 if told else V1_0)
        ffa.map_buffers()
        assert (AUXILIARY in [each.id for each in ffa.partition_info()]) is told


def test_nobody_hears_of_one_whose_partition_is_destroyed(ffabric):
    dying = sp(
        "b",
        ffa_version="1.3",
        auxiliary_id=AUXILIARY,
        lifecycle_support=True,
        abort_action=AbortAction.DESTROY,
    )
    system = ffabric.boot(sps=["a", dying], stop_on_crash=False)
    a, b = system.sp("a").ffa, system.sp("b").ffa
    assert AUXILIARY in [each.id for each in a.partition_info()]
    with suppress(Blocked):
        b.call(fid.FFA_ABORT_32)
    assert AUXILIARY not in [each.id for each in a.partition_info()]
    assert not system.system.firmware.spmc.aliases


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (0xAE, "0xae is an ID of the other world"),
        (0x8000, "0x8000 is the id of the SPMC"),
        (0x8002, "0x8002 is the id of other"),
    ],
)
def test_an_id_that_cannot_be_used_is_warned_of(ffabric, number, why):
    system = ffabric.boot(sps=[sp("b", auxiliary_id=number), "other"])
    assert any(f"auxiliary-id: ignored: {why}" in str(each) for each in system.system.spec.warnings)
    assert not system.system.firmware.spmc.aliases
