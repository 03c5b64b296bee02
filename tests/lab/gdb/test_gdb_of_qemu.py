"""A real gdb at work on what QEMU executes, by QEMU's own server."""

import re
import signal
import socket

import pytest

from ffabric import sp, vm
from ffabric.lab.gdb.passthrough import doors
from ffabric.system.description.python import describe

QEMU_SYSTEM = """
[[sp]]
name = "adder"
image = "adder.bin"

[[vm]]
name = "client"
image = "client.elf"
engine = "qemu"
"""


@pytest.fixture
def folder(folder):
    (folder / "system.toml").write_text(QEMU_SYSTEM, "utf-8")
    return folder


def test_it_stops_at_a_symbol_steps_and_lets_the_run_go_on(gdb, server):
    text = gdb(
        *("break send", "continue", "p/x $pc", "stepi", "p/x $pc"),
        *("delete", "monitor info status", "detach"),
    )
    said, _ = server[1].communicate(timeout=120)

    assert "Breakpoint 1, send ()" in text
    first, second = (int(each, 0) for each in re.findall(r"= (0x[0-9a-f]+)$", text, re.MULTILINE))
    assert second == first + 4
    assert "nothing can run any more" in said
    assert server[1].returncode == 0


def test_nothing_runs_before_gdb_is_there_and_ctrl_c_ends_the_wait(server):
    _, process = server
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "Traceback" not in said
    assert "waiting for a message" not in said


def test_each_partition_in_qemu_has_a_door_for_this_computer_alone():
    spec = describe(
        sps=[sp("adder", image=bytes(4))],
        vms=[vm(name, image=bytes(4), engine="qemu") for name in ("one", "two")],
    )
    with doors(spec, 0) as found:
        assert list(found) == ["one", "two"]
        assert {door.getsockname()[0] for door in found.values()} == {"127.0.0.1"}


def test_a_port_that_is_taken_or_that_there_is_not_is_refused():
    spec = describe(vms=[vm(name, image=bytes(4), engine="qemu") for name in ("one", "two")])
    with pytest.raises(ValueError, match="65535 is not a port with room for 2"), doors(spec, 65535):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"), doors(spec, port):
            pass
