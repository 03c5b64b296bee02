"""``ffabric vhost``: what it prints, and what it says if it cannot."""

import os
import signal

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.running import vhost as vhost_command
from ffabric.cli.running.vhost import vhost
from ffabric.lab.vhost import qemu_img
from ffabric.machine.host.interruption import Interrupted, interruptible
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.host.vhost_user.front_end import BackEndLost


def test_a_file_system_is_written_and_checked(capsys):
    assert vhost(size=8) == 0
    shown = capsys.readouterr().out
    assert shown.count("24 of 24 the same") == 2
    assert shown.count("clean") == 2
    assert shown.count("is killed: ") == 2
    assert shown.count("needs a reset: qemu-storage-daemon for ") == 2
    assert "everything is as it must be" in shown
    for daemon in ("virtiofsd in C", "virtiofsd in Rust", "vhost-device-vsock"):
        (line, *_) = [line for line in shown.splitlines() if line.startswith(f"  {daemon} ")]
        assert any(each in line for each in ("the same hash", "come back", "not there", "not run"))


def test_files_that_come_back_as_something_else_are_found(capsys, monkeypatch):
    monkeypatch.setattr("ffabric.lab.vhost.visitor.FsDriver.read", _nothing)
    monkeypatch.setattr("ffabric.cli.running.vhost._run", lambda *_, **__: [])
    status = vhost(size=8)
    shown = capsys.readouterr().out
    there = "the same hash" in shown or "files differ" in shown
    assert status == int(there)
    assert there == ("FAILED: virtiofsd" in shown)


def test_the_table_so_far_is_printed_if_a_signal_ends_it(capsys, monkeypatch):
    former = vhost_command._run

    def run(*arguments, static, **options):
        if not static:
            os.kill(os.getpid(), signal.SIGINT)
        return former(*arguments, static=static, **options)

    monkeypatch.setattr(vhost_command, "_run", run)
    with pytest.raises(Interrupted), interruptible():
        vhost(size=8, kill=False)
    shown = capsys.readouterr().out
    assert shown.count("24 of 24 the same") == 1
    assert shown.endswith("FAILED: interrupted: the rest has not been tried\n")


async def _nothing(_driver, _path):
    return b""


def test_an_image_that_qemu_img_finds_wrong_is_told(tmp_path):
    image = tmp_path / "image"
    qemu_img.make(image, 1 << 20)
    assert qemu_img.check(image) == ""
    with image.open("r+b") as file:
        file.seek(0x30)
        file.write(b"\xff" * 8)
    assert qemu_img.check(image).startswith("qemu-img: ")
    assert qemu_img.expand(image, tmp_path / "raw").startswith("qemu-img: ")


def test_a_disk_that_is_wrong_is_found(capsys, monkeypatch):
    monkeypatch.setattr("ffabric.lab.vhost.e2fs.check", lambda image: "inode 12 has a wrong size")
    assert vhost(size=8, kill=False) == 1
    assert "FAILED: static mapping: inode 12 has a wrong size" in capsys.readouterr().out


def test_it_takes_too_long(capsys):
    assert vhost(size=8, kill=False, timeout=1e-6) == 1
    assert "it took more than 1e-06 s" in capsys.readouterr().out


def test_a_file_system_has_a_size():
    with pytest.raises(UsageError, match="at least 8 MiB"):
        vhost(size=7)


def test_programs_that_are_missing_are_named_before_anything_is_done(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MissingProgram, match="sudo apt-get install qemu-system-common"):
        vhost()


def test_a_daemon_that_does_not_start_is_a_line(monkeypatch):
    def lost(*_, **__):
        raise BackEndLost("qemu-storage-daemon for disk: no")

    monkeypatch.setattr("ffabric.cli.running.vhost.storage_daemon", lost)
    with pytest.raises(UsageError, match="for disk: no"):
        vhost(size=8)
