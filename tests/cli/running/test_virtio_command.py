"""The command ``ffabric virtio conform``."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples/virtio"

GOOD = """
from ffabric.virtio import DeviceSide, devices

class Devices(DeviceSide):
    def __init__(self):
        super().__init__([devices.BlockDevice(bytearray(512))])
"""
BAD = """
from ffabric.virtio import DeviceSide, devices

class Forgetful(devices.BlockDevice):
    looks = 0

    @property
    def config(self):
        self.looks += 1
        return self.looks.to_bytes(8, "little") + super().config[8:]

class Devices(DeviceSide):
    def __init__(self):
        super().__init__([Forgetful(bytearray(512))])
"""


def test_our_own_sides_keep_every_rule(ffabric_command):
    status, out, _ = ffabric_command("virtio", "conform", "--generation", "v2")
    assert status == 0
    assert "v2, device side in VM, indirect, static" in out
    assert "0 failed" in out


@pytest.mark.parametrize(("generation", "ways"), [("pr28", 9), ("v2", 9), ("rfc2", 4)])
def test_a_device_of_each_kind_at_work(ffabric_command, generation, ways):
    status, out, _ = ffabric_command("virtio", "demo", "--generation", generation)
    assert status == 0
    assert out.count("no rule is broken") == ways
    assert "40 kB echoed by the host" in out


def test_a_device_that_fails_is_told(ffabric_command, monkeypatch):
    async def read(_driver, _count):
        return bytes(4096)

    monkeypatch.setattr("ffabric.virtio.drivers.RngDriver.read", read)
    status, out, _ = ffabric_command("virtio", "demo")
    assert status == 1
    assert "FAILED: direct, static, polled, SP: crashed" in out or "AssertionError" in out


@pytest.mark.parametrize(("code", "fails"), [(GOOD, False), (BAD, True)])
def test_a_device_side_of_a_users_own(ffabric_command, tmp_path, code, fails):
    path = tmp_path / "mine.py"
    path.write_text(code)
    device = f"{path}:Devices"
    status, out, _ = ffabric_command(
        "virtio", "conform", "--device", device, "--driver", "examiner"
    )
    assert status == int(fails)
    assert ("failed         device  device.config.generation_changes" in out) is fails
    assert ("GET_CONFIG of device 0 answered" in out) is fails


@pytest.mark.parametrize("side", ["device", "driver"])
def test_a_peer_at_a_socket(ffabric_command, tmp_path, side):
    path = tmp_path / "bus"
    program = "socket_disk.py" if side == "device" else "socket_reader.py"
    arguments = [sys.executable, str(EXAMPLES / program), str(path)]
    starter = Starter(arguments)
    words = ("virtio", "conform", f"--{side}", f"socket:{path}", "--again", "60")
    status, out, _ = ffabric_command(*words)
    starter.end()
    assert status == 0, out
    assert f"waiting for a peer at {path}" in out
    assert "0 failed" in out


class Starter(threading.Thread):
    """Starts a program, again and again when it has ended: it does at once if nobody listens."""

    def __init__(self, arguments):
        super().__init__(daemon=True)
        self._arguments = arguments
        self._going = True
        self.start()

    def run(self):
        while self._going:
            subprocess.run(self._arguments, check=False, capture_output=True)

    def end(self):
        self._going = False
        self.join()


@pytest.mark.parametrize("address", ["10.0.0.1:80", "/nowhere/bus"])
def test_a_socket_that_cannot_be_had(ffabric_command, address):
    status, _, err = ffabric_command("virtio", "conform", "--device", f"socket:{address}")
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert address in err


def test_every_bus_of_a_system(ffabric_command, tmp_path):
    (tmp_path / "mine.py").write_text(
        GOOD
        + """
from ffabric.virtio import DriverSide, drivers

class Client(DriverSide):
    async def work(self, bus):
        await drivers.BlockDriver.probe(bus.devices[0])
"""
    )
    system = tmp_path / "system.toml"
    system.write_text(
        '[[sp]]\nname = "devices"\npython = "mine.py:Devices"\n'
        '[[vm]]\nname = "client"\npython = "mine.py:Client"\n'
    )
    status, out, _ = ffabric_command("virtio", "conform", "--system", str(system))
    assert status == 0, out
    assert "no message" not in out


def test_a_system_without_a_bus_is_told(ffabric_command, tmp_path):
    system = tmp_path / "system.toml"
    (tmp_path / "mine.py").write_text(GOOD)
    system.write_text('[[sp]]\nname = "devices"\npython = "mine.py:Devices"\n')
    status, out, _ = ffabric_command("virtio", "conform", "--system", str(system))
    assert status == 1
    assert "system.toml: 0 messages" in out


def test_verdicts_as_json(ffabric_command):
    arguments = ("virtio", "conform", "--generation", "pr28", "--mischief", "1", "--json=-")
    status, out, _ = ffabric_command(*arguments)
    assert status == 0
    found = {(each["rule"], each["side"]): each for each in json.loads(out)}
    assert found["message.size", "driver"]["verdict"] == "passed"
    assert found["device.config.stale", "device"]["section"].startswith("virtio-msg pr28")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--generation", "v9"], "'v9' is none of"),
        (["--device", "nowhere.py:Devices"], "nowhere.py"),
        (["--driver", "ffabric.virtio:DeviceSide"], "ffabric.virtio:DeviceSide is no DriverSide"),
        (["--driver", "linx"], "no driver 'linx': python, examiner, linux, FILE.py:CLASS or"),
        (["--device", "livly"], "(did you mean 'lively'?)"),
        (["--driver", "lively"], "no driver 'lively'"),
        (["--device", "socket:nowhere/bus"], "ffabric: nowhere/bus: No such file or directory"),
        (["--device", "socket:10.0.0.1:99"], "10.0.0.1:99: sockets are on 127.0.0.1 only"),
        (["--driver", "socket:127.0.0.1:http"], "127.0.0.1:http: 'http' is not a port number"),
        (["--driver", "socket:localhost:65536"], "'65536' is not a port number"),
        (["--mischief", "101"], "--mischief is a number of 0 to 100, not 101"),
        (["--again", "0"], "--again is a number of seconds above 0, not 0"),
        (["--system", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_what_cannot_be_is_one_line(ffabric_command, arguments, line):
    status, _, err = ffabric_command("virtio", "conform", *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert line in err


@pytest.mark.parametrize("side", ["--driver", "--device"])
def test_that_nobody_comes_to_the_socket_is_a_failure(ffabric_command, monkeypatch, tmp_path, side):
    monkeypatch.setattr("ffabric.lab.virtio_msg.conform.FIRST", 0.05)
    monkeypatch.chdir(tmp_path)
    status, out, _ = ffabric_command("virtio", "conform", side, "socket:bus")
    assert status == 1
    assert out.count("nobody has come to the socket") == 2, "once for the first run, as a failure"
    assert "waiting for a peer at bus" in out
    assert not (tmp_path / "bus").exists()


def test_the_case_of_xen_is_shown_and_judged(ffabric_command):
    status, out, _ = ffabric_command("virtio", "xen")
    assert status == 0
    assert "and the interrupt of another" in " ".join(out.split())
    assert "registers of the chip at 0x50 written and read back" in " ".join(out.split())
    assert "everything is as it must be" in out


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("no-such-daemon {socket}", "there is no program no-such-daemon"),
        ("false", "false for gpio: exit status 1"),
        ("false 'quoted", "--gpio, --i2c: No closing quotation"),
        (f"{sys.executable} -c 'print(\"no such line\")'", "no such line"),
    ],
)
def test_a_back_end_that_does_not_come_is_a_line(ffabric_command, command, why):
    status, _, errors = ffabric_command("virtio", "xen", "--gpio", command)
    assert status == 2
    assert errors.count("\n") == 1
    assert why in errors


def test_the_scene_of_android_is_shown_and_judged(ffabric_command):
    status, out, _ = ffabric_command("virtio", "android", "--generation", "pr28")
    assert status == 0
    assert "pvm, started again after its end" in out
    assert "everything is as it must be" in out


@pytest.mark.parametrize("what", ["conform", "demo", "android"])
def test_a_back_end_is_given_to_who_has_one(ffabric_command, what):
    status, _, errors = ffabric_command("virtio", what, "--gpio", "true")
    assert status == 2
    assert '--gpio and --i2c are for "xen"' in errors
