"""``ffabric manifest``."""

from uuid import UUID

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.reading.manifest import manifest
from ffabric.system.files.dtb import Node, build_dtb
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt, Manifest, MemoryRegion
from ffabric.system.manifest.writer import manifest_node

GOOD = Manifest(
    uuids=(UUID("5a7c6d2e-0000-4000-8000-000000000001"),),
    description="an adder",
    id=0x8003,
    messaging_method=0x203,
    memory_regions=(
        MemoryRegion(name="heap", pages=1, attributes=3),
        MemoryRegion(name="ram", pages=2, attributes=3, base_address=0x7000000),
    ),
    device_regions=(
        DeviceRegion(
            name="uart", base_address=0x1C0B0000, pages=1, attributes=3,
            interrupts=(Interrupt(40, 0),),
        ),
    ),
)  # fmt: skip

PARTS = """
from ffabric.guests.partition import Partition
class First(Partition): pass
class Second(Partition): pass
"""
SYSTEM = """
pes = 2
[[sp]]
name = "first"
python = "parts.py:First"
[[vm]]
name = "second"
python = "parts.py:Second"
[[device]]
type = "pl011"
name = "console"
base = 0x1c090000
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a file into the folder that is current."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path.joinpath(name).relative_to(tmp_path)

    return write


def test_a_valid_manifest_is_summed_up(written, capsys):
    file = written("sp.dtb", build_dtb(manifest_node(GOOD)))

    assert manifest(file) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sp.dtb: a valid partition manifest",
        "  FF-A         1.2",
        "  description  an adder",
        "  UUID         5a7c6d2e-0000-4000-8000-000000000001",
        "  id           0x8003",
        "  runs at      S_EL1, 1 execution context",
        "  messages     direct req recv, direct req send, direct req2 recv",
        "  memory       heap: 1 page, anywhere",
        "  memory       ram: 2 pages at 0x7000000",
        "  device       uart: 1 page at 0x1c0b0000, interrupt 40",
    ]


def test_every_mistake_of_every_file_is_printed(written, capsys):
    bad = written("bad.dtb", build_dtb(Node("", {"compatible": b"arm,ffa-manifest-1.0\0"}, [])))
    good = written("good.dtb", build_dtb(manifest_node(GOOD)))

    assert manifest(bad, good) == 2
    printed = capsys.readouterr()
    assert len([line for line in printed.err.splitlines() if line.startswith("bad.dtb: /: ")]) > 3
    assert printed.out.startswith("good.dtb: a valid partition manifest\n")


def test_a_system_is_summed_up_by_partition(written, capsys):
    written("parts.py", PARTS)

    assert manifest(written("system.toml", SYSTEM)) == 0
    shown = capsys.readouterr().out.splitlines()

    assert shown[0] == "system.toml: a valid system"
    assert shown[1:3] == ["  PEs          2", "  hypervisor   yes"]
    assert shown[3].startswith("  SP           first: 0x8001 at 0x")
    assert shown[4].startswith("  VM           second: 0x0001 at 0x")
    assert shown[5] == "  device       console: pl011 at 0x1c090000"


def test_an_spmc_manifest_and_a_layout_are_summed_up(written, capsys):
    words = {"spmc_id": 0x8000, "maj_ver": 1, "min_ver": 2}
    attribute = Node("attribute", {n: v.to_bytes(4, "big") for n, v in words.items()})
    spmc = Node("", {"compatible": b"arm,ffa-core-manifest-1.0\0"}, [attribute])
    written("sp.bin", b"code")
    written("sp.dts", "")
    layout = '{"adder": {"image": "sp.bin", "pm": "sp.dts"}}'

    assert manifest(written("spmc.dtb", build_dtb(spmc)), written("sp_layout.json", layout)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "spmc.dtb: a valid SPMC manifest",
        "  FF-A         1.2",
        "  id           0x8000",
        "sp_layout.json: a valid partition layout",
        "  partition    adder: sp.bin, sp.dts",
    ]


def test_at_least_one_file_is_named():
    with pytest.raises(UsageError, match="name at least one file"):
        manifest()
