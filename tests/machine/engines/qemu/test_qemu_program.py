"""A QEMU that is too old, or that is not there, is told in a line before anything is booted."""

import pytest

from ffabric.machine.engines.qemu.process import check_program
from ffabric.machine.host.process import MissingProgram


@pytest.fixture
def qemu(tmp_path, monkeypatch):
    """Be a QEMU that says which version it is."""

    def be(version):
        program = tmp_path / "qemu-system-aarch64"
        program.write_text(f"#!/bin/sh\necho 'QEMU emulator {version}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return be


@pytest.mark.parametrize("version", ["version 6.2.0", "version 7.1.0 (Debian)", "version 5.10.1"])
def test_too_old(qemu, version):
    qemu(version)
    with pytest.raises(MissingProgram, match=r"is version \d\.\d+, and 7\.2 or later is needed"):
        check_program()


@pytest.mark.parametrize("version", ["version 7.2.22 (Debian 1:7.2)", "version 10.0.2", "of mine"])
def test_new_enough(qemu, version):
    qemu(version)
    check_program()


def test_none_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("ffabric.machine.host.process.shutil.which", lambda *_, **__: None)
    with pytest.raises(MissingProgram, match="apt-get install qemu-system-arm"):
        check_program()
