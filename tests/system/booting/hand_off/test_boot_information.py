"""What a partition finds at its load address: what /boot-info of its manifest asks for."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ffabric import sp
from ffabric.abi.ffa.boot_info import (
    TYPE_FDT,
    TYPE_HOB,
    BootInfo,
    parse_boot_info,
    room_for_descriptors,
)
from ffabric.system.booting.boot import boot as boot_spec
from ffabric.system.description.python import describe
from ffabric.system.description.toml.system import read_system
from ffabric.system.endpoint import Endpoint
from ffabric.system.files.dtb import build_dtb, parse_dtb
from ffabric.system.manifest.manifest import Manifest, MemoryRegion
from ffabric.system.manifest.writer import manifest_node
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import SystemSpec

IDLE = bytes.fromhex("7f2003d5 ffffff17")
LOAD = 0x0700_0000
EITHER = ("ffa_manifest", "hob_list")


def read(endpoint: Endpoint) -> dict[int, BootInfo]:
    """The entries of the boot information by type, each with its data."""
    size = int.from_bytes(endpoint.memory.read(LOAD + 8, 4), "little")
    _, entries = parse_boot_info(endpoint.memory.read(LOAD, size), LOAD)
    for each in entries:
        each.data = endpoint.memory.read(each.contents, each.size)
    return {each.type: each for each in entries}


def told(wanted: tuple[str, ...], **given: Any) -> dict[int, BootInfo]:
    spec = describe(sps=[sp("s", image=IDLE, load_address=LOAD, boot_info=wanted, **given)])
    with boot_spec(spec) as system:
        return read(system.endpoints["s"])


@pytest.mark.parametrize(
    ("wanted", "types"),
    [
        ((), {TYPE_FDT}),
        (("ffa_manifest",), {TYPE_FDT}),
        (("hob_list",), {TYPE_HOB}),
        (EITHER, {TYPE_FDT, TYPE_HOB}),
    ],
)
def test_it_has_what_the_manifest_asks_for(wanted: tuple[str, ...], types: set[int]) -> None:
    assert told(wanted).keys() == types


def test_the_manifest_and_the_blocks_are_where_it_says() -> None:
    found = told(EITHER)
    assert parse_dtb(found[TYPE_FDT].data or b"").root.string("compatible")
    blocks = found[TYPE_HOB].data or b""
    assert (blocks[:4], blocks[-8:-4]) == (b"\x01\0\x38\0", b"\xff\xff\x08\0")


@pytest.mark.parametrize("wanted", [(), ("hob_list",), EITHER])
@pytest.mark.parametrize("package", ["sp_pkg", "tl_pkg", None])
def test_a_reader_that_looks_at_the_blob_alone_finds_all_of_it_in_its_order(
    tmp_path: Path, package: str | None, wanted: tuple[str, ...]
) -> None:
    """As arm-ffa's `BootInfo::unpack`: what is not in the blob, or not in order, is refused."""
    name = "one" if package else "s"
    spec = (
        layout(tmp_path, wanted, package=package)
        if package
        else describe(sps=[sp("s", image=IDLE, load_address=LOAD, boot_info=wanted)])
    )
    with boot_spec(spec) as system:
        memory = system.endpoints[name].memory
        size = int.from_bytes(memory.read(LOAD + 8, 4), "little")
        _, entries = parse_boot_info(memory.read(LOAD, size), LOAD)
        end = LOAD + room_for_descriptors(len(entries))
        for each in entries:
            assert end <= each.contents
            end = each.contents + each.size
    assert end <= LOAD + size


def test_blocks_without_room_are_refused() -> None:
    regions = [MemoryRegion(name=f"r{n}", pages=1, attributes=1) for n in range(200)]
    room = {"image_offset": 0x1_0000}
    assert told(EITHER, memory_regions=tuple(regions[:100]), **room)
    with pytest.raises(SystemErrors, match="bytes of hand-off blocks where 0x"):
        told(EITHER, memory_regions=tuple(regions), **room)


def layout(folder: Path, wanted: tuple[str, ...], **entry: Any) -> SystemSpec:
    """A system with one SP, in a package as an sp_layout.json has it."""
    manifest = Manifest(
        uuids=(UUID(int=1),), load_address=LOAD, boot_info=wanted, gp_register_num=0
    )
    (folder / "sp.dtb").write_bytes(build_dtb(manifest_node(manifest)))
    (folder / "sp.bin").write_bytes(IDLE)
    entry = {"image": "sp.bin", "pm": "sp.dtb", **entry}
    (folder / "layout.json").write_text(json.dumps({"one": entry}))
    (folder / "system.toml").write_text('sp_layout = "layout.json"')
    return read_system(folder / "system.toml")


@pytest.mark.parametrize(
    ("package", "wanted", "image"),
    [
        ("sp_pkg", (), 0x4000),
        ("sp_pkg", EITHER, 0x4000),
        ("tl_pkg", ("ffa_manifest",), 0x2000),
        ("tl_pkg", EITHER, 0x3000),
    ],
)
def test_a_package_is_laid_out_as_its_build_does(
    tmp_path: Path, package: str, wanted: tuple[str, ...], image: int
) -> None:
    (spec,) = layout(tmp_path, wanted, package=package).sps
    assert (spec.manifest_offset, spec.entry - spec.load_address) == (0x1000, image)


def test_a_transfer_list_has_the_blocks_before_the_image(tmp_path: Path) -> None:
    with boot_spec(layout(tmp_path, EITHER, package="tl_pkg")) as system:
        found = read(system.endpoints["one"])[TYPE_HOB]
    assert found.contents == LOAD + 0x2000
    assert (found.data or b"")[:2] == b"\x01\0"


def test_an_offset_that_the_layout_gives_is_kept(tmp_path: Path) -> None:
    image = {"file": "sp.bin", "offset": "0x8000"}
    (spec,) = layout(tmp_path, ("ffa_manifest",), package="tl_pkg", image=image).sps
    assert spec.entry == LOAD + 0x8000
