"""A real gdb at work on images: it stops, looks, steps, watches, and goes back."""

import re
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from ffabric.lab.gdb.packets import packed

PREFIX = "aarch64-linux-gnu-"
ENDED = 120


def registers(text, name):
    """The values of a register that were printed, in order."""
    return [int(each, 0) for each in re.findall(rf"^{name} +(0x[0-9a-f]+)", text, re.MULTILINE)]


def test_each_vcpu_is_a_thread_by_its_name(gdb):
    text = gdb("info threads")
    assert "(adder.0 STARTING)" in text
    assert "(client.0 OFF)" in text


def test_it_stops_at_a_symbol_and_steps(gdb):
    text = gdb(
        "break send",
        "continue",
        "p/x $x0",
        "info registers pc",
        "stepi",
        "info registers pc",
        "bt 1",
    )
    assert "hit Breakpoint 1, send ()" in text
    first, second = registers(text, "pc")
    assert second == first + 4


def test_it_steps_back_and_forth_to_the_same_state(gdb):
    look = "info registers pc x21 x19 cpsr"
    text = gdb(
        *("break send", "continue", "continue", "continue", look),
        *("stepi", "stepi", look, "reverse-stepi", "reverse-stepi", look),
        *("reverse-stepi", "stepi", look),
    )
    pcs, counts = registers(text, "pc"), registers(text, "x21")
    assert pcs[0] == pcs[2] == pcs[3]
    assert pcs[1] == pcs[0] + 8
    assert counts == [2, 2, 2, 2]


def test_it_goes_back_to_the_breakpoint_before_and_to_the_beginning(gdb):
    back = ("reverse-continue", "info registers x21")
    text = gdb("break send", "continue", "continue", "continue", *back, *back, "reverse-continue")
    assert registers(text, "x21") == [1, 0]
    assert "No more reverse-execution history" in text


WRITER = """
        .text
start:  adr     x2, word
        mov     x3, #7
1:      str     x3, [x2]
        ldr     x4, [x2]
        add     x3, x3, #1
        cmp     x3, #10
        b.ne    1b
        ldr     x0, =0x84000008
        hvc     #0
        .balign 0x40
word:   .quad   0
"""


@pytest.fixture
def writer(folder):
    """Instead of the client, a VM that stores 7, 8 and 9 into a word, and loads them."""
    (folder / "writer.S").write_text(WRITER, "utf-8")
    subprocess.run([f"{PREFIX}as", "-o", folder / "writer.o", folder / "writer.S"], check=True)
    link = [f"{PREFIX}ld", "-N", "-Ttext=0x40000000", "-e", "0x40000000"]
    subprocess.run(
        [*link, "--no-warn-rwx-segments", "-o", folder / "client.elf", folder / "writer.o"],
        check=True,
    )


def test_a_store_is_watched_and_found_again_on_the_way_back(writer, gdb):
    look = "info registers x3 pc"
    text = gdb(
        *("watch *(long *) &word", "continue", "continue", look),
        *("reverse-continue", look, "continue", look),
    )
    assert re.findall(r"Old value = (\d+)\nNew value = (\d+)", text) == [
        ("7", "8"),
        ("8", "7"),
        ("7", "8"),
    ]
    assert registers(text, "x3") == [8, 8, 8]


def test_a_load_is_watched(writer, gdb):
    text = gdb("rwatch *(long *) &word", "continue", "info registers x3")
    assert "Hardware read watchpoint 1" in text
    assert "Value = 7" in text


def test_memory_and_registers_can_be_changed_and_then_there_is_no_way_back(gdb):
    text = gdb(
        "break send",
        "continue",
        "set $x25 = 0x1234",
        "set {int}0x40100000 = 0x5678",
        "p/x $x25",
        "x/1wx 0x40100000",
        "reverse-stepi",
    )
    assert "0x1234" in text
    assert "0x40100000:\t0x00005678" in text
    assert "there is no way back" in text


def test_what_is_not_there_cannot_be_read(gdb):
    assert "Cannot access memory at address 0xdead0000" in gdb("x/1wx 0xdead0000")


def test_the_end_of_the_run_is_told(gdb, server):
    assert "exited normally" in gdb("continue")
    assert server[1].wait(ENDED) == 0


def test_a_gdb_that_leaves_ends_the_run(gdb, server):
    gdb("break send", "continue", "detach")
    assert server[1].wait(ENDED) == 0


def test_only_this_computer_can_connect(server):
    port, _ = server
    found = [
        bytes.fromhex(address)[::-1]
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
        for address, _, number in [line.split()[1].partition(":")]
        if int(number, 16) == port
    ]
    assert found == [socket.inet_aton("127.0.0.1")]


@pytest.mark.parametrize(
    "noise",
    [
        b"$m0,4#00",
        b"$#",
        b"\xff" * 4096,
        b"$" + b"a" * 70_000,
        packed(b"mzz,zz"),
        packed(b"Hg77") + packed(b"p99"),
    ],
    ids=["checksum", "short", "noise", "long", "numbers", "unknown"],
)
def test_broken_packets_are_refused_and_nothing_breaks(server, noise):
    port, process = server
    with socket.create_connection(("127.0.0.1", port), timeout=ENDED) as peer:
        answer = b""
        with suppress(ConnectionError, BrokenPipeError):  # it may hang up before it has heard all
            peer.sendall(noise)
            peer.shutdown(socket.SHUT_WR)
            while part := peer.recv(4096):
                answer += part
    if noise.startswith(b"$m0"):
        assert answer == b"-"
    if noise.startswith((b"$mzz", b"$Hg")):
        assert b"$E01#a6" in answer
    assert process.wait(ENDED) == 0
    assert "Traceback" not in process.stdout.read()
