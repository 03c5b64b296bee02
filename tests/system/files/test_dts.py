"""Devicetree source: the same tree as dtc makes, and errors with file and line."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ffabric.system.files import preprocess
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
    monkeypatch.delitem(sys.modules, "ffabric.system.files.source", raising=False)
    monkeypatch.setitem(sys.modules, "devicetree", None)
    assert "pip install 'ffabric[dts]'" in failure(write(tmp_path, "sp.dts", MANIFEST))


def test_without_a_preprocessor_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess.shutil, "which", lambda _: None)
    assert "install cpp, gcc or clang" in failure(write(tmp_path, "sp.dts", PREPROCESSED))


HEAD = "/dts-v1/;\n/ {\n"
TAIL = ";\n};\n"


def nested(levels: int) -> str:
    return "/dts-v1/;\n/ {" + "a {" * levels + "};" * levels + "};\n"


def doubling(generations: int) -> str:
    """A macro that becomes 10 to the power of `generations` words."""
    macros = "".join(f"#define A{n + 1} {f'A{n} ' * 10}\n" for n in range(generations))
    return f"#define A0 word\n{macros}{HEAD}a = <1>;\nA{generations}\n}};\n"


def labels(count: int) -> str:
    return HEAD + " ".join(f"l{n}:" for n in range(count)) + " node { };\n};\n"


HOSTILE = {
    "a shift by 10^9": (f"{HEAD}a = <(1 << 1000000000)>{TAIL}", ":3: a shift by 64 or more bits"),
    "a shift backwards": (f"{HEAD}a = <(1 << (0-1))>{TAIL}", ":3: a shift by less than 0 bits"),
    "a wide product": (
        f"{HEAD}a = <({'0xffffffff*' * 3}1)>{TAIL}", ":3: a number of more than 64 bits",
    ),
    "a number of 5,000 digits": (f"{HEAD}a = <{'9' * 5000}>{TAIL}", "Exceeds the limit"),
    "nodes in nodes": (nested(65), ":2: nested deeper than 64 nodes"),
    "many nodes in nodes": (nested(3000), ":2: nested deeper than 64 nodes"),
    "parentheses": (f"{HEAD}a = <{'(' * 5000}1{')' * 5000}>{TAIL}", "nested too deep"),
    "signs": (f"{HEAD}a = <({'-' * 5000}1)>{TAIL}", "nested too deep"),
    "labels": (labels(2049), ":3: more than 2048 labels and references"),
    "tokens": (f"{HEAD}a = <{'1 ' * 40000}>{TAIL}", ":3: more than 32768 tokens"),
    "an endless include": (f'{HEAD}/include/ "/dev/zero"{TAIL}', "a device, not a regular file"),
    "an endless content": (f'{HEAD}a = /incbin/("/dev/zero"){TAIL}', "a device, not a regular"),
    "an include of a FIFO": (f'{HEAD}/include/ "fifo"{TAIL}', "fifo: a FIFO, not a regular file"),
    "an include of itself": (f'{HEAD}/include/ "self.dtsi"{TAIL}', "more than 256 files"),
    "a content before the file": (f'{HEAD}a = /incbin/("hostile.dts", (0-5), 3){TAIL}', "negative"),
    "too much text": (" " * ((1 << 20) + 1), "larger than 1 MiB"),
}  # fmt: skip
"""What is in a source -> the source, and a part of the line that refuses it."""


@pytest.mark.parametrize(("source", "line"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_source_is_refused_in_a_line(tmp_path: Path, source: str, line: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    write(tmp_path, "self.dtsi", '/include/ "self.dtsi"')
    path = write(tmp_path, "hostile.dts", source)
    said = failure(path)
    assert line in said
    assert said.startswith(str(tmp_path))
    assert len(said.splitlines()) == 1


NEIGHBOURS = {
    "a shift by 63": (f"{HEAD}a = <((1 << 63) >> 60)>{TAIL}", struct.pack(">I", 8)),
    "the widest number": (f"{HEAD}a = /bits/ 64 <0xffffffffffffffff>{TAIL}", b"\xff" * 8),
    "the most labels": (labels(2048), None),
    "the deepest nodes": (nested(63), None),
    "an include and a content": (
        f'{HEAD}/include/ "part.dtsi" a = /incbin/("data"){TAIL}', b"data",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "value"), NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_its_nearest_neighbour_is_read(tmp_path: Path, source: str, value: bytes | None) -> None:
    write(tmp_path, "part.dtsi", "part { };\n")
    write(tmp_path, "data", b"data")
    tree = read_tree(write(tmp_path, "sp.dts", source))
    assert tree.root.props.get("a") == value


def test_includes_that_double_are_bounded(tmp_path: Path) -> None:
    for n in range(25):
        write(tmp_path, f"{n}.dtsi", f'/include/ "{n + 1}.dtsi"\n' * 2)
    write(tmp_path, "25.dtsi", "")
    assert "more than 256 files or 1 MiB are included" in failure(
        write(tmp_path, "bomb.dts", f'{HEAD}/include/ "0.dtsi"{TAIL}')
    )


@pytest.mark.skipif(shutil.which("cpp") is None, reason="needs a C preprocessor")
def test_macros_that_grow_without_end_are_bounded(tmp_path: Path) -> None:
    assert failure(write(tmp_path, "bomb.dts", doubling(9))).endswith(
        "1 MiB or more after the preprocessor"
    )
    assert "expected" in failure(write(tmp_path, "word.dts", doubling(2)))


@pytest.mark.skipif(shutil.which("cpp") is None, reason="needs a C preprocessor")
def test_a_preprocessor_that_waits_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "SECONDS", 0)
    os.mkfifo(tmp_path / "fifo")
    path = write(tmp_path, "sp.dts", f'#include "fifo"\n{HEAD}}};\n')
    assert failure(path) == f"{path}: the preprocessor has not ended after 0 s"


def test_a_blob_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path, "big.dtb", b"")
    os.truncate(path, (2 << 20) + 1)
    assert failure(path) == f"{path}: larger than 2 MiB, the most that is read"


def test_a_file_for_inclusion_is_source_too(tmp_path: Path) -> None:
    """TF-A's `tc_spmc_manifest.dtsi` is a whole tree; most others say that they are none."""
    (tmp_path / "a.dtsi").write_text(MANIFEST)
    assert read_tree(tmp_path / "a.dtsi").root.props["execution-ctx-count"] == b"\0\0\0\4"
    (tmp_path / "b.dtsi").write_text("/ { };\n")
    with pytest.raises(ManifestErrors, match=r"b\.dtsi:1: expected '/dts-v1/;' at start"):
        read_tree(tmp_path / "b.dtsi")
