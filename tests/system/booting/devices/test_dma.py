"""DMA of a partition's device is confined to what the partition has, or to less."""

import pytest
from dma_sides import BANKS, DMA, ENGINE, copy, engine
from msgspec.structs import replace

from ffabric.guests.partition import Partition
from ffabric.machine.devices.smmuv3_test_engine import ERROR, HALTED, MEMCPY, MISCONFIGURED
from ffabric.machine.events import DmaRefused
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, MemoryRegion
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import DeviceSpec

SCRATCH = 0x780_0000
PRIVILEGED = ENGINE + 0x10000
NS = 8


def scratch(*permissions, stream=1):
    """Memory that the engine's stream may reach."""
    return MemoryRegion(
        name="scratch",
        base_address=SCRATCH,
        pages=16,
        attributes=3,
        smmu_id=0,
        stream_ids=(stream,),
        stream_ids_access_permissions=permissions,
    )


class Refused:
    """A tracer that keeps what was refused."""

    def __init__(self, session):
        self.heard = []
        session.system.attach(self)

    def record(self, event):
        if isinstance(event, DmaRefused):
            self.heard.append((event.stream, event.address, event.write, event.reason))


@pytest.fixture
def owner(ffabric):
    """Boots an SP `s` with the engine, another SP and a VM: its memory, and what is refused."""

    def make(*memory_regions, stream=1, **options):
        sps = [
            sp("s", device_regions=(engine(stream),), memory_regions=memory_regions),
            "other",
        ]
        session = ffabric.boot(sps=sps, vms=["v"], devices=[DMA], memory=BANKS, **options)
        handle = session.sp("s")
        handle.session, handle.refused = session, Refused(session)
        return handle

    return make


def test_a_stream_reaches_what_its_partition_has(owner):
    s = owner()
    ipa = s.ram.allocate(2)
    s.memory.write(ipa, b"copied!!")
    assert copy(s.memory, ipa, ipa + 0x1800)[0] == HALTED
    assert s.memory.read(ipa + 0x1800, 8) == b"copied!!"


def test_it_reaches_nothing_of_others(owner):
    s = owner()
    ipa = s.ram.allocate(1)
    other = s.session.sp("other").ram.allocate(1)
    for source, target, write in ((other, ipa, False), (ipa, other, True), (ipa, ENGINE, True)):
        status, at = copy(s.memory, source, target)
        assert (status, at) == (ERROR, target if write else source)
    assert s.refused.heard == [
        (1, other, False, "F_TRANSLATION"),
        (1, other, True, "F_TRANSLATION"),
        (1, ENGINE, True, "F_TRANSLATION"),
    ]


def test_a_copy_that_leaves_the_memory_writes_nothing(owner):
    s = owner()
    ipa = s.ram.allocate(1)
    end = s.session.system.endpoint("s").spec.memory[0]
    last = end.ipa + end.size - 0x1000
    s.memory.write(last, b"before")
    assert copy(s.memory, ipa, last, 0x1008)[0] == ERROR
    assert s.memory.read(last, 6) == b"before"


def test_it_loses_what_its_partition_lends(ffabric):
    class Driver(Partition):
        async def on_direct_request(self, request, ffa):
            memory = ffa.vcpu.memory
            ipa, to = ffa.vcpu.ram.allocate(1), ffa.vcpu.ram.allocate(1)
            before = copy(memory, to, ipa)[0]
            handle = await ffa.lend("other", ipa=ipa, pages=1)
            meanwhile = copy(memory, to, ipa)[0]
            await ffa.reclaim(handle)
            return request.respond(before, meanwhile, copy(memory, to, ipa)[0])

    driver = sp(Driver("s"), device_regions=(engine(),))
    session = ffabric.boot(sps=[driver, "other"], vms=["v"], devices=[DMA], memory=BANKS)
    found = session.vm("v").ffa.direct_request("s").payload[:3]
    assert found == (HALTED, ERROR, HALTED)


def test_regions_that_list_a_stream_confine_it(owner):
    s = owner(scratch())
    ipa = s.ram.allocate(1)
    s.memory.write(SCRATCH, b"scratch!")
    assert copy(s.memory, SCRATCH, SCRATCH + 0xF000, 0x1000)[0] == HALTED
    assert copy(s.memory, SCRATCH, ipa)[0] == ERROR
    assert copy(s.memory, ipa, SCRATCH)[0] == ERROR
    assert copy(s.memory, SCRATCH, SCRATCH + 0xF008, 0x1000)[0] == ERROR
    assert {reason for *_, reason in s.refused.heard} == {"F_TRANSLATION"}


@pytest.mark.parametrize(("permissions", "reads", "writes"), [(1, True, False), (2, False, True)])
def test_permissions_of_a_stream_hold(owner, permissions, reads, writes):
    s = owner(scratch(permissions))
    copy(s.memory, SCRATCH, SCRATCH + 0x1000)
    assert s.refused.heard == [(1, SCRATCH + 0x1000 * reads, reads, "F_PERMISSION")]
    assert reads is not writes


def test_a_stream_that_is_nobodys_or_anothers_reaches_nothing(owner):
    s = owner(stream=1)
    ipa = s.ram.allocate(1)
    lines = []
    s.session.system.listeners.append(lambda name, line: lines.append((name, line)))
    assert copy(s.memory, ipa, ipa + 8, stream=2) == (ERROR, ipa)
    assert copy(s.memory, ipa, ipa + 8, secure=False) == (ERROR, ipa)
    assert {reason for *_, reason in s.refused.heard} == {"C_BAD_STREAMID"}
    assert lines == [
        ("dma", f"DMA of {stream} of SMMU 0 may not read {ipa:#x}: C_BAD_STREAMID")
        for stream in ("secure stream 2", "non-secure stream 1")
    ]


def test_a_device_does_not_present_the_stream_of_another_ones_owner(ffabric):
    second = DeviceSpec(
        type="smmuv3_test_engine", name="dma2", base=0x2C0E_0000, size=0x10000, secure=None
    )
    theirs = DeviceRegion(
        name="engine",
        base_address=0x2C0E_0000,
        pages=32,
        attributes=3,
        smmu_id=0,
        stream_ids=(7,),
    )
    sps = [sp("s", device_regions=(engine(1),)), sp("other", device_regions=(theirs,))]
    session = ffabric.boot(sps=sps, vms=["v"], devices=[DMA, second], memory=BANKS)
    s, other = session.sp("s"), session.sp("other").ram.allocate(1)
    assert copy(s.memory, other, other + 8, stream=7) == (ERROR, other)


def test_a_vm_has_dma_by_its_own_addresses_until_it_is_gone(ffabric):
    region = engine(5, attributes=3 | NS)
    session = ffabric.boot(
        vms=[vm("v", device_regions=(region,)), "w"], devices=[DMA], memory=BANKS
    )
    v = session.vm("v")
    ipa = v.ram.allocate(1)
    v.memory.write(ipa, b"of a VM!")
    assert copy(v.memory, ipa, ipa + 64, stream=5, secure=False)[0] == HALTED
    assert v.memory.read(ipa + 64, 8) == b"of a VM!"
    assert copy(v.memory, 0x8000_0000, ipa, stream=5, secure=False)[0] == ERROR
    session.destroy_vm("v")
    session.run()
    assert session.system._builder.smmu.table == {}


@pytest.mark.parametrize(
    ("begin", "end", "stride", "status"),
    [(8, 0, 1, MISCONFIGURED), (0, 1 << 30, 1, MISCONFIGURED), (0, 7, 0, ERROR)],
)
def test_a_frame_that_makes_no_sense_copies_nothing(owner, begin, end, stride, status):
    s = owner()
    ipa = s.ram.allocate(1)
    memory = s.memory
    assert memory.read32(ENGINE) == HALTED
    for offset, value in ((0x28, ipa + begin), (0x30, ipa + end), (0x38, stride), (0x40, ipa)):
        memory.write64(ENGINE + offset, value)
    memory.write32(ENGINE, MEMCPY)
    assert memory.read32(ENGINE) == status


def test_a_stream_is_one_partitions():
    sps = [sp("a", device_regions=(engine(),)), sp("b", device_regions=(engine(),))]
    with pytest.raises(SystemErrors, match="b: engine: stream-ids: 1 of SMMU 0 is a's"):
        describe(sps=sps, devices=[DMA], memory=BANKS)


@pytest.mark.parametrize(
    ("devices", "region", "warned"),
    [
        ([DMA], engine(), False),
        ([], engine(), True),
        ([DMA], replace(engine(), base_address=ENGINE + 0x20000), True),
        ([DMA], replace(engine(), smmu_id=1), True),
        ([replace(DMA, options={"smmu": 1})], replace(engine(), smmu_id=1), False),
        ([], replace(engine(), stream_ids=()), False),
    ],
)
def test_a_stream_that_no_device_presents_is_warned_of(devices, region, warned):
    spec = describe(sps=[sp("a", device_regions=(region,))], devices=devices, memory=BANKS)
    line = f"a: engine: stream-ids: no device in it has DMA through SMMU {region.smmu_id}"
    assert [str(each) for each in spec.warnings] == [f"warning: {line}"] * warned


def test_a_region_lists_a_stream_of_the_same_smmu():
    """Another SMMU's would not confine the stream: it would reach all memory of the partition."""
    owner = sp("s", device_regions=(engine(),), memory_regions=(replace(scratch(), smmu_id=1),))
    with pytest.raises(SystemErrors, match="stream-ids: 1 of SMMU 1 is not a stream id of any"):
        describe(sps=[owner], devices=[DMA], memory=BANKS)
