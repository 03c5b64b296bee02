"""What each personality does otherwise than the specification, and single rules that are waived."""

from typing import Any

import pytest
from chain_sides import links
from memory_sides import NORMAL, World

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.features import NOTIFICATION
from ffabric.abi.ffa.functions import FUNCTIONS, Instance
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2
from ffabric.abi.words import PAGE
from ffabric.firmware.catalogue import RULES
from ffabric.firmware.hypervisor.calls import SCHEDULER_CALLS, VM_CALLS
from ffabric.firmware.spmc.calls import NORMAL_WORLD_CALLS, SECURE_CALLS
from ffabric.firmware.state.context import State
from ffabric.firmware.state.interface.call_table import WIDE_FORMS
from ffabric.firmware.state.interface.conventions import HYPERVISOR, SPMC, Conventions
from ffabric.firmware.state.interface.switches import PERSONALITIES, SWITCHES, switches
from ffabric.guests.errors import FfaError, status_of
from ffabric.machine.translation.descriptors import S2AP_W, XN
from ffabric.system.description.python import sp, vm

MIXED = [f"mem.{kind}.mixed_attributes" for kind in ("donate", "lend", "share")]
AT: dict[Instance, list[tuple[str, Any]]] = {
    Instance.S_VIRTUAL: [(SPMC, SECURE_CALLS)],
    Instance.NS_PHYSICAL: [(SPMC, NORMAL_WORLD_CALLS)],
    Instance.NS_VIRTUAL: [(HYPERVISOR, VM_CALLS), (HYPERVISOR, SCHEDULER_CALLS)],
}


def different(world, bits):
    """Two pages of `a` that differ in their descriptors."""
    ipa = world.a.pages(2)
    world.a.handle.endpoint.partition.stage2.update_all([(ipa + PAGE, 1)], bits, XN & bits)
    return [(ipa, 1), (ipa + PAGE, 1)]


@pytest.mark.parametrize("systems", ["sp-sp", "vm-sp", "vm-vm"])
def test_the_specification_wants_ranges_with_the_same_permissions(ffabric, systems):
    world = World(ffabric, systems)
    with ffabric.refuses("mem.lend.mixed_attributes"):
        world.a.give("lend", [world.b], different(world, XN))


@pytest.mark.parametrize("kind", ["donate", "lend", "share"])
@pytest.mark.parametrize("systems", ["sp-sp", "vm-sp", "vm-vm"])
def test_hafnium_accepts_ranges_that_differ_in_their_permissions(ffabric, systems, kind):
    world = World(ffabric, systems, personality="hafnium")
    ranges = different(world, XN)
    handle = world.a.give(kind, [world.b], ranges)
    assert world.session.waived == {f"mem.{kind}.mixed_attributes": 1}
    rights = 0x2 if kind == "share" else 0x6
    world.b.retrieve(handle, world.a, rights=rights)
    if kind != "donate":
        world.b.relinquish(handle)
        before = [world.a.descriptor(ipa) & XN for ipa, _ in ranges]
        world.a.reclaim(handle)
        assert [world.a.descriptor(ipa) & XN for ipa, _ in ranges] == before == [0, XN]


def test_who_gets_ranges_of_different_access_has_the_access_to_all(ffabric):
    world = World(ffabric, "sp-sp", waive=MIXED)
    ranges = different(world, S2AP_W)
    with pytest.raises(FfaError) as refused:
        world.a.give("lend", [world.b], ranges)
    assert refused.value.status is Status.DENIED
    assert world.session.refusals["mem.lend.permission"] == 1
    handle = world.a.give("lend", [world.b], ranges, rights=1)
    with ffabric.refuses("mem.retrieve.data_access"):
        world.b.retrieve(handle, world.a, rights=0x6)
    world.b.retrieve(handle, world.a, rights=0x5)
    assert not any(world.b.reaches(ipa, write=True) for ipa, _ in ranges)


@pytest.mark.parametrize("kind", ["donate", "lend", "share"])
def test_memory_of_two_kinds_is_no_matter_of_permissions(ffabric, kind):
    world = World(ffabric, "sp-sp", waive=MIXED)
    table = world.a.handle.endpoint.partition.stage2
    ranges = different(world, 0)
    attrs = table.runs(ranges[1][0], 1)[0][3]
    table.map(ranges[1][0], ranges[1][0], 1, attrs & ~0b1111_00)
    with ffabric.refuses(f"mem.{kind}.mixed_memory"):
        world.a.give(kind, [world.b], ranges)


@pytest.mark.parametrize(
    ("personality", "status"),
    [("spec", Status.INVALID_PARAMETERS), ("hafnium", Status.DENIED)],
)
def test_hafnium_denies_buffers_that_are_not_the_normal_worlds(ffabric, personality, status):
    system = ffabric.boot(sps=["s"], vms=[vm("k", el=2)], hypervisor=False, personality=personality)
    kernel = system.vm("k")
    kernel.ffa.map_buffers()
    own = kernel.ram.allocate(2)
    kernel.memory.write(
        kernel.ffa.tx,
        build_endpoint_buffers(EndpointBuffers(5, [(own, 1)], [(kernel.ffa.tx, 1)])),
    )
    with ffabric.refuses("rxtx.map.vm_memory"):
        x = kernel.ffa.call(fid.FFA_RXTX_MAP_64)
    assert status_of(x[2]) is status


def patched(at):
    """What sets a byte of a descriptor."""

    def patch(data):
        data[at] = 1

    return patch


@pytest.mark.parametrize(
    ("personality", "version", "refused"),
    [
        ("spec", "1.0", True),
        ("spec", "1.2", False),
        ("hafnium", "1.0", True),
        ("hafnium", "1.2", True),
    ],
)
def test_reserved_bytes_in_the_headers_are_refused_by_hafnium(
    ffabric, personality, version, refused
):
    world = World(ffabric, "vm-vm", ffa_version=version, personality=personality)
    sent = world.a.describe("share", [world.b], [(world.a.pages(), 1)])
    patch = patched(25 if version == "1.0" else 40)
    if refused:
        with ffabric.refuses(f"mem.share.reserved_{'bytes' if version == '1.0' else 'sbz'}"):
            world.a.send("share", sent, patch=patch)
    else:
        world.a.reclaim(world.a.send("share", sent, patch=patch))
    last = patched(-1)
    if (personality, version) == ("spec", "1.0"):
        with ffabric.refuses("mem.share.reserved_ranges"):
            world.a.send("share", sent, patch=last)
    else:
        world.a.reclaim(world.a.send("share", sent, patch=last))


@pytest.mark.parametrize(
    ("personality", "skipped"),
    [("spec", False), ("hafnium", False), ("tf-a-el3", True), ("optee-spmc", True)],
)
def test_reserved_bytes_are_skipped_where_the_implementation_does_so(ffabric, personality, skipped):
    world = World(ffabric, "sp-sp", ffa_version="1.0", personality=personality)
    sent = world.a.describe("share", [world.b], [(world.a.pages(), 1)])
    if skipped:
        world.a.reclaim(world.a.send("share", sent, patch=patched(25)))
    else:
        with ffabric.refuses("mem.share.reserved_bytes"):
            world.a.send("share", sent, patch=patched(25))


@pytest.mark.parametrize(
    ("personality", "status"),
    [("spec", Status.DENIED), ("tf-a-el3", Status.INVALID_PARAMETERS)],
)
def test_memory_errors_of_tf_a_are_invalid_parameters(ffabric, personality, status):
    world = World(ffabric, "kernel-sp", personality=personality)
    a, b, c = world.a, world.b, world.c
    page = a.pages()
    handle = a.give("share", [b], [(page, 1)])

    def refused(rule, call):
        with ffabric.refuses(rule), pytest.raises(FfaError) as error:
            call()
        assert error.value.status is status

    for kind in "share", "lend":
        refused(f"mem.{kind}.not_owned", lambda kind=kind: a.give(kind, [b], [(page, 1)]))
    refused("mem.retrieve.sender", lambda: b.retrieve(handle, c))
    wanted = b.request(handle, a)
    wanted.receivers[0].endpoint = c.id
    several = a.give("share", [b, c], [(a.pages(), 1)])
    refused("mem.retrieve.other_borrower", lambda: b.retrieve(several, a, others=[0x8FFE]))
    b.retrieve(several, a, others=[c])


@pytest.mark.parametrize("personality", ["spec", "tf-a-el3"])
def test_tf_a_passes_any_uuid_of_a_request_on(ffabric, personality):
    k, a = links(ffabric, ["a"], ["k"], hypervisor=False, personality=personality)
    request = (fid.FFA_MSG_SEND_DIRECT_REQ2, k.id << 16 | a.id, 1, 2)
    if personality == "spec":
        with ffabric.refuses("direct.req2.uuid"):
            k.call(*request)
    else:
        k.leave(*request)
        assert a.x[2:4] == [1, 2]


KEEPS_UNSEEN = [("spec", False), ("hafnium", True)]


@pytest.mark.parametrize(("personality", "keeps"), KEEPS_UNSEEN)
def test_hafnium_keeps_a_message_whose_receiver_has_not_seen_it(ffabric, personality, keeps):
    system = ffabric.boot(sps=["a", "b"], personality=personality)
    a, b = system.sp("a").ffa, system.sp("b").ffa
    a.map_buffers()
    b.map_buffers()
    a.send2("b", b"first", delay_sri=True)
    if keeps:
        with ffabric.refuses("rx.release.unseen"):
            b.rx_release()
        b.notification_get()
    b.rx_release()
    with ffabric.refuses("rx.release.empty"):
        b.rx_release()


@pytest.mark.parametrize(("personality", "keeps"), KEEPS_UNSEEN)
def test_a_message_survives_a_wait_before_it_is_seen(ffabric, personality, keeps):
    system = ffabric.boot(sps=["a", "b"], vms=["v"], personality=personality)
    a, b = system.sp("a").ffa, system.sp("b").ffa
    for each in (a, b):
        each.map_buffers()
    a.send2("b", b"first", delay_sri=True)
    partition = system.sp("b").endpoint.partition
    assert partition.mailbox.full
    b.call(fid.FFA_MSG_WAIT)
    assert partition.mailbox.full is keeps


def asked(ffabric, personality):
    """A kernel that has made a request to an SP."""
    k, a = links(ffabric, ["a"], ["k"], hypervisor=False, personality=personality)
    k.ask(a)
    return k, a


@pytest.mark.parametrize("personality", ["tf-a-el3", "optee-spmc"])
@pytest.mark.parametrize("status", [Status.INVALID_PARAMETERS, Status.DENIED, Status.BUSY])
def test_an_sp_answers_with_an_error_where_that_is_passed_on(ffabric, personality, status):
    k, a = asked(ffabric, personality)
    a.leave(fid.FFA_ERROR, 0, status.register)
    assert k.x[:8] == [fid.FFA_ERROR, 0, status.register, 0, 0, 0, 0, 0]
    k.ask(a)
    a.answer(k)


@pytest.mark.parametrize(
    ("personality", "register"),
    [
        ("spec", Status.DENIED.register),
        ("hafnium", Status.DENIED.register),
        ("tf-a-el3", Status.ABORTED.register),
        ("tf-a-el3", 7),
        ("tf-a-el3", 0),
    ],
)
def test_elsewhere_and_with_no_such_status_it_gives_up(ffabric, personality, register):
    k, a = asked(ffabric, personality)
    a.leave(fid.FFA_ERROR, 0, register)
    assert k.x[:3] == [fid.FFA_ERROR, 0, Status.ABORTED.register]
    assert a.state is State.ABORTED


def test_an_error_for_one_that_is_dead_ends_what_the_scheduler_lent(ffabric):
    k, a, b = links(ffabric, ["a", "b"], ["k"], hypervisor=False, personality="optee-spmc")
    k.ask(a)
    a.ask(b)
    b.leave(fid.FFA_YIELD)
    a.leave(fid.FFA_ERROR, 0, Status.ABORTED.register)
    assert a.state is State.ABORTED
    k.leave(fid.FFA_RUN, b.word)
    b.leave(fid.FFA_ERROR, 0, Status.DENIED.register)
    assert k.x[:8] == [fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0]
    assert b.state is State.WAITING


def test_one_that_nobody_asked_gives_up_anywhere(ffabric):
    k, a = links(ffabric, ["a"], ["k"], hypervisor=False, personality="tf-a-el3")
    k.leave(fid.FFA_RUN, a.word)
    a.leave(fid.FFA_ERROR, 0, Status.DENIED.register)
    assert a.state is State.ABORTED


@pytest.mark.parametrize("personality", ["spec", "hafnium", "tf-a-el3"])
def test_without_buffers_hafnium_is_busy(ffabric, personality):
    system = ffabric.boot(sps=["s"], vms=["k"], hypervisor=False, personality=personality)
    kernel = system.vm("k").ffa
    with ffabric.refuses("rx.no_buffers"):
        x = kernel.call(fid.FFA_PARTITION_INFO_GET)
    assert status_of(x[2]) is (Status.DENIED if personality == "spec" else Status.BUSY)


def test_hafnium_answers_newer_calls_of_an_old_partition(ffabric):
    for personality, answered in (("spec", False), ("hafnium", True)):
        system = ffabric.boot(
            sps=[sp("s", ffa_version="1.1", messaging_method=7), "t"], personality=personality
        )
        old = system.sp("s").ffa
        old.negotiate(V1_1)
        if answered:
            assert [each.id for each in old.partition_info_regs()][:2] == [0x8001, 0x8002]
        else:
            with ffabric.refuses("abi.newer_than_negotiated"):
                old.partition_info_regs()


def test_hafnium_agrees_on_no_newer_version(ffabric):
    for personality in ("spec", "hafnium"):
        system = ffabric.boot(
            ffa_version="1.1",
            vms=[vm("v", ffa_version="1.0", messaging_method=7)],
            personality=personality,
        )
        ffa, partition = system.vm("v").ffa, system.vm("v").endpoint.partition
        if personality == "spec":
            assert ffa.call(fid.FFA_VERSION, V1_2)[0] == V1_1
            assert partition.version == V1_1
        else:
            with ffabric.refuses("version.newer"):
                answer = ffa.call(fid.FFA_VERSION, V1_2)
            assert status_of(answer[0]) is Status.NOT_SUPPORTED
            assert partition.version == V1_0
        assert ffa.call(fid.FFA_VERSION, V1_1)[0] == V1_1


def test_hafnium_tells_everybody_of_the_hypervisors_retrieve(ffabric):
    for personality, told in (("spec", 2), ("hafnium", 6)):
        system = ffabric.boot(sps=["s"], vms=["v"], personality=personality)
        for ffa in (system.sp("s").ffa, system.vm("v").ffa):
            assert ffa.features(fid.FFA_MEM_RETRIEVE_REQ_64, 2)[0] == told


def test_hafnium_tells_of_no_notifications_of_vcpus(ffabric):
    for personality, told in (("spec", 0), ("hafnium", 3)):
        system = ffabric.boot(
            sps=[sp("s", ffa_version="1.3")],
            vms=[vm("v", ffa_version="1.3")],
            personality=personality,
        )
        for ffa in (system.sp("s").ffa, system.vm("v").ffa):
            assert ffa.features(NOTIFICATION)[0] == told


WITHHELD = [
    pytest.param(each, personality, instance, id=f"{personality}-{instance.name}")
    for each in SWITCHES
    for personality in each.of
    for instance in AT
    if instance in each.instances and each.withholds
]


@pytest.mark.parametrize(("switch", "personality", "instance"), WITHHELD)
def test_what_a_personality_does_not_serve_is_not_supported(switch, personality, instance):
    for manager, table in AT[instance]:
        conventions = Conventions(switches((personality,), manager))
        offered = conventions.offered(table)
        names = switch.withholds | {w for w, n in WIDE_FORMS.items() if n in switch.withholds}
        withheld = table.handlers.keys() & names if manager in switch.at else frozenset()
        assert offered.handlers.keys() == table.handlers.keys() - withheld
        if manager in switch.at and switch.instances != tuple(Instance):
            assert withheld


def test_a_vm_under_pkvm_borrows_nothing(ffabric):
    system = ffabric.boot(sps=["s"], vms=["v"], personality="pkvm")
    client = system.vm("v").ffa
    for function in (fid.FFA_MEM_RETRIEVE_REQ_64, fid.FFA_CONSOLE_LOG_64):
        assert client.call(function)[0] == fid.FFA_ERROR
        with ffabric.refuses("features.function"):
            client.features(function)
    client.features(fid.FFA_MEM_SHARE_64)


@pytest.mark.parametrize("personality", ["optee-spmc", "xen", "pkvm", "tf-a-el3"])
def test_vms_share_memory_with_sps_under_any_personality(ffabric, personality):
    world = World(ffabric, "vm-sp", personality=personality)
    handle = world.a.give("share", [world.b], [(world.a.pages(), 1)])
    world.b.retrieve(handle, world.a)
    world.b.relinquish(handle)
    world.a.reclaim(handle)


def test_linux_lends_to_several_without_attributes(ffabric):
    for personality in ("spec", "linux-host"):
        world = World(ffabric, "vm-sp", personality=personality)
        ranges = [(world.a.pages(), 1)]
        lend = world.a.describe("lend", [world.b, world.c], ranges, attributes=0)
        if personality == "spec":
            with ffabric.refuses("mem.lend.attributes_missing"):
                world.a.send("lend", lend)
            continue
        handle = world.a.send("lend", lend)
        response = world.b.retrieve(handle, world.a, others=[world.c])
        assert response.attributes & NORMAL == NORMAL


def test_linux_unmaps_its_buffers_by_its_own_id(ffabric):
    for personality in ("spec", "linux-host"):
        system = ffabric.boot(sps=["s"], vms=["v"], personality=personality)
        client = system.vm("v").ffa
        client.map_buffers()
        x = client.call(fid.FFA_RXTX_UNMAP, system.vm("v").id << 16)
        assert (x[0] == fid.FFA_ERROR) is (personality == "spec")
        assert system.waived == ({} if personality == "spec" else {"rxtx.unmap.id": 1})


def test_personalities_add_up(ffabric):
    system = ffabric.boot(sps=["s"], vms=["v"], personality=["hafnium", "linux-host"])
    spmc, hypervisor = system.system.firmware.managers
    assert "mem.share.mixed_attributes" in spmc.conventions.waived
    assert "rxtx.unmap.id" in hypervisor.conventions.waived
    assert "rxtx.unmap.id" not in spmc.conventions.waived


def test_what_is_enforced_is_not_waived(ffabric):
    world = World(ffabric, "vm-sp", personality="hafnium", waive=["version.late"])
    world.a.ffa.negotiate(V1_1)
    assert world.session.waived == {"version.late": 1}


@pytest.mark.parametrize("switch", SWITCHES, ids=[each.name for each in SWITCHES])
def test_each_row_does_something_to_rules_and_calls_that_there_are(switch):
    assert switch.of
    assert set(switch.of) < set(PERSONALITIES)
    assert all(RULES[rule_id].waivable for rule_id in switch.waives)
    assert all(RULES[rule_id].optional for rule_id in switch.enforces)
    assert all(rule_id in RULES for rule_id in switch.statuses)
    assert (switch.withholds | switch.older | switch.answers) <= set(FUNCTIONS)
    effects = (switch.waives, switch.enforces, switch.statuses, switch.features)
    assert any((*effects, switch.withholds, switch.older, switch.answers))
    path, _, name = switch.test.partition("::")
    assert path.endswith("test_personalities.py")
    assert callable(globals()[name])


def test_every_personality_differs_in_something():
    assert {name for each in SWITCHES for name in each.of} == PERSONALITIES.keys() - {"spec"}
    assert not switches(("spec",), SPMC)
