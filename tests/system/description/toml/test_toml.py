"""The TOML file of a system: what it may say, and every mistake in one line, all at once."""

import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ffabric.abi.ffa.version import V1_2
from ffabric.system.description.toml import system as toml_system
from ffabric.system.description.toml.keys import TABLES, config_schema
from ffabric.system.description.toml.spmc import banks
from ffabric.system.description.toml.system import read_system
from ffabric.system.files.dtb import Node, build_dtb, parse_dtb
from ffabric.system.files.package import Package, build_package
from ffabric.system.manifest.binding import read_manifest
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    Interrupt,
    Manifest,
    MemoryRange,
    MemoryRegion,
)
from ffabric.system.manifest.writer import manifest_node
from ffabric.system.options.keys import rows
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import DeviceSpec, GicSpec, ImageSource, MemoryBank, PythonSource, RunSpec

UUID_A = UUID("5a7c6d2e-0000-4000-8000-000000000001")
UUID_B = UUID("5a7c6d2e-0000-4000-8000-000000000002")
IMAGE = b"\x14\x00\x00\x14" + bytes(0xFFC)

CODE = """
class Adder:
    uuid = "5a7c6d2e-0000-4000-8000-000000000001"
    def __init__(self, step=1):
        self.step = step
    def program(self, vcpu, entry, x0): ...
    def vector(self, vcpu, kind): ...
"""
ODD_CODE = """
class Odd: uuid = 'x'
class Says:
    manifest = {'vcpus': 1}
    program = vector = print
class Nothing: pass
"""


def manifest(load: int, order: int, **changes: Any) -> bytes:
    given: dict[str, Any] = {
        "uuids": (UUID_A,),
        "load_address": load,
        "entrypoint_offset": 0x4000,
        "execution_ctx_count": 8,
        "boot_order": order,
        "gp_register_num": 0,
        "boot_info": ("ffa_manifest",),
    }
    return build_dtb(manifest_node(Manifest(**given | changes)))


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def spmc_manifest(*partitions: tuple[int, int]) -> bytes:
    """An SPMC manifest with (load address, vCPUs) of each partition."""
    attribute = {
        "spmc_id": words(0x8000), "maj_ver": words(1), "min_ver": words(2),
        "load_address": words(0, 0x600_0000), "binary_size": words(0x8_0000),
    }  # fmt: skip
    vms = [
        Node(
            f"vm{number}",
            {
                "is_ffa_partition": b"",
                "debug_name": b"sp\0",
                "load_address": words(load),
                "vcpu_count": words(vcpus),
                "mem_size": words(0x20_0000),
            },
        )
        for number, (load, vcpus) in enumerate(partitions, 1)
    ]
    cpus = [Node(f"cpu@{n}", {"device_type": b"cpu\0", "reg": words(0, n << 8)}) for n in range(8)]
    secure = {"device_type": b"memory\0", "reg": words(0, 0x700_0000, 0, 0x100_0000)}
    high = {"device_type": b"memory\0", "reg": words(0, 0xFF00_0000, 0, 0x100_0000)}
    normal = {"device_type": b"ns-memory\0", "reg": words(0, 0x8000_0000, 0, 0x1000_0000)}
    root = Node(
        "",
        {
            "compatible": b"arm,ffa-core-manifest-1.0\0",
            "#address-cells": words(2), "#size-cells": words(2),
        },
        [
            Node("attribute", attribute),
            Node("hypervisor", {"compatible": b"hafnium,hafnium\0"}, vms),
            Node("cpus", {}, cpus),
            Node("memory@0", secure), Node("memory@1", high), Node("memory@2", normal),
        ],
    )  # fmt: skip
    return build_dtb(root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "adder.py").write_text(CODE)
    (tmp_path / "sp.bin").write_bytes(IMAGE)
    (tmp_path / "sp1.dtb").write_bytes(manifest(0x0700_0000, 0))
    (tmp_path / "sp2.dtb").write_bytes(manifest(0x0720_0000, 1, execution_ctx_count=1))
    (tmp_path / "sp.pkg").write_bytes(
        build_package(Package(manifest(0x0740_0000, 2), IMAGE, 0x1000, 0x4000))
    )
    (tmp_path / "spmc.dtb").write_bytes(spmc_manifest((0x0700_0000, 8), (0x0720_0000, 1)))
    (tmp_path / "sp_layout.json").write_text(
        json.dumps(
            {
                "sp1": {"image": "sp.bin", "pm": "sp1.dtb"},
                "sp2": {"image": "sp.bin", "pm": "sp2.dtb", "size": "0x200000"},
            }
        )
    )
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "system.toml"
    path.write_text(text)
    return path


def test_the_smallest_system(folder: Path) -> None:
    system = read_system(write(folder, '[[sp]]\nname = "adder"\npython = "adder.py:Adder"\n'))
    assert system.name == "system"
    (adder,) = system.sps
    assert (adder.id, adder.manifest.uuids, adder.engine) == (0x8001, (UUID_A,), "python")
    assert system.pes == 1


FULL = """
name = "demo"
pes = 8
seed = 1
ffa_version = "1.1"
sp_layout = "sp_layout.json"
include = "shared"

[spmc]
manifest = "spmc.dtb"
id = 0x8100
memory_size = "4 MiB"

[[sp]]
name = "adder"
python = "adder.py:Adder"
uuid = "5a7c6d2e-0000-4000-8000-000000000002"
vcpus = 8
mem_size = "4MiB"
[sp.options]
step = 2
[sp.properties]
boot-order = 7
ns-interrupts-action = 0
[sp.properties.memory-regions.scratch]
pages-count = 4
attributes = 0x3
[sp.properties.device-regions.uart]
base-address = 0x1c0b0000
pages-count = 1
attributes = 0xb
interrupts = [40, 0x900]

[[sp]]
name = "packaged"
package = "sp.pkg"

[[sp]]
name = "sp2"
id = 0x8009

[[vm]]
name = "guest"
image = "sp.bin"
load_address = 0x88000000
mem_size = 0x200000
vcpus = 2

[[device]]
type = "pl011"
name = "console"
base = 0x1c0b0000
world = "both"

[[device]]
type = "sp805"
base = 0x2a490000
size = 0x10000
interrupt = 56
world = "secure"
frequency = 32768

[gic]
distributor = 0x2f010000

[run]
stop_on_crash = false
max_events = 1000
stop_on = "END"
"""


def test_everything_a_file_may_say(folder: Path) -> None:
    system = read_system(write(folder, FULL))
    assert (system.name, system.pes, system.seed) == ("demo", 8, 1)
    assert system.mpidrs == tuple(n << 8 for n in range(8))
    assert [(spec.name, spec.id) for spec in system.sps] == [
        ("sp1", 0x8001),
        ("sp2", 0x8009),
        ("packaged", 0x8003),
        ("adder", 0x8002),
    ]
    assert (system.spmc.id, system.spmc.ffa_version) == (0x8100, 0x10001)
    assert system.spmc.memory.size == 4 << 20
    assert system.gic == GicSpec(distributor=0x2F01_0000)
    assert system.run == RunSpec(stop_on_crash=False, max_events=1000, stop_on="END")
    assert system.devices == (
        DeviceSpec(
            type="pl011", name="console", base=0x1C0B_0000, size=0x1000, secure=None,
        ),
        DeviceSpec(
            type="sp805", name="sp805", base=0x2A49_0000, size=0x1_0000, secure=True,
            interrupt=56, options={"frequency": 32768},
        ),
    )  # fmt: skip
    assert [bank.base for bank in system.memory] == [0x700_0000, 0x8000_0000, 0xFF00_0000]
    assert system.warnings == ()


def test_the_manifest_is_put_together_from_all_places(folder: Path) -> None:
    adder = read_system(write(folder, FULL)).partition("adder")
    said = adder.manifest
    assert said.uuids == (UUID_B,)
    assert (said.execution_ctx_count, said.mem_size, said.boot_order) == (8, 4 << 20, 7)
    (scratch,) = said.memory_regions
    assert scratch == MemoryRegion(
        name="scratch", pages=4, attributes=3, base_address=scratch.base_address
    )
    assert said.device_regions == (
        DeviceRegion(
            name="uart", base_address=0x1C0B_0000, pages=1, attributes=0xB,
            interrupts=(Interrupt(40, 0x900),),
        ),
    )  # fmt: skip
    assert (adder.manifest_offset, adder.dtb) == (None, b"")  # nobody would find it in memory


def test_images_of_every_sort(folder: Path) -> None:
    system = read_system(write(folder, FULL))
    for name, load in (("sp1", 0x0700_0000), ("sp2", 0x0720_0000), ("packaged", 0x0740_0000)):
        spec = system.partition(name)
        assert isinstance(spec.source, ImageSource)
        assert spec.source.image.parts[0].data == IMAGE
        assert spec.entry == load + 0x4000
        assert spec.manifest_offset == 0x1000
        assert spec.memory[0].size == 0x20_0000
        assert read_manifest(parse_dtb(spec.dtb).root).load_address == load
    guest = system.partition("guest")
    assert guest.entry == guest.load_address == 0x8800_0000
    assert guest.memory[0].pa == 0x8000_0000


def test_an_sp_the_spmc_expects_and_nobody_gives_is_a_warning(folder: Path) -> None:
    text = '[spmc]\nmanifest = "spmc.dtb"\n[[sp]]\nname = "a"\nimage = "sp.bin"\n'
    system = read_system(write(folder, text + 'manifest = "sp1.dtb"\n'))
    assert [problem.message for problem in system.warnings] == ["vm2 (sp): no SP is at 0x7200000"]


def test_a_layout_places_what_its_manifest_does_not(folder: Path) -> None:
    (folder / "free.dtb").write_bytes(manifest(0, 0, load_address=None, execution_ctx_count=1))
    entry = {"image": "sp.bin", "pm": "free.dtb", "physical-load-address": "0x7800000"}
    (folder / "free.json").write_text(json.dumps({"free": entry}))
    (spec,) = read_system(write(folder, 'sp_layout = "free.json"')).sps
    assert spec.load_address == 0x0780_0000


def test_a_kernel_without_a_hypervisor(folder: Path) -> None:
    text = 'hypervisor = false\n[[vm]]\nname = "linux"\nimage = "sp.bin"\nel = 2\n'
    system = read_system(write(folder, text))
    assert system.hypervisor is None
    assert (system.vms[0].id, system.vms[0].el) == (0, 2)


@pytest.mark.parametrize("strict", [True, False])
def test_a_system_is_strict_if_it_says_so(folder: Path, strict: bool) -> None:
    text = f'strict = {str(strict).lower()}\n[[sp]]\nname = "adder"\npython = "adder.py:Adder"\n'
    assert read_system(write(folder, text)).strict is strict


def test_memory_in_the_file_joins_the_spmc_manifests_and_takes_its_place(folder: Path) -> None:
    text = """
    [spmc]
    manifest = "spmc.dtb"
    [[memory]]
    name = "all"
    base = 0x04000000
    size = "64 MiB"
    secure = true
    [[memory]]
    base = 0x80000000
    size = 0x10000000
    """
    system = read_system(write(folder, text))
    assert system.memory == (
        MemoryBank("all", 0x400_0000, 0x400_0000, secure=True),
        MemoryBank("memory1", 0x8000_0000, 0x1000_0000, secure=False),
        MemoryBank("secure2", 0xFF00_0000, 0x100_0000, secure=True),
    )


def test_secure_memory_wins_over_non_secure_memory() -> None:
    ranges = (
        MemoryRange(0xFD00_0000, 0x200_0000, secure=True, device=False),
        MemoryRange(0x8000_0000, 0x8000_0FFF, secure=False, device=False),
        MemoryRange(0x1C0B_0000, 0x1000, secure=False, device=True),
    )
    assert banks(ranges) == (
        MemoryBank("normal0", 0x8000_0000, 0x7D00_0000, secure=False),
        MemoryBank("secure1", 0xFD00_0000, 0x200_0000, secure=True),
        MemoryBank("normal2", 0xFF00_0000, 0x100_0000, secure=False),
    )


def lines(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(SystemErrors) as caught:
        read_system(path)
    shown = str(caught.value).replace(f"{folder}/", "")
    return [line.removeprefix("system.toml: ") for line in shown.splitlines()]


BAD = """
pse = 4
seed = "one"
instruction_time = 0
[spmc]
manifest = "spmc.dtbo"
[gic]
distributor = 0x2f000001
[run]
max_event = 3
[[memory]]
base = 0x06000000
size = "32 MB!"
[[sp]]
name = "a"
pythn = "adder.py:Adder"
[[sp]]
python = "adder.py:Addr"
[[sp]]
name = "c"
image = "sq.bin"
uuid = "5a7c6d2e"
[sp.properties]
notification-suport = true
[[sp]]
name = "d"
image = "sp.bin"
package = "sp.pkg"
[[vm]]
name = "e"
image = "sp.bin"
mem_size = 0x800
engine = "unicron"
[[device]]
type = "pl01l"
base = 0x1c0b0000
world = "moon"
"""


def test_all_mistakes_come_at_once(folder: Path) -> None:
    assert lines(folder, BAD) == [
        "pse: unknown key (did you mean 'pes'?)",
        "seed: 'one' is not a number",
        "instruction_time: 0x0 is less than 0x1",
        "spmc.dtbo: No such file or directory",
        "[[sp]] a: pythn: unknown key (did you mean 'python'?)",
        "[[sp]] a: needs one of python, image, package",
        "[[sp]] #2: name: missing",
        "[[sp]] #2: python: adder.py has no 'Addr' (did you mean 'Adder'?)",
        "[[sp]] c: uuid: '5a7c6d2e' is not a UUID",
        "[[sp]] c: image: no such file: sq.bin (did you mean 'sp.bin'?)",
        (
            "[[sp]] c.properties: notification-suport: unknown key "
            "(did you mean 'notification-support'?)"
        ),
        "[[sp]] d: needs one of python, image, package, not image and package",
        "[[vm]] e: mem_size: 0x800 is less than 0x1000",
        "[[vm]] e: engine: 'unicron' is not one of python, unicorn, qemu (did you mean 'unicorn'?)",
        "[[memory]] #1: size: '32 MB!' is not a size such as 0x1000, 4096 or '2 MiB'",
        "[[device]] #1: world: 'moon' is not one of normal, secure, both",
        (
            "[[device]] #1: type: 'pl01l' is not one of "
            "pl011, sp805, generic_watchdog, generic_timer, "
            "smmuv3, smmuv3_test_engine, stub, crypto_engine (did you mean 'pl011'?)"
        ),
        "[gic]: distributor: 0x2f000001 is not a multiple of 0x10000",
        "[run]: max_event: unknown key (did you mean 'max_events'?)",
    ]


PARTITION = '[[sp]]\nname = "a"\n'

LOST = {
    'python = "adder.py:Addr"': "[[sp]] a: python: adder.py has no 'Addr' (did you mean 'Adder'?)",
    'image = "sq.bin"': "[[sp]] a: image: no such file: sq.bin (did you mean 'sp.bin'?)",
    'image = "none.elf"': "[[sp]] a: image: none.elf: elf",
    "": "[[sp]] a: needs one of python, image, package",
}
"""What a partition cannot be had for, and how that is told."""


@pytest.mark.parametrize(("source", "told"), LOST.items(), ids=LOST.values())
@pytest.mark.parametrize("version", [V1_2, 0x1_0009])
def test_a_manifest_is_judged_though_what_it_is_of_cannot_be_had(
    folder: Path, source: str, told: str, version: int
) -> None:
    (folder / "none.elf").write_bytes(b"\x7fELF")
    said = {"execution_ctx_count": 1, "ffa_version": version, "gp_register_num": None}
    (folder / "a.dtb").write_bytes(manifest(0x0700_0000, 0, boot_info=(), **said))
    found = lines(folder, f'[[sp]]\nname = "a"\nmanifest = "a.dtb"\n{source}\n')
    first, *others = found
    assert first.split(" (byte")[0] == told.split(" (byte", maxsplit=1)[0]
    unknown = "[[sp]] a: ffa-version: 1.9 is not a version of FF-A: 1.0, 1.1, 1.2, 1.3"
    assert others == ([] if version == V1_2 else [unknown])


@pytest.mark.parametrize("version", ["1.2", "1.9"])
def test_properties_of_a_table_without_a_name_are_judged(folder: Path, version: str) -> None:
    properties = f'ffa-version = "{version}"'
    found = lines(folder, f'[[sp]]\nimage = "sp.bin"\n[sp.properties]\n{properties}\n')
    unknown = "[[sp]] #1: ffa-version: 1.9 is not a version of FF-A: 1.0, 1.1, 1.2, 1.3"
    assert found == ["[[sp]] #1: name: missing"] + [unknown] * (version == "1.9")


@pytest.mark.parametrize("lost", ["manifest", "python"])
def test_properties_are_not_judged_beside_those_that_cannot_be_read(
    folder: Path, lost: str
) -> None:
    """The abort action needs lifecycle-support, which the manifest or the class may have."""
    files = {
        "manifest": 'image = "sp.bin"\nmanifest = "gone.dtb"',
        "python": 'python = "adder.py:Addr"',
    }
    said = f'[[sp]]\nname = "a"\n{files[lost]}\n[sp.properties]\nabort-action = 0'
    found = lines(folder, said)
    assert [line for line in found if lost not in line] == []


def test_a_partition_without_its_image_is_judged_beside_the_others(folder: Path) -> None:
    both = '[[sp]]\nname = "a"\nimage = "sq.bin"\nid = 0x8002\n[[sp]]\nname = "b"\n'
    found = lines(folder, f'{both}image = "sp.bin"\nid = 0x8002\n')
    assert found == [
        "[[sp]] a: image: no such file: sq.bin (did you mean 'sp.bin'?)",
        "[[sp]] b: id: 0x8002 is the id of a",
    ]


MISTAKES = [
    ("pes = 1\nseed = ?", "system.toml:2: Invalid value"),
    ("pes = [", "Invalid value (at end of document)"),
    ("sp = 3", "sp: expected tables: [[sp]]"),
    ("gic = 3", "gic: expected a table: [gic]"),
    ("spcm = {}", "spcm: unknown key (did you mean 'spmc'?)"),
    ('sp_layout = "none.json"', "none.json: No such file or directory"),
    (PARTITION + 'python = "adder.py:Adder"\noptions = 3', "[[sp]] a: options: expected a table"),
    (PARTITION + 'python = "adder.py:Adder"\noptions = {stp = 3}', "Adder(): TypeError: "),
    (PARTITION + 'python = "gone.py:Adder"', "[[sp]] a: python: no such file: gone.py"),
    (PARTITION + 'python = "odd.py:Odd"', "[[sp]] a: python: uuids: 'x' is not a UUID"),
    (
        PARTITION + 'python = "odd.py:Nothing"',
        "[[sp]] a: python: nothing is no Partition: it has no program and vector",
    ),
    (PARTITION + 'python = "odd.py:Says"', "[[sp]] a: python: says.manifest has no key 'vcpus'"),
    (PARTITION + 'package = "sp.bin"', "neither an SP package nor a transfer list"),
    (PARTITION + 'package = "torn.pkg"', "[[sp]] a: package: torn.pkg: header.magic"),
    (PARTITION + 'package = "void.pkg"', "[[sp]] a: package: void.pkg: image (byte 0x0)"),
    (PARTITION + 'package = "none.pkg"', "[[sp]] a: package: no such file: none.pkg"),
    (PARTITION + 'image = "sp.bin"\nmanifest = "sp.bin"', "sp.bin: header.magic (byte 0x0)"),
    (PARTITION + 'image = "sp.bin"\nmanifest = "bad.dtb"', "bad.dtb: /: ffa-version: missing"),
    (
        PARTITION + 'image = "sp.bin"\nmanifest = "far.dtb"\nimage_offset = 0x2000',
        "[[sp]] a: entrypoint-offset: 0x3000: not in the image, 0x2000-0x2fff",
    ),
    (PARTITION + 'image = "sp.bin"\nmanifest = "sp3.dtb"', "no such file: sp3.dtb (did you mean"),
    (PARTITION + 'image = "none.elf"', "[[sp]] a: image: none.elf: elf (byte 0x0)"),
    (PARTITION + 'image = "."', "a folder, not a regular file"),
    (PARTITION + 'image = "sp.bin"\nproperties = {id = 70000}', ".properties: id: 0x11170 is more"),
    (PARTITION + 'image = "sp.bin"\nproperties = {memry-regions = {}}', "did you mean 'memory-r"),
    (PARTITION + 'image = "sp.bin"\nmem_size = 0x4000', "0x5000 bytes from the load address do"),
    (PARTITION + 'image = "low.elf"\nload_address = 0x7100000', "low.elf: linked to 0x7000000"),
    (
        PARTITION + 'python = "adder.py:Adder"\n' + PARTITION + 'python = "adder.py:Adder"',
        "[[sp]] a: name: another partition has this name",
    ),
    ('[spmc]\nmanifest = "sp1.dtb"', "sp1.dtb: /: compatible: 'arm,ffa-manifest-1.0' is not"),
    ('pes = 9\n[spmc]\nmanifest = "spmc.dtb"', "pes: 9, but 8 affinities are listed"),
    (
        PARTITION + 'image = "sp.bin"\nmanifest = "sp1.dtb"\nvcpus = 1\n'
        '[spmc]\nmanifest = "spmc.dtb"',
        "[[sp]] a: execution-ctx-count: 1, but vm1 of the SPMC manifest has 8",
    ),
    ('[[vm]]\nname = "v"\npackage = "sp.pkg"', "[[vm]] v: package: unknown key"),
    (
        '[[device]]\ntype = "pl011"\nbase = 0\nfrequency = 1',
        "[[device]] #1: frequency: unknown key",
    ),
    ("[[device]]\nbase = 0x1000", "[[device]] #1: type: missing"),
    ("[[memory]]\nbase = 0", "[[memory]] #1: size: missing"),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=[line for _, line in MISTAKES])
def test_a_mistake_is_one_line(folder: Path, text: str, line: str) -> None:
    (folder / "odd.py").write_text(ODD_CODE)
    (folder / "torn.pkg").write_bytes(build_package(Package(bytes(64), IMAGE)))
    (folder / "void.pkg").write_bytes(build_package(Package(manifest(0, 0), b"")))
    (folder / "bad.dtb").write_bytes(build_dtb(Node("", {"compatible": b"arm,ffa-manifest-1.0\0"})))
    far = manifest(0x0700_0000, 0, execution_ctx_count=1, entrypoint_offset=0x3000)
    (folder / "far.dtb").write_bytes(far)
    (folder / "none.elf").write_bytes(b"\x7fELF")
    (folder / "low.elf").write_bytes(low_elf())
    found = lines(folder, text)
    assert any(line in each for each in found), found


def low_elf() -> bytes:
    import struct

    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01" + bytes(9), 2, 183, 1, 0x700_0000, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x700_0000, 0x700_0000, 120, 120, 0x1000)


ODD = [3, -1, 1.5, True, "", "x", "0x10", [], [1], ["x"], {}, {"x": 1}, [{}], "../..", 2**70]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a parsed TOML file, tables and arrays included."""
    if not isinstance(value, dict | list):
        return [path]
    below = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(found for key, each in below for found in places(each, (*path, key)))]


@pytest.mark.parametrize("place", places(tomllib.loads(FULL))[1:], ids=str)
def test_any_odd_value_is_refused_or_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, ...]
) -> None:
    """No value anywhere brings a traceback: the file is read, or its mistakes are."""
    for odd in ODD:
        root = tomllib.loads(FULL)
        table: Any = root
        for key in place[:-1]:
            table = table[key]
        table[place[-1]] = odd
        monkeypatch.setattr(toml_system, "parse", lambda _, root=root: root)
        with suppress(SystemErrors):
            read_system(folder / "system.toml")


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    with pytest.raises(SystemErrors, match="No such file or directory"):
        read_system(tmp_path / "none.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(SystemErrors, match="byte 0x8 is not UTF-8"):
        read_system(path)


def test_the_schema_knows_every_key() -> None:
    schema: Any = config_schema()
    json.dumps(schema)
    members = schema["properties"]
    assert {"sp", "vm", "memory", "device", "spmc", "gic", "run", "pes"} <= members.keys()
    tables = {
        "": members,
        "[spmc]": members["spmc"]["properties"],
        "[[sp]]": members["sp"]["items"]["properties"],
        "[[vm]]": members["vm"]["items"]["properties"],
        "[[device]]": members["device"]["items"]["properties"],
        "[run]": members["run"]["properties"],
    }
    for table in TABLES:
        known = tables.get(table.path.split(" type")[0], {})
        if known:
            assert {key.name for key in table.keys} <= known.keys()
    inline = tables["[[sp]]"]["properties"]["properties"]
    assert "ffa-version" in inline
    assert "memory-regions" in inline


def test_every_key_is_documented() -> None:
    documented = rows(TABLES)
    assert all(row.doc for row in documented)
    engine = next(row for row in documented if row.name == "engine")
    assert engine.allowed == "python, unicorn, qemu"


MONITOR = """
[spmc]
sri = 9
[monitor]
spmd_logical_partition = true
[monitor.calls]
0x82000010 = 7
"0xc2000011" = [1, 2]
0x82000012 = "board.py:uid"
[[logical_partition]]
name = "rng"
uuid = "0a1b2c3d-0000-4000-8000-000000000005"
[[logical_partition]]
name = "fuses"
uuid = "0a1b2c3d-0000-4000-8000-000000000006"
python = "board.py:fuses"
[[sp]]
name = "adder"
python = "adder.py:Adder"
"""


@pytest.fixture
def el3(folder: Path) -> Path:
    """A folder with the functions that EL3 has."""
    (folder / "board.py").write_text("def uid(x): return 1\ndef fuses(words): return words\n")
    return folder


def test_what_el3_has(el3: Path) -> None:
    system = read_system(write(el3, MONITOR))
    assert system.sri == 9
    monitor = system.monitor
    assert monitor.spmd_logical_partition
    serve = PythonSource("board.py:uid", el3)
    assert monitor.calls == ((0x8200_0010, (7,)), (0xC200_0011, (1, 2)), (0x8200_0012, serve))
    rng, fuses = monitor.logical_partitions
    assert (rng.id, rng.serve, fuses.id) == (0xFFC1, None, 0xFFC2)
    assert fuses.serve == PythonSource("board.py:fuses", el3)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("sri = 9", "sri = 16", "[spmc]: sri: 0x10 is more than 0xf"),
        ("0x82000010 = 7", "sip = 7", "a key is a function ID, such as 0x82000001"),
        ("0x82000010 = 7", "0x82000010 = true", "expected x0, a list of x0 and on"),
        ("0x82000010 = 7", "0x84000063 = 7", "EL3 answers it"),
        ('name = "rng"', 'name = "rng"\nid = 0x8001', "id: 0x8001 is less than 0xffc0"),
        ('name = "rng"', 'name = "rng"\nid = 0xffc0', "0xffc0 is spmd-lp's already"),
        ('name = "rng"\n', "", "[[logical_partition]] #1: name: missing"),
        ("board.py:uid", "board.py:uidd", "0x82000012: board.py has no 'uidd' (did you mean 'uid'"),
        ("board.py:fuses", "board.py:__file__", "fuses: python: str is not a function"),
        ("0x82000010 = 7", "2181038098 = 7", "0x82000012: 0x82000012 has an answer already"),
    ],
)
def test_mistakes_in_what_el3_has(el3: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(SystemErrors) as error:
        read_system(write(el3, MONITOR.replace(before, after, 1)))
    assert message in str(error.value)
