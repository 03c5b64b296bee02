"""Initial file systems: what cpio and the kernel's rules say of the archives."""

import shutil
import subprocess

import pytest

from ffabric.lab.linux import cpio


def test_an_entry_is_a_header_a_name_and_content_padded_to_words():
    archive = cpio.build([cpio.file("init", b"hello", 0o755)])
    assert archive[:6] == b"070701"
    fields = [int(archive[6 + at : 14 + at], 16) for at in range(0, 104, 8)]
    assert fields == [1, 0o100755, 0, 0, 1, 0, 5, 0, 0, 0, 0, 5, 0]
    assert archive[110:116] == b"init\0\0"[:5] + b"\0"
    assert archive[116:124] == b"hello\0\0\0"
    assert b"TRAILER!!!\0" in archive
    assert len(archive) % 4 == 0


def test_folders_above_come_first_and_once():
    archive = cpio.build([cpio.file("a/b/c", b""), cpio.folder("a/b"), cpio.file("a/d", b"")])
    names = [name for name in (b"a\0", b"a/b\0", b"a/b/c\0", b"a/d\0") if name in archive]
    assert len(names) == 4
    assert archive.count(b"070701") == 5
    assert archive.index(b"a\0") < archive.index(b"a/b\0") < archive.index(b"a/b/c\0")


@pytest.mark.parametrize("path", ["/init", "a//b", "../x", "a/./b", ""])
def test_paths_lie_below_the_root(path):
    with pytest.raises(ValueError, match="not a path below the root"):
        cpio.build([cpio.file(path, b"")])


def test_a_file_is_there_once():
    with pytest.raises(ValueError, match="twice"):
        cpio.build([cpio.file("init", b"1"), cpio.file("init", b"2")])


def test_cpio_lists_it(tmp_path):
    if shutil.which("cpio") is None:
        pytest.fail("no cpio: apt-get install cpio")
    archive = cpio.build(
        [
            cpio.file("init", b"#!/bin/sh\n", 0o755),
            cpio.link("bin/sh", "busybox"),
            cpio.character_device("dev/console", 5, 1),
        ]
    )
    listed = subprocess.run(
        ["cpio", "-tv", "--numeric-uid-gid"], input=archive, check=True, capture_output=True
    ).stdout.decode()
    assert [line.split()[0] for line in listed.splitlines()] == [
        "-rwxr-xr-x",
        "drwxr-xr-x",
        "lrwxrwxrwx",
        "drwxr-xr-x",
        "crw-------",
    ]
    assert "bin/sh -> busybox" in listed
