"""The command line as a user has it."""

import sys

import pytest

from debs import package
from ffabric.cli.main import main
from ffabric.guests import images


@pytest.fixture
def ffabric_command(monkeypatch, capsys):
    """Runs ``ffabric`` with arguments: its exit status, its output, its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ffabric", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


@pytest.fixture
def run_afresh(ffabric_command, monkeypatch, tmp_path):
    """The same in an empty folder, with nothing downloaded before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ffabric_command


@pytest.fixture
def packages(tmp_path):
    """Packages of a kernel that asks the first SP 64 times and turns everything off."""
    where = tmp_path / "packages"
    where.mkdir()
    modules = "lib/modules/7.9/kernel/drivers/firmware/arm_ffa"
    files = {
        "boot/vmlinuz-7.9": images.load("client_smc"),
        f"{modules}/ffa-core.ko": b"core",
        f"{modules}/ffa-module.ko": b"module",
    }
    package(where, "linux-image-7.9", files)
    package(where, "busybox-static", {"bin/busybox": b"busybox"})
    return where
