"""A system from a firmware image package, as TF-A's build makes it."""

import struct
from pathlib import Path
from uuid import UUID

import pytest

from ffabric.system.booting.boot import boot
from ffabric.system.description.check import check_file
from ffabric.system.description.toml.system import read_system
from ffabric.system.files.dtb import Node, build_dtb, parse_dtb
from ffabric.system.files.fip import build_fip
from ffabric.system.files.package import Package, build_package
from ffabric.system.options.problems import SystemErrors

TOS_FW_CONFIG = UUID("26257c1a-dbc6-7f47-8d96-c4c4b0248021")
TB_FW_CONFIG = UUID("6c0458ff-af6b-7d4f-82ed-aa27bc69bfd2")
BL31 = UUID("47d4086d-4cfe-9846-9b95-2950cbbd5a00")
BL32 = UUID("05d0e189-53dc-1347-8d2b-500a4b7a3e38")
BL33 = UUID("d6d0eea7-fcea-d54b-9782-9934f234b6e4")
FIRST = UUID("b4b5671e-4a90-4fe1-b81f-fb13dae1dacb")
SECOND = UUID("d1582309-f023-47b9-827c-4464f5578fc8")
ROOT = Path(__file__).parents[3]
IMAGE = (ROOT / "src/ffabric/guests/images/adder_smc.bin").read_bytes()
KERNEL = b"\x00\x00\x00\x14"


def cells(*values):
    """Cells of 32 bits."""
    return b"".join(value.to_bytes(4, "big") for value in values)


def manifest(uuid, load):
    """A partition manifest at ``load``."""
    words = cells(*(int.from_bytes(uuid.bytes[n : n + 4], "big") for n in range(0, 16, 4)))
    props = {
        "compatible": b"arm,ffa-manifest-1.0\0",
        "ffa-version": cells(0x10001),
        "uuid": words,
        "execution-ctx-count": cells(1),
        "exception-level": cells(2),
        "execution-state": cells(0),
        "load-address": cells(load),
        "mem-size": cells(0x10000),
        "entrypoint-offset": cells(0x4000),
        "xlat-granule": cells(0),
        "messaging-method": cells(3),
    }
    return build_dtb(Node("", props))


def package(uuid, load):
    """An SP package."""
    return build_package(Package(manifest(uuid, load), IMAGE))


def spmc_manifest(*loads):
    """An SPMC manifest with memory and these partitions."""
    vms = [
        Node(
            f"vm{n}",
            {
                "is_ffa_partition": b"",
                "debug_name": f"part{n}".encode() + b"\0",
                "load_address": cells(load),
                "vcpu_count": cells(1),
                "mem_size": cells(0x10000),
            },
        )
        for n, load in enumerate(loads, 1)
    ]
    memory = [
        Node(f"memory@{base:x}", {"device_type": kind, "reg": cells(0, base, 0, size)})
        for kind, base, size in (
            (b"memory\0", 0x600_0000, 0x200_0000),
            (b"ns-memory\0", 0x8000_0000, 0x1000_0000),
        )
    ]
    attribute = {
        "spmc_id": cells(0x8000),
        "maj_ver": cells(1),
        "min_ver": cells(1),
        "exec_state": cells(0),
        "load_address": cells(0, 0x600_0000),
        "entrypoint": cells(0, 0x600_0000),
        "binary_size": cells(0x80000),
    }
    one_cpu = Node("cpu@0", {"device_type": b"cpu\0", "reg": cells(0, 0)})
    cpus = Node("cpus", {"#address-cells": cells(2), "#size-cells": cells(0)}, [one_cpu])
    hypervisor = Node("hypervisor", {"compatible": b"hafnium,hafnium\0"}, vms)
    root = {
        "compatible": b"arm,ffa-core-manifest-1.0\0",
        "#address-cells": cells(2),
        "#size-cells": cells(2),
    }
    return build_dtb(Node("", root, [Node("attribute", attribute), hypervisor, cpus, *memory]))


def boot_config(**partitions):
    """TB_FW_CONFIG with the secure partitions (UUID, load address)."""
    nodes = [
        Node(name, {"uuid": str(uuid).encode() + b"\0", "load-address": cells(load)})
        for name, (uuid, load) in partitions.items()
    ]
    listed = Node("secure-partitions", {"compatible": b"arm,sp\0"}, nodes)
    return build_dtb(Node("", {}, [listed]))


WHOLE = {
    BL31: b"monitor",
    BL32: b"hafnium",
    BL33: KERNEL,
    TB_FW_CONFIG: boot_config(adder=(FIRST, 0x700_0000), other=(SECOND, 0x710_0000)),
    TOS_FW_CONFIG: spmc_manifest(0x700_0000, 0x710_0000),
    FIRST: package(FIRST, 0x700_0000),
    SECOND: package(SECOND, 0x710_0000),
}


@pytest.fixture
def system(tmp_path):
    """Reads a system file beside a package of these images."""

    def read(toml, images):
        (tmp_path / "fip.bin").write_bytes(build_fip(images))
        (tmp_path / "s.toml").write_text('fip = "fip.bin"\n' + toml)
        return read_system(tmp_path / "s.toml")

    return read


def test_its_partitions_run_with_bl33_as_the_kernel(system):
    spec = system("hypervisor = false", WHOLE)
    assert [(sp.name, sp.load_address) for sp in spec.sps] == [
        ("adder", 0x700_0000),
        ("other", 0x710_0000),
    ]
    assert [vm.name for vm in spec.vms] == ["bl33"]
    assert spec.spmc.id == 0x8000
    memory = boot(spec).machine.memory
    assert memory.read(0x700_4000, 16, secure=True) == IMAGE[:16]
    assert memory.read(spec.vms[0].memory[0].pa, 4, secure=False) == KERNEL


def test_names_come_from_the_spmc_manifest_or_else_from_uuids(system):
    images = {uuid: data for uuid, data in WHOLE.items() if uuid != TB_FW_CONFIG}
    assert [sp.name for sp in system("", images).sps] == ["part1", "part2"]
    del images[TOS_FW_CONFIG]
    assert [sp.name for sp in system("", images).sps] == ["sp-b4b5671e", "sp-d1582309"]


def test_a_table_of_the_same_name_is_laid_over_a_package(system):
    spec = system('[[sp]]\nname = "adder"\nid = 0x8010\n', WHOLE)
    assert {sp.name: sp.id for sp in spec.sps} == {"adder": 0x8010, "other": 0x8002}
    assert spec.vms == ()  # with a hypervisor BL33 is a VM only if one is called so


def test_bl33_may_be_a_vm(system):
    toml = '[[vm]]\nname = "bl33"\nload_address = 0x88000000\n'
    spec = system(toml, WHOLE)
    assert [(vm.name, vm.entry) for vm in spec.vms] == [("bl33", 0x8800_0000)]


def test_bl32_is_a_trusted_os_where_there_is_no_spmc_manifest(system):
    spec = system('[trusted_os]\nname = "tee"\n', {BL32: KERNEL})
    assert spec.trusted_os is not None
    assert spec.trusted_os.source.image.parts[0].data == KERNEL


def test_a_package_that_is_listed_and_missing_is_a_warning(system):
    images = {uuid: data for uuid, data in WHOLE.items() if uuid != SECOND}
    found = [str(each) for each in system("", images).warnings]
    assert any("other: no package d1582309" in each for each in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({FIRST: b"SPKG" + bytes(40)}, r"adder: package: .*version"),
        ({FIRST: package(FIRST, 0x700_0000)[:0x4000]}, r"adder: package: .*img_"),
        ({TOS_FW_CONFIG: b"nonsense"}, "tos-fw-config"),
        ({TB_FW_CONFIG: b"nonsense"}, "tb-fw-config"),
    ],
)
def test_what_is_wrong_inside_is_a_line(system, change, message):
    with pytest.raises(SystemErrors, match=message) as raised:
        system("", WHOLE | change)
    assert all("\n" not in str(each) for each in raised.value.problems)


def test_a_file_that_is_no_package_is_a_line(tmp_path):
    (tmp_path / "fip.bin").write_bytes(b"\x01\x00\x64\xaa" + bytes(6))
    (tmp_path / "s.toml").write_text('fip = "fip.bin"')
    with pytest.raises(SystemErrors, match=r"fip: .*fip\.bin: .*header"):
        read_system(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_text('fip = "fop.bin"')
    with pytest.raises(SystemErrors, match=r"no such file.*did you mean 'fip\.bin'"):
        read_system(tmp_path / "s.toml")


BL33_TABLE = 'hypervisor = false\n[[vm]]\nname = "bl33"\nload_address = 0x88000000\n'


def test_a_package_without_bl33_is_a_line(system):
    images = {uuid: data for uuid, data in WHOLE.items() if uuid != BL33}
    with pytest.raises(SystemErrors) as raised:
        system(BL33_TABLE, images)
    (told,) = map(str, raised.value.problems)
    assert told.endswith("fip.bin has no BL33 (nt-fw)")
    assert "[[vm]] bl33: needs one of python, image: " in told


def test_a_package_that_cannot_be_read_is_the_only_line(tmp_path):
    (tmp_path / "fip.bin").write_bytes(build_fip(WHOLE)[:100])
    (tmp_path / "s.toml").write_text(f'fip = "fip.bin"\n{BL33_TABLE}')
    with pytest.raises(SystemErrors) as raised:
        read_system(tmp_path / "s.toml")
    (told,) = map(str, raised.value.problems)
    assert "entry[0] (soc-fw).size" in told


def transfer_list(manifest, image):
    """A package in the form of a transfer list: manifest and image begin on pages."""
    data = bytearray(24)
    for tag, part in ((0x106, manifest), (0x103, image)):
        start = (len(data) + 16 + 0xFFF) & ~0xFFF
        gap = start - 16 - len(data)
        data += struct.pack("<II", 8 << 24, gap) + bytes(gap)
        data += struct.pack("<II", 8 << 24 | tag, len(part)) + part + bytes(-len(part) % 8)
    struct.pack_into("<IBBBBIII", data, 0, 0x4A0FB10B, 0, 1, 24, 12, len(data), len(data), 0)
    return bytes(data)


def test_packages_of_both_forms_are_in_one(system):
    tree = parse_dtb(manifest(FIRST, 0x700_0000)).root
    tree.props["entrypoint-offset"] = cells(0x2000)
    package = transfer_list(build_dtb(tree), IMAGE)
    spec = system(BL33_TABLE, WHOLE | {FIRST: package})
    assert [(sp.name, sp.load_address, sp.entry) for sp in spec.sps] == [
        ("adder", 0x700_0000, 0x700_2000),
        ("other", 0x710_0000, 0x710_4000),
    ]
    with boot(spec) as booted:
        memory = booted.machine.memory
        for sp in spec.sps:
            assert memory.read(sp.entry, len(IMAGE), secure=True) == IMAGE


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (build_fip(WHOLE), 'a firmware image package, no system file: one names it with fip = "f"'),
        (WHOLE[FIRST], 'an SP package, no system file: one names it with [[sp]] package = "f"'),
        (transfer_list(b"", b""), "a transfer list, no system file: one names it with [[sp]] pack"),
        (WHOLE[TB_FW_CONFIG], "a devicetree, no system file: one names it with manifest ="),
        (b"/dts-v1/;\n/ { };\n", "a devicetree's source, no system file: one names it with manif"),
        (b"\x7fELF" + bytes(2 << 20), "an image, no system file: one names it with [[sp]] or [["),
        (b'{"sp": {}}', 'JSON, no system file: one names it with sp_layout = "f", if it is one'),
    ],
)
def test_what_a_system_names_is_told_where_a_system_is_expected(tmp_path, data, line):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(SystemErrors) as raised:
        read_system(tmp_path / "f")
    (told,) = map(str, raised.value.problems)
    assert told.startswith(f"{tmp_path / 'f'}: {line}")


def test_a_system_whose_first_key_begins_like_a_package_is_a_system(tmp_path):
    (tmp_path / "f").write_text("SPKG = 1\n")
    with pytest.raises(SystemErrors) as raised:
        read_system(tmp_path / "f")
    assert any("SPKG" in str(each) for each in raised.value.problems)
    assert not any("no system file" in str(each) for each in raised.value.problems)


def test_a_package_is_validated_by_itself(tmp_path):
    path = tmp_path / "fip.bin"
    path.write_bytes(build_fip(WHOLE))
    report = check_file(path)
    assert report.ok, report.problems
    assert report.kind == "firmware image package"
    path.write_bytes(build_fip(WHOLE | {FIRST: b"SPKG" + bytes(40)}))
    assert not check_file(path).ok
