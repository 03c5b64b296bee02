"""Files that a command is given and that are none: one line that names the file, status 2."""

import io
import os
import sys
from pathlib import Path

import pytest

SYSTEM = "[[vm]]\nname = 'a'\nimage = 'a.bin'\n"
PYTHON = "[[vm]]\nname = 'a'\npython = 'a.py:A'\n"
PACKAGE = "[[sp]]\nname = 'a'\npackage = 'a.pkg'\n"
MANIFEST = "[[sp]]\nname = 'a'\nimage = 'image'\nmanifest = 'a.dts'\n"
SPMC = "[spmc]\nmanifest = 'a.dtb'\n"
LAYOUT = "sp_layout = 'a.json'\n"
LAID_OUT = '{"a": {"image": "a.bin", "pm": "a.dtb"}}'
INITRD = "[[vm]]\nname = 'a'\nengine = 'qemu'\nimage = 'image'\ninitrd = 'a.bin'\n"

COMMANDS = {
    "run": ("a.toml", ["run", "a.toml"]),
    "run --replay": ("a.jsonl", ["run", "good.toml", "--replay", "a.jsonl"]),
    "trace": ("a.jsonl", ["trace", "a.jsonl"]),
    "trace --form summary": ("a.jsonl", ["trace", "a.jsonl", "--form", "summary"]),
    "calls": ("a.jsonl", ["calls", "a.jsonl"]),
    "calls --system": ("a.toml", ["calls", "good.jsonl", "--system", "a.toml"]),
    **{f"manifest {name}": (name, ["manifest", name]) for name in ("a.toml", "a.json", "a.dts")},
    **{f"manifest {name}": (name, ["manifest", name]) for name in ("a.dtb", "a.pkg")},
    **{
        f"a system's {name}": (name, ["manifest", "system.toml"], text)
        for name, text in (
            ("a.bin", SYSTEM),
            ("a.py", PYTHON),
            ("a.pkg", PACKAGE),
            ("a.dts", MANIFEST),
            ("a.dtb", SPMC),
            ("a.json", LAYOUT),
        )
    },
    "an initial file system": ("a.bin", ["manifest", "system.toml"], INITRD),
}
"""What is read -> the name of the file, the command line, and a system that names the file."""


def device(path: Path) -> str:
    path.symlink_to("/dev/zero")
    return "a device, not a regular file"


def fifo(path: Path) -> str:
    os.mkfifo(path)
    return "a FIFO, not a regular file"


def folder(path: Path) -> str:
    path.mkdir()
    return "a folder, not a regular file"


def huge(path: Path) -> str:
    path.touch()
    os.truncate(path, 6 << 30)
    return "more than" if path.suffix == ".jsonl" else "larger than"


def missing(path: Path) -> str:
    return "o such file"


def empty(path: Path) -> str:
    path.touch()
    return ""


FILES = (device, fifo, folder, huge, missing, empty)


@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.parametrize("make", FILES)
def test_a_file_that_is_none_is_one_line(run_afresh, make, what):
    name, words, *system = COMMANDS[what]
    Path("image").write_bytes(bytes(16))
    Path("good.toml").write_text("pes = 1\n")
    Path("good.jsonl").write_text('{"endpoint": "a", "x": [0]}\n')
    for text in system:
        Path("system.toml").write_text(text)  # type: ignore[arg-type]
    said = make(Path(name))  # type: ignore[arg-type]
    status, out, errors = run_afresh(*words)
    lines = [line for line in errors.splitlines() if "warning" not in line]
    if (make, name) == (empty, "a.py"):
        said = "a.py has no 'A'"
    assert (status, len(lines), out) == (2, 1, ""), errors
    assert said in lines[0]
    assert name in lines[0]


def test_what_a_layout_names_is_bounded(run_afresh):
    Path("layout.json").write_text(LAID_OUT)
    device(Path("a.bin"))
    fifo(Path("a.dtb"))
    status, _, errors = run_afresh("manifest", "layout.json")
    assert status == 2
    assert errors.splitlines() == [
        "layout.json: a: image: a.bin: a device, not a regular file",
        "layout.json: a: pm: a.dtb: a FIFO, not a regular file",
    ]


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["calls", "-"], b"", "standard input: there are no calls in it"),
        (["trace", "-"], b"", "standard input: not a trace: there is nothing in it"),
        (["calls", "-"], b"x" * ((16 << 20) + 1), "standard input: line 1 has more than 16 MiB"),
        (["trace", "-"], b"x" * ((16 << 20) + 1), "standard input: line 1 has more than 16 MiB"),
        (["explain"], b"x" * ((16 << 10) + 1), "standard input: line 1 has more than 16 KiB"),
    ],
)
def test_standard_input_is_bounded_line_by_line(run_afresh, monkeypatch, words, stdin, said):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    status, out, errors = run_afresh(*words)
    assert (status, out, errors) == (2, "", f"ffabric: {said}\n")


def test_a_log_of_any_bytes_is_explained(run_afresh, monkeypatch):
    log = b"\xff\xfe\n0x84000061 0x0\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log), "utf-8"))
    status, out, _ = run_afresh("explain")
    assert status == 0
    assert out.startswith("> 0x84000061 0x0\n")


NESTED = {
    "a.toml": ("run", "a = " + "[" * 5000),
    "b.toml": ("run", "a = " + "{b = " * 5000),
    "c.toml": ("run", ".".join(["a"] * 300) + " = 1"),
    "a.json": ("manifest", "[" * 100_000),
    "a.jsonl": ("trace", "[" * 100_000),
    "b.jsonl": ("calls", "[" * 100_000),
    "c.jsonl": ("trace", '{"kind": "header", "a": ' + "[" * 100_000),
    "a.dts": ("manifest", "/dts-v1/; / {" + "a {" * 5000),
}
"""A name -> the command that reads it, and what is nested in it."""


@pytest.mark.parametrize("name", NESTED)
def test_what_is_nested_deep_is_one_line(run_afresh, name):
    command, text = NESTED[name]
    Path(name).write_text(text)
    status, out, errors = run_afresh(command, name)
    assert (status, out) == (2, "")
    (line,) = errors.splitlines()
    assert name in line


DIGITS = "9" * 5000
NUMBERS = {
    "a.toml": ("run", f"pes = {DIGITS}"),
    "b.toml": ("run", f"pes = '{DIGITS}'\n[[vm]]\nname = 'a'\npython = 'b:B'"),
    "a.json": ("manifest", f'{{"a": {DIGITS}}}'),
    "a.dts": ("manifest", f"/dts-v1/; / {{ a = <{DIGITS}>; }};"),
    "a.jsonl": ("calls", f'{{"endpoint": "vm1", "x": [{DIGITS}]}}'),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_5000_digits_is_one_line(run_afresh, name):
    command, text = NUMBERS[name]
    Path(name).write_text(text)
    status, _, errors = run_afresh(command, name)
    assert status == 2
    first = errors.splitlines()[0]
    assert name in first
    assert len(first) <= 1100
