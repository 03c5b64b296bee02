"""`ffabric manifest FILE`: any file is told for what it is, with every mistake."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from ffabric.system.description.check import check_file
from ffabric.system.files.dtb import Node, build_dtb
from ffabric.system.files.package import Package, build_package
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.manifest.spmc import SpmcManifest
from ffabric.system.manifest.writer import manifest_node
from ffabric.system.spec import SystemSpec

MANIFEST = Manifest(uuids=(UUID("5a7c6d2e-0000-4000-8000-000000000001"),))
BLOB = build_dtb(manifest_node(MANIFEST))
ATTRIBUTE = {name: bytes([0, 0, 0, 1]) for name in ("spmc_id", "maj_ver", "min_ver")}
SPMC = Node("", {"compatible": b"arm,ffa-core-manifest-1.0\0"}, [Node("attribute", ATTRIBUTE)])


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("sp.dtb", BLOB, "partition manifest"),
        ("sp.img", BLOB, "partition manifest"),
        ("sp.dts", b"/dts-v1/; / { compatible = 'a'; };", "file"),
        ("spmc.dtb", build_dtb(SPMC), "SPMC manifest"),
        ("sp.pkg", build_package(Package(BLOB, b"code")), "partition package"),
        ("sp_layout.json", b"{}", "partition layout"),
        ("system.toml", b"[[vm]]\nname = 'a'\nimage = 'readme.img'", "system"),
        ("empty.toml", b"# nothing", "file"),
        ("readme.txt", b"hello", "file"),
    ],
)
def test_what_a_file_is(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (tmp_path / "readme.img").write_bytes(b"code")
    report = check_file(path)
    assert report.kind == kind
    assert report.ok is (kind != "file")
    assert (report.value is None) is (kind == "file")


def test_values_are_what_the_readers_give(tmp_path: Path) -> None:
    (tmp_path / "sp.dtb").write_bytes(BLOB)
    (tmp_path / "spmc.dtb").write_bytes(build_dtb(SPMC))
    (tmp_path / "s.toml").write_text("pes = 2")
    assert check_file(tmp_path / "sp.dtb").value == MANIFEST
    assert isinstance(check_file(tmp_path / "spmc.dtb").value, SpmcManifest)
    assert isinstance(check_file(tmp_path / "s.toml").value, SystemSpec)


def lines(path: Path) -> list[str]:
    report = check_file(path)
    assert report.value is None
    return [str(problem).removeprefix(f"{path}: ") for problem in report.problems]


def test_every_mistake_is_in_the_report(tmp_path: Path) -> None:
    root = manifest_node(MANIFEST)
    del root.props["uuid"]
    root.props["boot-ordr"] = b""
    (tmp_path / "bad.dtb").write_bytes(build_dtb(root))
    assert lines(tmp_path / "bad.dtb") == [
        "warning: /: boot-ordr: unknown property, ignored (did you mean 'boot-order'?)",
        "/: uuid: missing",
    ]
    (tmp_path / "bad.pkg").write_bytes(build_package(Package(b"no", b"code")))
    assert lines(tmp_path / "bad.pkg") == [
        "header (byte 0x0): 0x2: shorter than the 40-byte header"
    ]
    (tmp_path / "bad.json").write_text(json.dumps({"sp": {}}))
    assert lines(tmp_path / "bad.json") == ["sp: image: missing", "sp: pm: missing"]
    assert lines(tmp_path / "none.dts")[0].startswith("no such file")
