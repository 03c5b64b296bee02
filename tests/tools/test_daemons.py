"""Daemons that this machine's release lacks: got with their libraries, and started there."""

import subprocess

import pytest

import daemons
import debs
from ffabric.lab.linux.packages import NoSuchPackage
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.host.vhost_user.programs import Program

PROGRAM = Program("served", "served-package")
LOADER = b"#!/bin/sh\necho loaded: $*\n"
LIBRARIES = "usr/lib/an-architecture"
PACKAGES = {
    "served-package": {"usr/libexec/served": b"a program"},
    "libc6": {f"{LIBRARIES}/ld-linux-any.so.2": LOADER, f"{LIBRARIES}/libc.so.6": b"a library"},
    "libgcc-s1": {},
    "libcap-ng0": {},
    "libseccomp2": {},
}


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A suite with packages, in place of Debian's; daemons are kept in a folder of the test."""
    packages = dict(PACKAGES)

    class Archive:
        def __init__(self, *given):
            self.given = given

        def suite(self, name):
            assert name == daemons.SUITE
            return self

        def get(self, names):
            for name in names:
                if name not in packages:
                    raise NoSuchPackage(name, "the archive")
            return [debs.package(tmp_path, name, packages[name], mode=0o755) for name in names]

    monkeypatch.setattr(daemons, "Apt", Archive)
    monkeypatch.setattr(daemons, "FILE_SYSTEM", PROGRAM)
    monkeypatch.setattr(daemons, "VSOCK", PROGRAM)
    monkeypatch.setattr(daemons, "_FOLDER", tmp_path / "kept")
    monkeypatch.setattr(daemons, "STARTERS", tmp_path / "kept/bin")
    return packages


def test_a_daemon_that_is_not_here_is_started_by_the_loader_that_it_was_built_for(archive):
    assert daemons.main() == 0
    starter = daemons.STARTERS / "served"
    said = subprocess.run([starter, "--fd=3", "a b"], check=True, capture_output=True, text=True)
    root = daemons.STARTERS.parent / "served"
    libraries = root / LIBRARIES
    assert (
        said.stdout == f"loaded: --library-path {libraries} {root}/usr/libexec/served --fd=3 a b\n"
    )


def test_a_daemon_that_is_here_is_not_got(archive, monkeypatch):
    monkeypatch.setattr(Program, "find", lambda program: "/usr/bin/served")
    assert daemons.main() == 0
    assert not daemons.STARTERS.exists()


def test_what_the_archive_does_not_have_is_told(archive, capsys):
    del archive["served-package"]
    assert daemons.main() == 0
    assert "no served" in capsys.readouterr().err
    with pytest.raises(MissingProgram):
        PROGRAM.find()
