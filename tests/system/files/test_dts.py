"""Devicetree source: the same tree as dtc makes, and errors with file and line."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ffabric.system.files import dts
from ffabric.system.files.dtb import Tree, build_dtb, parse_dtb
from ffabric.system.files.dts import read_tree
from ffabric.system.manifest.binding import read_manifest
from ffabric.system.options.problems import ManifestErrors

MANIFEST = """
/dts-v1/;
/memreserve/ 0x80000000 0x10000;
/ {
    compatible = "arm,ffa-manifest-1.0";
    ffa-version = <0x00010002>; /* 31:16 - Major, 15:0 - Minor */
    uuid = <0xe0786148 0xe311f8e7 0x02005ebc 0x1bc5d5a5>;
    execution-ctx-count = <4>;
    exception-level = <2>;
    execution-state = <0>;
    load-address = <0x0 0x7000000>;
    messaging-method = <0x607>;
    notification-support;

    rx_tx-info {
        compatible = "arm,ffa-manifest-rx_tx-buffer";
        rx-buffer = <&rx>;
        tx-buffer = <&tx>;
    };
    memory-regions {
        compatible = "arm,ffa-manifest-memory-regions";
        rx: rx { base-address = <0x0 0x7300000>; pages-count = <1>; attributes = <0x1>; };
        tx: tx { base-address = <0x0 0x7301000>; pages-count = <1>; attributes = <0x3>; };
    };
};
"""

PREPROCESSED = """
/dts-v1/;
#include "levels.dtsi"
#define CTX(n) execution-ctx-count = <n>;
/ {
    compatible = "arm,ffa-manifest-1.0";
    #address-cells = <2>;
    ffa-version = <0x00010002>;
    uuid = <1 2 3 4>;
    CTX(4)
    exception-level = <LEVEL>;
    execution-state = <0>;
    messaging-method = <0x607>;
};
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_source_reads_as_the_manifest_it_describes(tmp_path: Path) -> None:
    tree = read_tree(write(tmp_path, "sp.dts", MANIFEST))
    manifest = read_manifest(tree.root)
    assert tree.reservations == [(0x8000_0000, 0x1_0000)]
    assert manifest.execution_ctx_count == 4
    assert (manifest.rx_buffer, manifest.tx_buffer) == ("rx", "tx")


@pytest.mark.skipif(shutil.which("dtc") is None, reason="needs device-tree-compiler")
def test_a_source_gives_the_tree_that_dtc_gives(tmp_path: Path) -> None:
    path = write(tmp_path, "sp.dts", MANIFEST)
    blob = subprocess.run(["dtc", "-q", "-O", "dtb", path], capture_output=True, check=True).stdout
    assert sorted_tree(parse_dtb(blob)) == sorted_tree(read_tree(path))


def sorted_tree(tree: Tree) -> list[tuple[str, dict[str, bytes]]]:
    return sorted((path, node.props) for path, node in tree.root.walk())


def test_a_blob_is_read_as_it_is(tmp_path: Path) -> None:
    tree = read_tree(write(tmp_path, "sp.dts", MANIFEST))
    assert read_tree(write(tmp_path, "sp.dtb", build_dtb(tree))) == tree


@pytest.mark.skipif(shutil.which("cpp") is None, reason="needs a C preprocessor")
def test_a_source_with_directives_is_preprocessed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    write(shared, "levels.dtsi", "#define LEVEL 2\n")
    tree = read_tree(write(tmp_path, "sp.dts", PREPROCESSED), [shared])
    assert read_manifest(tree.root).execution_ctx_count == 4


def failure(path: Path) -> str:
    with pytest.raises(ManifestErrors) as caught:
        read_tree(path)
    return str(caught.value)


@pytest.mark.skipif(shutil.which("cpp") is None, reason="needs a C preprocessor")
def test_a_missing_include_keeps_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "sp.dts", PREPROCESSED)
    assert failure(path) == f"{path}:3: levels.dtsi: No such file or directory"


@pytest.mark.skipif(shutil.which("cpp") is None, reason="needs a C preprocessor")
def test_a_mistake_in_a_preprocessed_source_keeps_its_line(tmp_path: Path) -> None:
    source = '#define N 1\n/dts-v1/;\n/ {\n    compatible = "x"\n};\n'
    path = write(tmp_path, "sp.dts", source)
    assert failure(path).startswith(f"{path}:5: expected")


def test_a_mistake_keeps_its_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "sp.dts", '/dts-v1/;\n/ {\n    compatible = "x"\n};\n')
    assert failure(path).startswith(f"{path}:4: expected")


def test_a_reference_to_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "sp.dts", "/dts-v1/;\n/ { rx-buffer = <&rx>; };\n")
    assert "undefined node label 'rx'" in failure(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert failure(tmp_path / "none.dts").endswith("none.dts: No such file or directory")
    assert "byte 0x1 is not UTF-8" in failure(write(tmp_path, "latin.dts", b"/\xff"))
    assert "header.magic" in failure(write(tmp_path, "bad.dtb", bytes(64)))


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "devicetree", None)
    assert "pip install 'ffabric[dts]'" in failure(write(tmp_path, "sp.dts", MANIFEST))


def test_without_a_preprocessor_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dts.shutil, "which", lambda _: None)
    assert "install cpp, gcc or clang" in failure(write(tmp_path, "sp.dts", PREPROCESSED))
