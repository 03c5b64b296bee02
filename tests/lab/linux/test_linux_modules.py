"""Kernel modules and kernels of a user's own, as far as they are files."""

import gzip
import lzma
import struct
from pathlib import Path

import pytest

from debs import package
from ffabric.lab.linux import cpio, initramfs, own
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.linux.kernel import Kernel
from ffabric.lab.linux.modules import in_order, parse_module, read_kernel

RELEASE = "7.9.1-own"


def module(name, release=RELEASE, depends="", *, machine=183, kind=1, section=b".modinfo\0"):
    """An object file with the texts of a module."""
    texts = f"license=GPL\0depends={depends}\0name={name}\0vermagic={release} SMP aarch64\0"
    info, names = texts.encode(), b"\0" + section
    headers = bytes(64)
    headers += struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, 64, len(info), 0, 0, 1, 0)
    headers += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)
    at = 64 + len(info) + len(names)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, kind, machine, 1, 0, 0, at, 0, 64, 0, 0, 64, 3, 2
    )
    return header + info + names + headers


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_what_a_module_says_of_itself(suffix, pack):
    found = parse_module(f"dir/my-driver.ko{suffix}", pack(module("my_driver", depends="a-b,c")))
    assert (found.name, found.release, found.depends) == ("my_driver", RELEASE, ("a_b", "c"))
    assert found.data == module("my_driver", depends="a-b,c")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no kernel module: there is no section .modinfo"),
        (b"text" * 100, "no kernel module for AArch64"),
        (module("x", machine=62), "no kernel module for AArch64"),
        (module("x", kind=2), "no kernel module for AArch64"),
        (module("x", section=b".other\0"), "no kernel module: there is no section .modinfo"),
        (module("x")[:100], "no kernel module: there is no section .modinfo"),
        (module("x").replace(b"vermagic", b"vermagik"), "no kernel module: its .modinfo has no"),
    ],
)
def test_what_is_no_module_is_said(data, reason):
    with pytest.raises(PackageError, match=f"^x.ko: {reason}"):
        parse_module("x.ko", data)


def test_a_module_of_another_kernel_is_said_in_a_line():
    mine = parse_module("mine.ko", module("mine", "6.1.0-9-arm64"))
    with pytest.raises(PackageError, match=r"of the kernel 6\.1\.0-9-arm64, and this one is 7\.9"):
        in_order([mine], RELEASE, {})
    same = parse_module("mine.ko", module("mine"))
    assert in_order([same], RELEASE, {}) == [same]


def test_what_a_module_depends_on_is_loaded_before_it():
    known = {
        name: (f"/{name}.ko", module(name, depends=depends))
        for name, depends in [("a", "b,c"), ("b", "c"), ("c", ""), ("d", "mine")]
    }
    mine = parse_module("mine.ko", module("mine", depends="a,there"))
    found = in_order(["d", mine, "c"], RELEASE, known, ["there"])
    assert [each.name for each in found] == ["c", "b", "a", "mine", "d"]
    with pytest.raises(PackageError, match="mine needs the module there: it is not there"):
        in_order([mine], RELEASE, known)
    with pytest.raises(PackageError, match=r"no package of the kernel has a module aa \(did you"):
        in_order(["aa"], RELEASE, known)


def test_modules_that_depend_on_each_other_have_an_end():
    known = {"a": ("/a.ko", module("a", depends="b")), "b": ("/b.ko", module("b", depends="a"))}
    assert [each.name for each in in_order(["a"], RELEASE, known)] == ["b", "a"]


IMAGE = bytes(64) + b"Linux version 7.9.1-own (me@here) #1" + bytes(64)


def zboot(packing):
    """An image that expands itself."""
    data = gzip.compress(IMAGE)
    return struct.pack("<4s4sII8x4s", b"MZ\0\0", b"zimg", 64, len(data), packing).ljust(64) + data


@pytest.mark.parametrize("data", [IMAGE, gzip.compress(IMAGE), zboot(b"gzip")])
def test_a_kernel_says_its_release_however_it_is_packed(tmp_path, data):
    (tmp_path / "Image").write_bytes(data)
    assert read_kernel(tmp_path / "Image") == (RELEASE, IMAGE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no Linux kernel"),
        (bytes(1000), "no Linux kernel"),
        (gzip.compress(IMAGE)[:40], "truncated"),
        (b"\x1f\x8b" + bytes(40), "broken"),
        (zboot(b"lzma"), "packed with lzma is not read here"),
    ],
)
def test_what_is_no_kernel_is_said(tmp_path, data, reason):
    (tmp_path / "Image").write_bytes(data)
    with pytest.raises(PackageError) as refused:
        read_kernel(tmp_path / "Image")
    assert any(each in str(refused.value) for each in reason.split("|"))


@pytest.fixture
def kernel(tmp_path):
    folder = tmp_path / "packages"
    folder.mkdir()
    where = f"lib/modules/{RELEASE}/kernel/drivers/block"
    package(
        folder,
        "linux-modules-7.9",
        {f"{where}/blk.ko.xz": lzma.compress(module("blk", depends="tee"))},
    )
    name = next(folder.iterdir()).name
    return Kernel(RELEASE, IMAGE, {"ffa-core": b"core", "tee": b"tee"}, b"busybox", (name,)), folder


def test_own_modules_come_after_the_drivers_of_ffa(kernel, tmp_path):
    found, folder = kernel
    (tmp_path / "mine.ko").write_bytes(module("mine", depends="blk,ffa-core"))
    (tmp_path / "files" / "sub").mkdir(parents=True)
    (tmp_path / "files" / "run").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "files" / "run").chmod(0o644)
    (tmp_path / "files" / "sub" / "link").symlink_to("../run")
    theirs = own.own([str(tmp_path / "mine.ko")], tmp_path / "files", found, folder)
    assert [each.name for each in theirs.modules] == ["blk", "mine"]
    assert theirs.has_script
    archive = initramfs.build(found, theirs)
    assert b"for module in ffa-core tee blk mine; do" in archive
    assert b"root/sub/link" in archive
    script = cpio.file("root/run", b"#!/bin/sh\n", 0o755)
    assert script in theirs.files, "it may be executed there, though not here"


@pytest.mark.parametrize(
    ("modules", "files", "reason"),
    [
        (["none.ko"], None, r"no such file: none\.ko$"),
        (["none"], None, r"has a module none \(one of your own is named by its file, with \.ko\)"),
        (["blkk"], None, r"has a module blkk \(did you mean 'blk'\?\)$"),
        ([], Path("none"), "none: there is no such folder"),
    ],
)
def test_what_is_not_there_is_named(kernel, modules, files, reason):
    found, folder = kernel
    with pytest.raises((PackageError, OSError), match=reason):
        own.own(modules, files, found, folder)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("mine", r"no such file: .*/mine \(did you mean 'mine\.ko'\?\)$"),
        ("mime.ko", r"no such file: .*/mime\.ko \(did you mean 'mine\.ko'\?\)$"),
        ("mine.o", r"mine\.o: no kernel module"),
        ("blk", r"no such file: .*/blk$"),
        ("there/", r"a folder, not a regular file"),
    ],
)
def test_a_module_in_a_folder_that_is_named_is_a_file(kernel, tmp_path, given, reason):
    found, folder = kernel
    (tmp_path / "mine.ko").write_bytes(module("mine"))
    (tmp_path / "mine.o").write_bytes(b"an object of something else")
    (tmp_path / "there").mkdir()
    with pytest.raises((PackageError, OSError), match=reason):
        own.own([f"{tmp_path}/{given}"], None, found, folder)
    (mine,) = own.own([f"{tmp_path}/mine.ko"], None, found, folder).modules
    assert mine.name == "mine"


def test_packages_that_are_gone_are_named(kernel, tmp_path):
    found, _ = kernel
    with pytest.raises(PackageError, match=r"is not there any more: say --refresh"):
        own.own(["blk"], None, found, tmp_path)
