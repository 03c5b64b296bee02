"""Reading files: regular ones, of a sensible size, and never for ever."""

import io
import os
import socket
from pathlib import Path

import pytest

from ffabric.system.files.reading import opened, read_bytes, read_file, read_lines, size_text
from ffabric.system.options.problems import Problems


@pytest.fixture
def special(tmp_path, monkeypatch):
    """Makes a file that is none: its path."""
    monkeypatch.chdir(tmp_path)

    def make(kind):
        path = Path(kind)
        if kind == "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(kind)
        elif kind == "device":
            return Path("/dev/zero")
        elif kind == "FIFO":
            os.mkfifo(path)
        else:
            path.mkdir()
        return path

    return make


@pytest.mark.parametrize("kind", ["device", "FIFO", "folder"])
def test_only_regular_files_are_read(special, kind):
    path = special(kind)
    with pytest.raises(OSError, match=f"a {kind}, not a regular file") as refused:
        read_bytes(path, 100)
    assert refused.value.filename == str(path)


def test_a_socket_cannot_even_be_opened(special):
    with pytest.raises(OSError, match="socket"):
        read_bytes(special("socket"), 100)


def test_a_link_to_a_regular_file_is_one(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", 7) == b"content"


def test_a_file_has_up_to_the_most_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(1024))
    assert len(read_bytes(path, 1024)) == 1024
    with pytest.raises(OSError, match="larger than 1023 bytes, the most that is read"):
        read_bytes(path, 1023)


def test_a_huge_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, 6 << 30)
    with pytest.raises(OSError, match="larger than 512 MiB"):
        read_bytes(path, 512 << 20)


def test_a_file_that_says_nothing_of_its_size_is_bounded_too():
    assert read_bytes("/proc/self/stat", 1 << 20)
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_bytes("/proc/self/stat", 3)


def test_a_name_that_no_file_can_have():
    with pytest.raises(OSError, match="not a path"), opened("a\0b"):
        pass


def test_a_missing_file_has_a_name_near_it(tmp_path):
    (tmp_path / "image.bin").touch()
    problems = Problems("system.toml")
    assert read_file(tmp_path / "imgae.bin", "[[sp]] a", "image", problems, 10) is None
    assert "no such file" in problems.found[0].message
    assert "did you mean 'image.bin'?" in problems.found[0].message


def test_a_line_has_up_to_the_most_bytes():
    text = b"1234\n" + b"12345\n"
    assert list(read_lines(io.BytesIO(text), "log", 6)) == [b"1234\n", b"12345\n"]
    lines = read_lines(io.BytesIO(text), "log", 5)
    assert next(lines) == b"1234\n"
    with pytest.raises(OSError, match="line 2 has more than 5 bytes"):
        next(lines)


def test_sizes_are_told_in_the_largest_whole_unit():
    assert [size_text(size) for size in (3, 1024, 3 << 20, (1 << 20) + 1)] == [
        "3 bytes", "1 KiB", "3 MiB", "1048577 bytes",
    ]  # fmt: skip
