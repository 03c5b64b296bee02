"""Systems described in Python: defaults, ids, places, and what cannot be."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ffabric.system.description.python import describe, sp, vm
from ffabric.system.files.dtb import build_dtb, parse_dtb
from ffabric.system.manifest.binding import read_manifest
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    ExceptionLevel,
    Interrupt,
    Manifest,
    MemoryRegion,
)
from ffabric.system.manifest.writer import manifest_node
from ffabric.system.options.problems import ConfigErrors, SystemErrors
from ffabric.system.spec import DeviceSpec, ImageSource, MemoryBank, PythonSource, SystemSpec

UUID_A = UUID("5a7c6d2e-0000-4000-8000-000000000001")
IMAGE = bytes(0x1000)


class Adder:
    uuid = str(UUID_A)


def test_a_partition_in_python_needs_nothing_else() -> None:
    adder = Adder()
    system = describe(sps=[adder], vms=["client"])  # type: ignore[list-item]
    (spec,) = system.sps
    assert (spec.name, spec.id, spec.engine, spec.el) == ("adder", 0x8001, "python", 1)
    assert spec.source == PythonSource(adder)
    assert spec.manifest.uuids == (UUID_A,)
    assert spec.manifest.notification_support
    (client,) = system.vms
    assert (client.name, client.id, client.kind) == ("client", 1, "vm")
    assert client.source == PythonSource(None)
    assert client.manifest.exception_level is ExceptionLevel.EL1
    assert system.pes == 1
    assert system.partition("client") is client
    with pytest.raises(KeyError):
        system.partition("server")


def test_an_sp_without_a_uuid_gets_one_of_its_own() -> None:
    first, second = describe(sps=["a", "b"]).sps
    assert len({*first.manifest.uuids, *second.manifest.uuids}) == 2
    assert describe(sps=["a"]).sps[0].manifest.uuids == first.manifest.uuids


def test_a_uuid_can_be_given() -> None:
    (spec,) = describe(sps=[sp(Adder, uuid="5a7c6d2e-0000-4000-8000-000000000002", vcpus=2)]).sps  # type: ignore[arg-type]
    assert spec.manifest.uuids == (UUID(int=UUID_A.int + 1),)
    assert (spec.vcpus, spec.secure) == (2, True)


def test_partitions_of_one_class_are_told_apart() -> None:
    system = describe(sps=[Adder(), Adder, sp(Adder(), name="third")])  # type: ignore[arg-type,list-item]
    assert [spec.name for spec in system.sps] == ["adder", "adder2", "third"]
    assert [spec.id for spec in system.sps] == [0x8001, 0x8002, 0x8003]


def test_ids_that_are_asked_for_come_first() -> None:
    system = describe(sps=["a", sp("b", id=0x8001), sp("c", manifest=Manifest(id=2))])
    assert {spec.name: spec.id for spec in system.sps} == {"a": 0x8003, "b": 0x8001, "c": 0x8002}


def test_sps_are_in_boot_order() -> None:
    system = describe(sps=["last", sp("second", boot_order=2), sp("first", boot_order=1)])
    assert [spec.name for spec in system.sps] == ["first", "second", "last"]


def test_the_pes_follow_the_vcpus() -> None:
    system = describe(sps=[sp("mp", vcpus=6)], vms=[vm("v", vcpus=2)])
    assert system.mpidrs == (0, 0x100, 0x200, 0x300, 0x10000, 0x10100)
    assert describe(pes=2, sps=["up"]).pes == 2


def test_an_sp_is_at_its_physical_address_and_a_vm_is_not() -> None:
    system = describe(sps=[sp("s", load_address=0x0700_0000)], vms=["v", "w"])
    (ram,) = system.sps[0].memory
    assert (ram.ipa, ram.pa, ram.secure) == (0x0700_0000, 0x0700_0000, True)
    v, w = (spec.memory[0] for spec in system.vms)
    assert v.ipa == w.ipa == 0x4000_0000
    assert v.pa != w.pa
    assert not v.secure


def test_a_physical_address_can_differ() -> None:
    spec = sp("s", load_address=0x0E30_0000, physical_address=0x0700_0000)
    (ram,) = describe(sps=[spec]).sps[0].memory
    assert (ram.ipa, ram.pa) == (0x0E30_0000, 0x0700_0000)


def test_without_a_hypervisor_the_vm_is_the_kernel() -> None:
    system = describe(hypervisor=False, vms=[vm("linux", el=2)])
    (kernel,) = system.vms
    assert system.hypervisor is None
    assert (kernel.id, kernel.el) == (0, 2)
    assert kernel.memory[0].ipa == kernel.memory[0].pa


def test_an_image_leaves_room_for_the_manifest() -> None:
    (spec,) = describe(sps=[sp("tee", image=IMAGE)]).sps
    assert isinstance(spec.source, ImageSource)
    assert spec.engine == "unicorn"
    assert spec.entry == spec.load_address + 0x4000
    assert spec.manifest_offset == 0x1000
    assert read_manifest(parse_dtb(spec.dtb).root).uuids == spec.manifest.uuids
    (guest,) = describe(vms=[vm("guest", image=IMAGE)]).vms
    assert guest.entry == guest.load_address
    assert guest.manifest_offset is None


def test_the_blob_says_where_the_partition_ended_up() -> None:
    (spec,) = describe(sps=[sp("tee", image=IMAGE, mem_size=0x40_0000)]).sps
    manifest = read_manifest(parse_dtb(spec.dtb).root)
    assert manifest.load_address == spec.load_address
    assert manifest.mem_size == 0x40_0000


def test_a_manifest_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "sp.dtb"
    path.write_bytes(build_dtb(manifest_node(Manifest(uuids=(UUID_A,), description="named"))))
    (spec,) = describe(sps=[sp(Adder(), manifest=path, name=None)]).sps  # type: ignore[arg-type]
    assert spec.manifest.description == "named"
    assert not spec.manifest.notification_support


def test_regions_are_placed_and_mapped() -> None:
    regions = (
        MemoryRegion(name="fixed", pages=1, attributes=1, base_address=0x0780_0000),
        MemoryRegion(name="chosen", pages=2, attributes=0xB),
        MemoryRegion(name="own", pages=1, attributes=1, relative_offset=0x10_0000),
    )
    spec = sp("s", memory_regions=regions, load_address=0x0E00_0000, physical_address=0x0700_0000)
    (found,) = describe(sps=[spec]).sps
    ram, fixed, chosen, own = found.memory
    assert fixed.ipa == fixed.pa == 0x0780_0000
    assert chosen.ipa == chosen.pa == 0x8000_0000
    assert not chosen.secure
    assert (own.ipa, own.pa) == (ram.ipa + 0x10_0000, ram.pa + 0x10_0000)
    assert found.manifest.region("chosen").base_address == 0x8000_0000


def test_managers_get_the_end_of_memory() -> None:
    bank = MemoryBank("all", 0x8000_0000, 0x200_0000, secure=True)
    high = MemoryBank("high", 1 << 44, 0x4000_0000, secure=False)
    low = MemoryBank("low", 0x4000_0000, 0x100_0000, secure=False)
    system = describe(memory=[bank, high, low])
    assert system.spmc.memory.base == 0x8180_0000
    assert system.hypervisor is not None
    assert system.hypervisor.memory.base == 0x4080_0000
    assert system.memory == (low, bank, high)


def test_a_region_in_a_vms_memory_lies_where_that_lies() -> None:
    region = MemoryRegion(name="r", pages=2, attributes=1, relative_offset=0x1F_F000)
    (spec,) = describe(vms=[vm("v", mem_size=0x40_0000, memory_regions=(region,))]).vms
    low, high, first, second = spec.memory
    assert (first.ipa, first.pa) == (low.ipa + 0x1F_F000, low.pa + 0x1F_F000)
    assert (second.ipa, second.pa) == (high.ipa, high.pa)


def test_vms_start_in_boot_order_too() -> None:
    system = describe(vms=["last", vm("second", boot_order=2), vm("first", boot_order=1)])
    assert [spec.name for spec in system.vms] == ["first", "second", "last"]
    assert [spec.id for spec in system.vms] == [3, 2, 1]
    assert describe(sps=[sp("a", boot_order=1)], vms=[vm("b", boot_order=1)])
    with pytest.raises(ConfigErrors, match="b: boot-order: 1 is a's already"):
        describe(vms=[vm("a", boot_order=1), vm("b", boot_order=1)])


def test_what_python_says_wrongly_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"sp\(\) has no parameter 'vcpu' \(did you mean 'vcpus'"):
        sp("a", vcpu=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"describe\(\) has no parameter 'sp' \(did you mean 'sps'"):
        describe(sp=["a"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not both"):
        sp(Adder(), image=IMAGE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"'a' is made by sp\(\), not by vm\(\)"):
        describe(vms=[sp("a")])
    with pytest.raises(ValueError, match=r"exception_level: 7 is not one of 0 \(EL1\), 1 \(S_EL0"):
        sp("a", exception_level=7)


def test_one_description_serves_many_systems() -> None:
    adder = sp(Adder)  # type: ignore[arg-type]
    assert describe(sps=["adder", adder]).sps[1].name == "adder2"
    assert describe(sps=[adder]).sps[0].name == "adder"


def region(name: str, base: int, *interrupts: int, exclusive: bool = False) -> DeviceRegion:
    return DeviceRegion(
        name=name,
        base_address=base,
        pages=1,
        attributes=3,
        exclusive_access=exclusive,
        interrupts=tuple(Interrupt(number, 0x900) for number in interrupts),
    )


def device(name: str, base: int, interrupt: int | None = None) -> DeviceSpec:
    return DeviceSpec(
        type="pl011", name=name, base=base, size=0x1000, secure=None, interrupt=interrupt
    )


def memory(name: str, base: int, **given: Any) -> Any:
    regions = (MemoryRegion(name="r", pages=1, attributes=3, base_address=base),)
    return sp(name, memory_regions=regions, **given)


CONFLICTS: list[tuple[dict[str, Any], str]] = [
    ({"sps": [sp("a", id=0x8005), sp("b", id=0x8005)]}, "b: id: 0x8005 is the id of a"),
    ({"sps": [sp("a", id=0x8000)]}, "a: id: 0x8000 is the id of the SPMC"),
    ({"vms": [vm("a", id=0)]}, "a: id: 0x0 is the id of the hypervisor"),
    ({"sps": [sp("a", id=1)]}, "a: id: 0x1: bit 15 must be set"),
    ({"vms": [vm("a", id=0x8001)]}, "a: id: 0x8001: bit 15 must be clear"),
    ({"vms": ["a", "b"], "hypervisor": False}, "b: without a hypervisor there is only one VM"),
    (
        {"vms": [vm("a", image=IMAGE, engine="qemu", device_regions=(region("d", 0, 288),))]},
        "a: d: interrupt 288: QEMU's GIC has them up to 287",
    ),
    (
        {"devices": [device("u", 0x1C0B_0000, 1020)]},
        "[[device]] u: interrupt: 1020 is no SPI: they are 32 to 1019, and 4096 to 5119",
    ),
    ({"vms": ["a"], "instruction_time": 0}, "instruction_time: 0x0 is less than 0x1"),
    (
        {"vms": ["a"], "ffa_version": 0x10009},
        "ffa_version: 1.9 is not a version of FF-A: 1.0, 1.1, 1.2, 1.3",
    ),
    ({"vms": [vm("a", el=2)]}, "a: el: 2 is the hypervisor's: say hypervisor = false"),
    (
        {"sps": [sp("a", vcpus=2)], "pes": 4},
        "a: execution-ctx-count: 2: an SP has 1, or one for each of 4 PEs",
    ),
    (
        {"sps": [sp("a", exception_level=ExceptionLevel.EL1)]},
        "a: exception-level: an SP does not run at EL1",
    ),
    (
        {"vms": [vm("a", exception_level=ExceptionLevel.S_EL1)]},
        "a: exception-level: a VM does not run at S_EL1",
    ),
    ({"sps": [sp("a", engine="unicorn")]}, "a: engine: 'unicorn' does not run Python code"),
    ({"sps": [sp("a", image=IMAGE, engine="python")]}, "a: engine: 'python' does not run an image"),
    (
        {"sps": [sp("a", image=IMAGE, execution_state=1)]},
        "a: execution-state: AArch32 images cannot be run",
    ),
    (
        {"sps": [sp("a", image=IMAGE, mem_size=0x4000)]},
        "a: image: the image: 0x5000 bytes from the load address do not fit in 0x4000",
    ),
    (
        {"sps": [sp("a", load_address=0x0700_0000), sp("b", load_address=0x0710_0000)]},
        "b: load_address: 0x7100000-0x72fffff overlaps a (0x7000000-0x71fffff)",
    ),
    (
        {"sps": [sp("a", load_address=0x8000_0000)]},
        "a: load_address: 0x80000000-0x801fffff is not in secure memory",
    ),
    (
        {"sps": [memory("a", 0x0700_0000), sp("b", load_address=0x0700_0000)]},
        "a: r: 0x7000000-0x7000fff overlaps b (0x7000000-0x71fffff)",
    ),
    ({"sps": [memory("a", 0x1000)]}, "a: r: 0x1000-0x1fff is not in secure memory"),
    ({"sps": [sp("a", mem_size=1 << 40)]}, "a: memory: no room for 0x10000000000 bytes in secure"),
    (
        {"sps": [sp("a", boot_order=1), sp("b", boot_order=1)]},
        "b: boot-order: 1 is a's already",
    ),
    (
        {
            "sps": [
                sp("a", device_regions=(region("x", 0x1C0B_0000, exclusive=True),)),
                sp("b", device_regions=(region("y", 0x1C0B_0000),)),
            ]
        },
        "b: y: a has the device at 0x1c0b0000, and it is exclusive",
    ),
    (
        {
            "sps": [
                sp("a", device_regions=(region("x", 0x1C0B_0000, 40),)),
                sp("b", device_regions=(region("y", 0x1C0C_0000, 40),)),
            ]
        },
        "b: y: interrupt 40 is a's",
    ),
    (
        {"devices": [device("u", 0x1C0B_0000), device("v", 0x1C0B_0000)]},
        "[[device]] v: base: 0x1c0b0000 overlaps u at 0x1c0b0000",
    ),
    (
        {"devices": [device("u", 0x1C0B_0000, 40), device("u", 0x1C0C_0000, 40)]},
        "[[device]] u: interrupt: 40 is u's already",
    ),
    (
        {"devices": [device("u", 0x8000_0000)]},
        "[[device]] u: base: 0x80000000 overlaps the memory normal",
    ),
    (
        {"memory": [MemoryBank("x", 0, 0x2000, True), MemoryBank("y", 0x1000, 0x1000, False)]},
        "[[memory]] y: base: 0x1000 lies in x, which ends at 0x2000",
    ),
    (
        {"memory": [MemoryBank("x", 0, 0x1000, True), MemoryBank("y", 1 << 30, 1 << 30, False)]},
        "memory: no room for the SPMC's tables in secure memory",
    ),
    ({"sps": [sp("a", uuids=(UUID(int=0),))]}, "a: uuid: the nil UUID names no service"),
    (
        {"sps": [sp("a", image=IMAGE, image_offset=0x1000, gp_register_num=0,
                    boot_info=("ffa_manifest",))]},
        "a: image_offset: no room for",
    ),
    (
        {"sps": [sp("a", memory_regions=(
            MemoryRegion(name="r", pages=1, attributes=1, relative_offset=0x20_0000),))]},
        "a: r: the region ends above the partition's memory",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "line"), CONFLICTS, ids=[line for _, line in CONFLICTS])
def test_a_conflict_is_one_line(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        describe(**given)
    assert any(line in str(problem) for problem in caught.value.problems), str(caught.value)


def test_all_conflicts_come_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        describe(
            sps=[sp("a", id=1, load_address=0x0700_0000), sp("b", load_address=0x0700_0000)],
            vms=[vm("c", el=2)],
        )
    assert str(caught.value).splitlines() == [
        "c: el: 2 is the hypervisor's: say hypervisor = false",
        "a: id: 0x1: bit 15 must be set",
    ]


def test_places_are_judged_when_all_else_is_right() -> None:
    with pytest.raises(ConfigErrors) as caught:
        describe(sps=[sp(name, load_address=0x0700_0000) for name in ("a", "b", "c")])
    assert str(caught.value).splitlines() == [
        f"{name}: load_address: 0x7000000-0x71fffff overlaps a (0x7000000-0x71fffff)"
        for name in ("b", "c")
    ]


def test_a_spec_is_plain_data() -> None:
    assert isinstance(describe(sps=[Adder]), SystemSpec)  # type: ignore[list-item]
    assert describe(sps=[Adder], seed=3) == describe(sps=[Adder], seed=3)  # type: ignore[list-item]


def test_a_processor_is_chosen_with_its_features():
    spec = describe(vms=["v"])
    assert (spec.cpu, spec.cpu_features) == ("max", ("pauth", "bti"))
    spec = describe(vms=["v"], cpu="cortex-a72")
    assert (spec.cpu, spec.cpu_features) == ("cortex-a72", ())
    assert describe(vms=["v"], cpu_features=("sve",)).cpu_features == ("sve",)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cpu": "cortex-a71"}, "'cortex-a71' is not one of .*did you mean 'cortex-a7"),
        ({"cpu_features": ("mte",)}, "no CPU has mte"),
        ({"cpu": "cortex-a53", "cpu_features": ("bti",)}, "cortex-a53 has no bti"),
    ],
)
def test_a_processor_that_is_not_there_is_refused(options, told):
    with pytest.raises(SystemErrors, match=told):
        describe(vms=["v"], **options)


def test_a_vm_that_is_to_start_before_an_sp_is_told_that_it_does_not() -> None:
    system = describe(sps=[sp("s", boot_order=4), "last"], vms=[vm("v", boot_order=3), "w"])
    (told,) = system.warnings
    assert str(told) == ("warning: v: boot-order: 3: SPs start before VMs, so s does, too (4)")


def test_one_that_is_to_start_after_it_is_not() -> None:
    assert not describe(sps=[sp("s", boot_order=3)], vms=[vm("v", boot_order=3)]).warnings
    assert not describe(sps=["s"], vms=[vm("v", boot_order=3)]).warnings
