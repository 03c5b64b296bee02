from uuid import UUID

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa import uuids
from ffabric.abi.ffa.flags import COUNT_ONLY
from ffabric.abi.ffa.partition_info import PartitionInfo
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.firmware.manager.setup import discovery
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp as described_sp
from ffabric.system.description.python import vm as described_vm

ONE = UUID("11111111-2222-3333-4444-555555555555")
TWO = UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
MORE = UUID("01020304-0506-0708-090a-0b0c0d0e0f10")
SP_PROPERTIES = 0x70F
SP_SEEN_BY_VM = SP_PROPERTIES & ~(info.DIRECT_REQ_SEND | info.DIRECT_REQ2_SEND)


def get(bench, who, uuid=uuids.NIL, flags=0):
    """The descriptors that FFA_PARTITION_INFO_GET writes, and their size."""
    if who.mailbox is None:
        bench.give_mailbox(who)
    answer = bench.ok(who, fid.FFA_PARTITION_INFO_GET, *uuids.to_words(uuid), flags)
    count, size = answer[2:4]
    stride = size or 8
    data = who.mailbox.rx.snapshot(who.mailbox.rx.size)
    assert who.mailbox.full
    assert not any(data[count * stride :])
    bench.ok(who, fid.FFA_RX_RELEASE)
    return info.parse_partition_info(data, count, stride), size


def regs(bench, who, uuid=uuids.NIL, start=0):
    x = bench.ok(who, fid.FFA_PARTITION_INFO_GET_REGS, *uuids.to_pair(uuid), start)
    return info.parse_registers(x, start)


def test_a_partition_sees_all_partitions_by_id_and_itself(bench, other, sp):
    found, size = get(bench, sp)
    assert size == 24
    assert [(each.id, each.contexts, each.properties, each.uuid) for each in found] == [
        (0x8001, 2, SP_PROPERTIES, ONE),
        (0x8002, 2, SP_PROPERTIES, TWO),
    ]


@pytest.mark.parametrize(("version", "size"), [(V1_0, 0), (V1_1, 24), (V1_2, 24), (V1_3, 48)])
def test_descriptors_are_in_the_layout_of_the_caller(bench, sp, version, size):
    sp.allow(sp.calls, version)
    (found,), told = get(bench, sp)
    assert told == size
    assert found.properties == SP_PROPERTIES & info.Properties.defined(version)
    assert found.uuid == (uuids.NIL if version == V1_0 else ONE)
    assert found.ffa_version == (V1_3 if version == V1_3 else 0)


def test_a_named_uuid_selects_and_is_not_repeated(bench, sp, other):
    (found,), _ = get(bench, sp, TWO)
    assert (found.id, found.uuid) == (0x8002, uuids.NIL)


def test_a_count_needs_no_buffers(bench, sp, other):
    answer = bench.ok(sp, fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, COUNT_ONLY)
    assert answer[2:8] == [2, 0, 0, 0, 0, 0]


def test_several_uuids_are_several_descriptors_since_v1_2(bench):
    sp = bench.add(0x8001, uuids=[ONE, MORE])
    for version, count in [(V1_0, 1), (V1_1, 1), (V1_2, 2), (V1_3, 2)]:
        sp.allow(sp.calls, version)
        found, _ = get(bench, sp)
        assert [each.id for each in found] == [0x8001] * count
    assert [each.uuid for each in found] == [ONE, MORE]
    sp.allow(sp.calls, V1_1)
    assert get(bench, sp)[0][0].uuid == ONE
    assert len(get(bench, sp, MORE)[0]) == 1


def test_a_partition_without_uuid_is_found_by_nil_only(bench):
    vm = bench.add(2, secure=False)
    (found,), _ = get(bench, vm)
    assert (found.id, found.uuid) == (2, uuids.NIL)


def test_what_another_manager_knows_comes_after(bench, sp):
    bench.foreign = [PartitionInfo(0x8000, 1, info.DIRECT_REQ_SEND | info.AARCH64, MORE)]
    assert [each.id for each in get(bench, sp)[0]] == [0x8001, 0x8000]
    assert get(bench, sp, MORE)[0][0].properties == 0x102


def test_the_other_manager_knows_how_it_is_asked(bench, sp):
    bench.foreign = [PartitionInfo(0xFFC0, 1, info.DIRECT_REQ_SEND | info.AARCH64, MORE)]
    assert [each.id for each in get(bench, sp)[0]] == [0x8001]
    assert [each.id for each in regs(bench, sp).infos] == [0x8001, 0xFFC0]


# Properties


def test_the_normal_world_does_not_see_what_sps_do_among_themselves(bench, sp):
    sp.properties |= info.VM_CREATED | info.VM_DESTROYED
    availability = info.VM_CREATED | info.VM_DESTROYED
    assert discovery.properties_for(sp, sp) == SP_PROPERTIES
    assert discovery.properties_for(bench.gateway, sp) == SP_SEEN_BY_VM | availability


def test_properties_are_those_of_the_targets_version(bench, sp, other):
    other.version = V1_1
    assert discovery.properties_for(sp, other) == 0x10F
    other.notifications = None
    assert discovery.properties_for(sp, other) == 0x107


def test_vms_see_all_of_each_other(bench):
    one, two = bench.add(1, secure=False), bench.add(2, secure=False)
    assert discovery.properties_for(one, two) == SP_PROPERTIES


# Refusals


def test_an_unknown_uuid_is_refused(bench, sp):
    words = uuids.to_words(TWO)
    assert bench.refused(sp, fid.FFA_PARTITION_INFO_GET, *words) == "discovery.uuid"
    pair = uuids.to_pair(TWO)
    assert bench.refused(sp, fid.FFA_PARTITION_INFO_GET_REGS, *pair) == "discovery.uuid"


def test_reserved_flags_are_refused(bench, sp):
    flags = (0, 0, 0, 0, 0b10)
    assert bench.refused(sp, fid.FFA_PARTITION_INFO_GET, *flags) == "discovery.flags_mbz"
    sp.allow(sp.calls, V1_0)
    assert bench.refused(sp, fid.FFA_PARTITION_INFO_GET, *flags) == "abi.reserved_registers_mbz"


def test_rx_must_be_there_free_and_large_enough(bench, sp):
    assert bench.refused(sp, fid.FFA_PARTITION_INFO_GET) == "rx.no_buffers"
    bench.give_mailbox(sp)
    bench.ok(sp, fid.FFA_PARTITION_INFO_GET)
    assert bench.refused(sp, fid.FFA_PARTITION_INFO_GET) == "rx.busy"
    bench.ok(sp, fid.FFA_RX_RELEASE)
    bench.foreign = [PartitionInfo(0x9000 + each, 1, 0) for each in range(4096 // 24)]
    assert bench.refused(sp, fid.FFA_PARTITION_INFO_GET) == "discovery.rx_size"
    assert not sp.mailbox.full


# In registers


@pytest.mark.parametrize(("version", "page"), [(V1_2, 5), (V1_3, 2)])
def test_pages_of_registers_cover_everything(bench, sp, version, page):
    sp.allow(sp.calls, version)
    bench.foreign = [PartitionInfo(0x9000 + each, each, 0x100, MORE) for each in range(6)]
    start, seen = 0, []
    while start < 7:
        answer = regs(bench, sp, start=start)
        assert (answer.last, answer.tag, answer.size) == (6, 0, info.descriptor_size(version))
        assert len(answer.infos) == min(page, 7 - start)
        seen += answer.infos
        start = answer.current + 1
    assert [each.id for each in seen] == [0x8001, *range(0x9000, 0x9006)]
    assert seen[1].uuid == MORE


def test_registers_without_descriptor_are_zero(bench, sp):
    x = bench.ok(sp, fid.FFA_PARTITION_INFO_GET_REGS)
    assert x[0:2] == [fid.FFA_SUCCESS_64, 0]
    assert x[3:6] == [0x70F << 32 | 2 << 16 | 0x8001, *uuids.to_pair(ONE)]
    assert x[6:18] == [0] * 12


def test_a_start_index_behind_the_end_is_refused(bench, sp, other):
    assert regs(bench, sp, start=1).infos[0].id == 0x8002
    call = (fid.FFA_PARTITION_INFO_GET_REGS, 0, 0, 2)
    assert bench.refused(sp, *call) == "discovery.regs.start_index"


def test_a_tag_that_was_not_given_is_refused(bench, sp):
    call = (fid.FFA_PARTITION_INFO_GET_REGS, 0, 0, 1 << 16)
    assert bench.refused(sp, *call) == "discovery.regs.tag"


IMAGE = UUID(int=0x33)
REQ2 = info.DIRECT_REQ2_RECEIVE


@pytest.fixture
def services(ffabric):
    """An SP whose first service takes REQ2, and whose second one does not."""
    described = described_sp(
        "s",
        ffa_version=V1_3,
        uuids=(ONE, TWO),
        service_methods=(info.DIRECT_REQ_RECEIVE | REQ2, info.DIRECT_REQ_RECEIVE),
        messaging_method=info.DIRECT_REQ_RECEIVE | REQ2,
        image_uuid=IMAGE,
    )
    return ffabric.boot(sps=[described, "t"], vms=[described_vm("v", ffa_version=V1_3)])


@pytest.mark.parametrize("who", ["v", "t"])
def test_each_service_has_its_own_messages(services, ffabric, who):
    ffa = (services.vm("v") if who == "v" else services.sp("t")).ffa
    found = {each.uuid: each.properties for each in ffa.partition_info_regs() if each.id == 0x8001}
    assert (found[ONE] & REQ2, found[TWO] & REQ2) == (REQ2, 0)
    with ffabric.refuses("direct.req.receiver_property"):
        ffa.direct_request2("s", 1, uuid=TWO)
    with pytest.raises(Blocked):
        ffa.direct_request2("s", 1, uuid=ONE)


def test_an_image_stands_for_all_its_services(services):
    ffa = services.vm("v").ffa
    found = ffa.partition_info(IMAGE)
    assert [(each.uuid, each.image_uuid) for each in found] == [(ONE, NIL), (TWO, NIL)]
    (one,) = ffa.partition_info(TWO)
    assert (one.uuid, one.image_uuid) == (NIL, IMAGE)
    both = [each for each in ffa.partition_info() if each.id == 0x8001]
    assert [(each.uuid, each.image_uuid) for each in both] == [(ONE, IMAGE), (TWO, IMAGE)]


def test_older_callers_know_no_images(services, ffabric):
    with ffabric.refuses("discovery.uuid"):
        services.sp("t").ffa.partition_info(IMAGE)
