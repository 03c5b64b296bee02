"""A system of images, ``ffabric run --gdb`` of it, and a real gdb."""

import os
import re
import shutil
import subprocess
import sys

import pytest

SYSTEM = """
[[sp]]
name = "adder"
image = "adder.bin"

[[vm]]
name = "client"
image = "client.elf"
"""
PREFIX = "aarch64-linux-gnu-"
ENDED = 120


@pytest.fixture
def folder(tmp_path, request):
    """A system whose VM is an ELF file with symbols."""
    images = request.config.rootpath / "src/ffabric/guests/images"
    for tool in ("as", "ld"):
        assert shutil.which(PREFIX + tool), (
            f"no {PREFIX}{tool}: apt-get install binutils-aarch64-linux-gnu"
        )
    shutil.copy(images / "adder_smc.bin", tmp_path / "adder.bin")
    assemble = [
        f"{PREFIX}as",
        "-g",
        "-I",
        images,
        "-o",
        tmp_path / "client.o",
        images / "client_hvc.S",
    ]
    subprocess.run(assemble, check=True)
    link = [f"{PREFIX}ld", "-N", "-Ttext=0x40000000", "-e", "0x40000000"]
    subprocess.run(
        [*link, "--no-warn-rwx-segments", "-o", tmp_path / "client.elf", tmp_path / "client.o"],
        check=True,
    )
    (tmp_path / "system.toml").write_text(SYSTEM, "utf-8")
    return tmp_path


@pytest.fixture
def server(folder):
    """``ffabric run --gdb``: the port, and the process."""
    command = [sys.executable, "-m", "ffabric.cli", "run", "system.toml", "--gdb", "0"]
    code = "from ffabric.cli.main import main; main()"
    command[1:3] = ["-c", code]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line + process.stdout.read()
        yield int(found[1]), process
        process.terminate()


@pytest.fixture
def gdb(folder, server):
    """Do commands in a real gdb: what it prints."""
    program = shutil.which("gdb-multiarch")
    assert program, "no gdb-multiarch: apt-get install gdb-multiarch"
    port, _ = server

    def gdb(*commands):
        begin = ("set confirm off", "file client.elf", f"target remote 127.0.0.1:{port}")
        words = [word for each in (*begin, *commands) for word in ("-ex", each)]
        done = subprocess.run(
            [program, "-batch", "-nx", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ENDED,
            check=False,
        )
        return done.stdout

    return gdb
