"""Lines of an image's sources that a run has executed, as lcov's files tell them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.running.run import run

PREFIX = "aarch64-linux-gnu-"
SYSTEM = """
[[vm]]
name = "client"
image = "client.elf"
"""
START = """
        .globl  _start
_start: adr     x0, end
        mov     sp, x0
        bl      start
1:      b       1b
        .balign 16
        .space  4096
end:    .quad   0
"""
SOURCE = """\
static long call(long x0)
{
    register long a __asm__("x0") = x0;
    __asm__ volatile("hvc #0" : "+r"(a) : : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "memory");
    return a;
}

int twice(int value)
{
    if (value > 100)
        return -1;
    return 2 * value;
}

int unused(int value)
{
    return value + 1;
}

void start(void)
{
    if (twice(3) != 6)
        call(0x84000009);
    call(0x84000008);
}
"""
EXECUTED, SKIPPED = {4, 10, 12, 22, 24}, {6, 11, 17, 23}


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Build the client with these options, and go to where its system file is."""
    assert shutil.which(f"{PREFIX}gcc"), "no cross compiler: apt-get install gcc-aarch64-linux-gnu"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start.S").write_text(START)
    (tmp_path / "client.c").write_text(SOURCE)
    (tmp_path / "system.toml").write_text(SYSTEM)

    def build(*options):
        command = [
            *(f"{PREFIX}gcc", "-O0", "-ffreestanding", "-nostdlib", "-static", "start.S"),
            *("-Wl,-Ttext=0x40000000", "-Wl,--build-id=none", "-Wl,-N", "client.c"),
            *("-Wl,--no-warn-rwx-segments", "-o", "client.elf", *options),
        ]
        subprocess.run(command, check=True)
        return Path("system.toml")

    return build


def records(path):
    """Lines and functions by source: how often each was executed."""
    lines, functions = {}, {}
    name = ""
    for text in path.read_text().splitlines():
        kind, _, rest = text.partition(":")
        first, _, second = rest.partition(",")
        if kind == "SF":
            name = Path(rest).name
            lines[name], functions[name] = {}, {}
        elif kind == "DA":
            lines[name][int(first)] = int(second)
        elif kind == "FNDA":
            functions[name][second] = int(first)
        elif kind in ("LF", "LH"):
            hits = lines[name].values()
            assert int(rest) == (len(hits) if kind == "LF" else sum(hits))
    return lines, functions


@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_lines_and_functions_that_a_run_executes_are_told_by_source(built, version):
    run(built("-g", version), coverage=Path("run.info"))
    lines, functions = records(Path("run.info"))

    assert set(lines) == {"client.c", "start.S"}
    assert {line for line in EXECUTED if lines["client.c"][line] == 1} == EXECUTED
    assert {line for line in SKIPPED if lines["client.c"][line] == 0} == SKIPPED
    assert functions["client.c"] == {"call": 1, "twice": 1, "unused": 0, "start": 1}


def test_lines_change_nothing_of_a_run(built):
    system = built("-g")
    run(system, coverage=Path("run.info"), trace=Path("with"))
    run(system, trace=Path("without"))
    assert Path("with").read_bytes() == Path("without").read_bytes()


def test_an_image_without_line_numbers_is_refused_by_name(built):
    with pytest.raises(UsageError, match=r"client\.elf: it has no line numbers: compile it"):
        run(built(), coverage=Path("run.info"))
    assert not Path("run.info").exists()


def test_a_raw_image_is_refused_beside_one_that_has_lines(built, capsys, request):
    built("-g")
    images = request.config.rootpath / "src/ffabric/guests/images"
    shutil.copy(images / "adder_smc.bin", "adder.bin")
    Path("system.toml").write_text(f'[[sp]]\nname = "adder"\nimage = "adder.bin"\n{SYSTEM}')
    run(Path("system.toml"), coverage=Path("run.info"))
    assert "adder.bin: it has no line numbers: it is no ELF file" in capsys.readouterr().err
    assert "client.c" in records(Path("run.info"))[0]


def test_broken_line_numbers_are_one_line(built):
    built("-g")
    data = bytearray(Path("client.elf").read_bytes())
    sections = int.from_bytes(data[40:48], "little")
    data[sections + 64 : sections + 640] = b"\xa5" * 576
    Path("client.elf").write_bytes(data)
    with pytest.raises(UsageError, match=r"client\.elf: its? .*line numbers"):
        run(Path("system.toml"), coverage=Path("run.info"))
