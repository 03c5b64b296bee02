"""sp_layout.json."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from ffabric.system.description.sp_layout import LayoutEntry, read_layout
from ffabric.system.options.problems import LayoutErrors

MANY = {
    "plain": {"image": "sp.bin", "pm": "sp.dts"},
    "placed": {
        "image": {"file": "sp.bin", "offset": "0x2000"},
        "pm": {"file": "sp.dts", "offset": "0x1000"},
        "uuid": "1b1820fe-48f7-4175-8999-d51da00b7c9f",
        "owner": "Plat",
        "package": "tl_pkg",
        "size": "0x300000",
        "physical-load-address": "0x7000000",
        "boot-info": True,
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sp.bin").write_bytes(bytes(8))
    (tmp_path / "sp.dts").write_text("/dts-v1/;")
    return tmp_path


def write(folder: Path, content: object) -> Path:
    path = folder / "sp_layout.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_key(folder: Path) -> None:
    plain, placed = read_layout(write(folder, MANY))
    assert plain == LayoutEntry(name="plain", image=folder / "sp.bin", manifest=folder / "sp.dts")
    assert (plain.manifest_offset, plain.image_offset) == (0x1000, 0x4000)
    assert placed == LayoutEntry(
        name="placed",
        image=folder / "sp.bin",
        manifest=folder / "sp.dts",
        image_offset=0x2000,
        manifest_offset=0x1000,
        uuid=UUID("1b1820fe-48f7-4175-8999-d51da00b7c9f"),
        owner="Plat",
        package="tl_pkg",
        size=0x30_0000,
        load_address=0x700_0000,
    )


def lines(path: Path) -> list[str]:
    with pytest.raises(LayoutErrors) as caught:
        read_layout(path)
    return [
        line.removeprefix(str(path)).lstrip(":").strip() for line in str(caught.value).split("\n")
    ]


def test_all_mistakes_come_at_once(folder: Path) -> None:
    path = write(
        folder,
        {
            "one": {"image": "sp.bim", "pm": "sp.dts", "onwer": "SiP"},
            "two": {"image": {"file": "sp.bin", "offset": "0x800"}, "pm": 3, "owner": "Me"},
            "three": [],
            "four": {"image": {"offset": 0}, "pm": "sp.dts", "uuid": "x"},
            "five": {"image": {"file": "sp.bin", "offset": "0x1000"}, "pm": "sp.dts"},
        },
    )
    assert lines(path) == [
        "one: onwer: unknown key (did you mean 'owner'?)",
        f"one: image: no such file: {folder}/sp.bim (did you mean 'sp.bin'?)",
        "two.image: offset: 0x800 is not a multiple of 0x1000",
        "two: pm: expected text, not a number",
        "two: owner: 'Me' is not one of SiP, Plat",
        "three: expected an object",
        "four.image: file: missing",
        "four: uuid: 'x' is not a UUID",
        "five: pm: offset 0x1000 is not below the image's 0x1000",
    ]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{\n "a": {"image": "sp.bin"; 1},\n}', "2: column 25: "),
        ('{"a": {"image": "sp.bin", "pm": "sp.dts"}, "a": {}}', "a: given twice"),
        ("[]", "expected an object with a member for each partition"),
    ],
)
def test_what_is_no_layout(folder: Path, content: str, line: str) -> None:
    assert lines(write(folder, content))[0].startswith(line)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert lines(tmp_path / "none.json") == ["No such file or directory"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "sp_layout.json"
    path.write_bytes(b'{"\xff": 1}')
    assert "is not UTF-8" in lines(path)[0]
