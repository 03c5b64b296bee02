"""Debian packages: reading them, finding a kernel in a folder or in the machine's sources."""

import gzip
import lzma
import os
import re
import shutil
import textwrap
import threading
from pathlib import Path

import pytest

from debs import ar, package, tar
from ffabric.lab.linux import apt, deb, kept, kernel, packages
from ffabric.lab.linux.deb import PackageError

RELEASE = "7.9.1-cloud-arm64"
MODULES = f"usr/lib/modules/{RELEASE}/kernel/drivers"


@pytest.fixture
def folder(tmp_path):
    package(tmp_path, f"linux-binary-{RELEASE}", {f"usr/lib/modules/{RELEASE}/vmlinuz": b"image"})
    package(
        tmp_path,
        f"linux-modules-{RELEASE}",
        {
            f"{MODULES}/firmware/arm_ffa/ffa-core.ko.xz": lzma.compress(b"core"),
            f"{MODULES}/firmware/arm_ffa/ffa-module.ko.gz": gzip.compress(b"module"),
            f"{MODULES}/tee/tee.ko": b"tee",
            f"{MODULES}/net/other.ko": b"other",
        },
    )
    package(tmp_path, "busybox-static", {"bin/busybox": b"busybox", "bin/other": b""})
    package(tmp_path, "linux-image-cloud-amd64", architecture="amd64")
    return tmp_path


def test_a_kernel_in_several_packages(folder):
    found = kernel.from_folder(folder)
    assert (found.release, found.image, found.busybox) == (RELEASE, b"image", b"busybox")
    assert found.modules == {"ffa-core": b"core", "ffa-module": b"module", "tee": b"tee"}
    assert len(found.packages) == 3


def test_a_kernel_in_one_package(folder):
    for old in folder.glob("linux-*"):
        old.unlink()
    package(
        folder,
        f"linux-image-{RELEASE}",
        {
            f"boot/vmlinuz-{RELEASE}": b"image",
            f"lib/modules/{RELEASE}/kernel/drivers/firmware/arm_ffa/ffa-core.ko": b"core",
            f"lib/modules/{RELEASE}/kernel/drivers/firmware/arm_ffa/ffa-module.ko": b"module",
        },
    )
    found = kernel.from_folder(folder)
    assert (found.release, found.image, sorted(found.modules)) == (
        RELEASE,
        b"image",
        ["ffa-core", "ffa-module"],
    )


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("busybox-static", "no package busybox-static for arm64"),
        (f"linux-modules-{RELEASE}", "has no FF-A driver"),
        (f"linux-binary-{RELEASE}", "there is no kernel image"),
    ],
)
def test_what_is_missing_in_a_folder_is_said(folder, missing, problem):
    (folder / f"{missing}_1_arm64.deb").unlink()
    with pytest.raises(PackageError, match=problem):
        kernel.from_folder(folder)


def test_an_empty_folder(tmp_path):
    with pytest.raises(PackageError, match="there are no arm64 packages in it"):
        kernel.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"PK\3\4", "no Debian package"),
        (b"!<arch>\n" + b"x" * 60, "broken at byte 8"),
        (ar(("debian-binary", b"2.0\n")), "there is no control.tar in it"),
        (ar(("control.tar.zst", b"")), "compressed in a way that is not known"),
        (ar(("control.tar.gz", b"not gzip")), "control.tar.gz"),
        (ar(("control.tar", tar({"other": b""}))), "there is no control file"),
    ],
)
def test_what_is_no_package_is_said(tmp_path, data, problem):
    path = tmp_path / "broken.deb"
    path.write_bytes(data)
    with pytest.raises(PackageError, match=problem):
        deb.control(path)


def test_fields_and_their_continuations():
    text = "Package: a\nDescription: short\n long\n  longer\n\n\nPackage: b\n"
    assert deb.paragraphs(text) == [
        {"Package": "a", "Description": "short\nlong\nlonger"},
        {"Package": "b"},
    ]


def test_dependencies_are_the_first_of_alternatives():
    fields = {
        "Pre-Depends": "libc6:any (>= 2)",
        "Depends": "dracut | initramfs-tools (>= 1), linux-binary-7 (= 7.2-1), ${odd}",
    }
    assert deb.dependencies(fields) == ["libc6", "dracut", "linux-binary-7"]


# The machine's sources, with programs of our own for apt's.

APT = """\
#!/bin/sh
case "$*" in
    *indextargets*REPO_URI*) printf 'mirror:/debian/ trixie-updates\\nmirror:/debian/ trixie\\n' ;;
    *indextargets*) for suite in SUITES; do echo "$suite LISTS/$suite"; done ;;
    *" update"*) echo update >> LOG ;;
    *" download "*)
        for word; do
            case "$word" in
                *=*_*|*/*|-*|Dir::*|APT::*|Acquire::*) ;;
                *=*) echo "download $word" >> LOG; cp POOL/${word%%=*}_*.deb . ;;
            esac
        done ;;
esac
"""
SUITES = ("trixie", "stable-backports", "unstable")


def listed(file):
    """A package as a list of packages has it."""
    fields = deb.control(file) | {
        "Filename": f"pool/{file.name}",
        "Size": str(file.stat().st_size),
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


@pytest.fixture
def sources(folder, tmp_path, monkeypatch):
    lists, programs = tmp_path / "lists", tmp_path / "programs"
    lists.mkdir()
    programs.mkdir()
    log = tmp_path / "log"
    package(
        folder,
        f"linux-image-{RELEASE}",
        depends=f"dracut, linux-binary-{RELEASE} (= 1), linux-modules-{RELEASE}",
    )
    package(folder, kernel.META, depends=f"linux-image-{RELEASE} (= 1)")
    text = "\n".join(listed(file) for file in sorted(folder.glob("*.deb")))
    for suite in SUITES:
        (lists / suite).write_text(text)
    script = APT
    for word, value in (
        ("LOG", log), ("LISTS", lists), ("POOL", folder), ("SUITES", " ".join(SUITES)),
    ):  # fmt: skip
        script = script.replace(word, str(value))
    (programs / "apt-get").write_text(script)
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return log


def test_the_machines_sources_give_what_the_meta_package_needs(sources, tmp_path):
    cache, said = tmp_path / "cache", []
    found = kernel.cached(cache, said.append)
    assert (found.release, found.image) == (RELEASE, b"image")
    lines = (cache / "apt/sources.list").read_text().splitlines()
    assert [line.split("mirror:/debian/ ")[1] for line in lines] == [
        "trixie main", "stable-backports main",
    ]  # fmt: skip
    downloads = sources.read_text().count("download")
    assert downloads == 4

    kernel.cached(cache, said.append)
    assert sources.read_text().count("update") == 1  # one for all suites
    kernel.cached(cache, said.append, refresh=True)
    assert sources.read_text().count("update") == 2
    assert sources.read_text().count("download") == downloads
    assert any("from Debian's packages" in line for line in said)


def test_of_two_versions_the_newer_one_is_taken(sources, tmp_path):
    path = tmp_path / "lists/trixie"
    old = path.read_text().split("Package: busybox-static\n")[1].split("\n\n")[0]
    for version in ("1:0.9", "0.5", "1:0.10"):
        new = re.sub(r"(?m)^Version: .*$", f"Version: {version}", old)
        with path.open("a") as file:
            file.write(f"\nPackage: busybox-static\n{new}\n")
    found = apt.Apt(tmp_path / "cache", ["own"], print).suite("own").fields("busybox-static")
    assert found["Version"] == "1:0.10"


def test_a_name_that_is_part_of_another_is_no_package(sources, tmp_path):
    suite = apt.Apt(tmp_path / "cache", ["own"], print).suite("own")
    for name in ("busybox", "static", "busybox-static-more"):
        with pytest.raises(packages.NoSuchPackage):
            suite.fields(name)


def test_what_is_cut_off_is_got_again_and_what_is_whole_is_not(sources, tmp_path):
    found = apt.Apt(tmp_path / "cache", ["own"], print)
    names = ["busybox-static", f"linux-binary-{RELEASE}"]
    first, second = found.suite("own").get(names)
    first.write_bytes(first.read_bytes()[:-1])
    assert found.suite("own").get(names) == [first, second]
    log = sources.read_text()
    assert log.count("download busybox-static") == 2
    assert log.count("download linux-binary") == 1


def test_how_much_there_is_is_told(tmp_path):
    said = []
    progress = apt._Progress(tmp_path, [{"Package": "a", "Size": "4000000"}], said.append)
    for size in (0, 1_000_000, 1_000_000, 9_000_000):
        (tmp_path / "a_1_arm64.deb").write_bytes(bytes(size))
        progress._last = -apt._TELL
        progress.look()
        progress.look()  # not so soon
    assert said == ["1.0 of 4.0 MB", "4.0 of 4.0 MB"]


NO_NAME = "Temporary failure resolving 'mirror.example'"
NO_ANSWER = "Could not connect to 1.2.3.4:80, connection timed out"


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        (f"W: Failed to fetch http://mirror/x  {NO_NAME}\nE: Some failed.", NO_NAME),
        (f"E: Failed to fetch http://1.2.3.4/x  {NO_ANSWER}", "the network failed"),
        ("E: Write error - write (28: No space left on device)", "the disk is full"),
        ("E: You have not enough free space in /x.", "the disk is full"),
        ("E: Unable to locate package x", "apt-get update: Unable to locate package x"),
        ("", "apt-get update: failed"),
    ],
)
def test_what_apt_fails_of_is_told_by_its_cause(complaint, told):
    problem = apt._problem("apt-get update", complaint)
    assert told in str(problem)
    assert isinstance(problem, apt.NetworkFailed) == ("fetch" in complaint)
    assert isinstance(problem, apt.DiskFull) == ("space" in complaint)


def test_without_a_network_no_other_suite_is_tried(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(apt, "_PAUSES", ())
    (tmp_path / "programs/apt-get").write_text(
        textwrap.dedent(
            """\
            #!/bin/sh
            case "$*" in
                *indextargets*) echo "mirror:/debian/ trixie" ;;
                *) echo "E: Temporary failure resolving 'mirror'" >&2; exit 100 ;;
            esac
            """
        )
    )
    said = []
    with pytest.raises(apt.NetworkFailed, match="the network failed: apt-get update: Temporary"):
        kernel.from_sources(tmp_path / "cache", said.append)
    assert len(said) == 1


def test_a_disk_that_is_too_full_is_told_before(sources, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(apt.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PackageError, match=r"are needed, and 0\.0 MB are free"):
        kernel.from_sources(tmp_path / "cache", print)
    assert "download" not in sources.read_text()


def test_a_disk_that_is_full_is_told_while_apt_waits_for_room(sources, tmp_path, monkeypatch):
    """The real one does so for ever, in the middle of a list."""
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(apt.shutil, "disk_usage", lambda _: usage)
    (tmp_path / "programs/apt-get").write_text(
        textwrap.dedent(
            """\
            #!/bin/sh
            case "$*" in
                *indextargets*) echo "mirror:/debian/ trixie" ;;
                *) exec tail -f /dev/null ;;
            esac
            """
        )
    )
    said = []
    with pytest.raises(apt.DiskFull, match=r"cache/apt: the disk is full"):
        kernel.from_sources(tmp_path / "cache", said.append)
    assert said == ["reading the lists of packages of trixie, stable-backports"]


def test_who_waits_for_another_run_takes_what_that_has_made(tmp_path):
    path, made, waits = tmp_path / "cache/number", [], threading.Event()

    def make():
        made.append(None)
        return len(made)

    def say(line):
        waits.set()

    run = threading.Thread(target=kept.made, args=(path, int, make, say))
    with packages.locked(path.parent, print):
        run.start()
        assert waits.wait(20)
        kept.keep(path, 42)
    run.join()
    assert made == []
    assert kept.made(path, int, make, print) == 1
    assert kept.load(path, int) == 1


def test_a_machine_without_apt_is_told_of_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="--packages"):
        apt.machine_mirror(tmp_path / "apt", print)


def test_a_machine_whose_lists_were_never_read_has_them_read(monkeypatch, tmp_path):
    (tmp_path / "apt-get").write_text(
        textwrap.dedent(
            f"""\
            #!/bin/sh
            case "$*" in
                *update) touch {tmp_path}/updated ;;
                *apt/state/lists*indextargets*)
                    [ ! -f {tmp_path}/updated ] || echo "mirror:/debian/ trixie" ;;
            esac
            """
        )
    )
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said = []
    for _ in range(2):
        found = apt.machine_mirror(tmp_path / "apt", said.append)
        assert found == ("mirror:/debian/", "trixie")
    assert said == ["reading the lists of packages of this machine"]


def test_a_machine_without_debian_is_told_of_the_folder(monkeypatch, tmp_path):
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(PackageError, match="no Debian mirror that answers"):
        apt.machine_mirror(tmp_path / "apt", print)


def test_the_cache_is_where_the_user_wants_it(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert packages.cache_folder() == Path("/somewhere/ffabric/linux")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert packages.cache_folder() == Path("/home/me/.cache/ffabric/linux")


def test_a_mirror_that_fails_is_asked_again(sources, tmp_path, monkeypatch):
    pauses, said = [], []
    monkeypatch.setattr(apt.time, "sleep", pauses.append)
    (tmp_path / "programs/apt-get").write_text(
        textwrap.dedent(
            """\
            #!/bin/sh
            case "$*" in
                *indextargets*) echo "mirror:/debian/ trixie" ;;
                *) echo "E: the mirror is out of order" >&2; exit 100 ;;
            esac
            """
        )
    )
    with pytest.raises(PackageError, match="apt-get update: the mirror is out of order"):
        kernel.from_sources(tmp_path / "cache", said.append)
    assert pauses == [2, 5, 10]
    assert "once more in 2 s" in said[1]


def zeros(count):
    return lzma.compress(tar({"usr/lib/file": bytes(count)}))


DATA = zeros(100)
HALF = DATA[: len(DATA) // 2]
BROKEN = {
    "cut off in a member": (ar(("data.tar.xz", DATA))[:-20], "truncated: it ends at byte"),
    "cut off in its compression": (ar(("data.tar.xz", HALF)), "data.tar.xz is broken"),
    "of other bytes": (ar(("data.tar.xz", DATA[:40] + b"!" + DATA[41:])), "data.tar.xz is broken"),
    "no archive": (ar(("data.tar.xz", lzma.compress(b"!" * 600))), "data.tar.xz is broken"),
    "cut off in its archive": (
        ar(("data.tar.gz", gzip.compress(tar({"usr/lib/file": bytes(600)})[:900]))),
        "data.tar.gz is broken",
    ),
    "cut off in gzip": (
        ar(("data.tar.gz", gzip.compress(tar({"usr/lib/file": bytes(600)}))[:60])),
        "data.tar.gz is broken",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_package_that_is_broken_is_one_line_with_its_name(tmp_path, data, problem):
    path = tmp_path / "broken.deb"
    path.write_bytes(data)
    with pytest.raises(PackageError, match=problem) as broken:
        list(deb.entries(path, re.compile("file")))
    assert str(broken.value).startswith(f"{path}: ")
    assert len(str(broken.value).splitlines()) == 1


def test_its_neighbour_is_read_whole(tmp_path):
    path = tmp_path / "whole.deb"
    path.write_bytes(ar(("data.tar.xz", DATA)))
    assert [entry.data for entry in deb.entries(path, re.compile("file"))] == [bytes(100)]


def test_what_a_package_expands_to_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.deb"
    path.write_bytes(ar(("data.tar.xz", zeros(4096))))
    monkeypatch.setattr(deb, "_MOST_CONTENT", 4095)
    with pytest.raises(PackageError, match="usr/lib/file has more than 4095 bytes"):
        list(deb.entries(path, re.compile("file")))
    monkeypatch.setattr(deb, "_MOST_CONTENT", 4096)
    assert len(list(deb.entries(path, re.compile("file")))) == 1
    monkeypatch.setattr(deb, "_MOST_EXPANDED", 4096)
    with pytest.raises(PackageError, match="it expands to more than 4 KiB"):
        list(deb.entries(path, re.compile("nothing")))


def test_an_archive_that_leads_backwards_is_refused(tmp_path):
    head = bytearray(tar({"file": b""})[:512])
    head[124:136] = (-1024).to_bytes(12, "big", signed=True)  # its size, in base 256
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path = tmp_path / "backwards.deb"
    path.write_bytes(ar(("data.tar", bytes(head) + bytes(1024))))
    with pytest.raises(PackageError, match=r"data\.tar is broken"):
        list(deb.entries(path, re.compile("nothing")))


@pytest.mark.parametrize("suffix", [".xz", ".gz"])
def test_a_module_that_is_broken_or_a_bomb(monkeypatch, suffix):
    packed = {".xz": lzma.compress, ".gz": gzip.compress}[suffix](bytes(4096))  # type: ignore[operator]
    monkeypatch.setattr(kernel, "_MOST_OF_A_MODULE", 4096)
    assert kernel.decompress(f"a.ko{suffix}", packed) == bytes(4096)
    with pytest.raises(PackageError, match=f"a.ko{suffix}: broken"):
        kernel.decompress(f"a.ko{suffix}", packed[:-8])
    monkeypatch.setattr(kernel, "_MOST_OF_A_MODULE", 4095)
    with pytest.raises(PackageError, match="expands to more than 4095 bytes"):
        kernel.decompress(f"a.ko{suffix}", packed)
