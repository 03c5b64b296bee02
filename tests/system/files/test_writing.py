"""Errors of writing a file name it."""

import errno
import os
from pathlib import Path

import pytest

from ffabric.lab.linux import kept
from ffabric.observe.trace import Trace, traced
from ffabric.session.booting import boot
from ffabric.system.files.writing import named

FULL = Path("/dev/full")

full = pytest.mark.skipif(not FULL.exists(), reason="this host has no device that is always full")


def full_at(path):
    path.symlink_to(FULL)
    return path


def test_an_error_without_a_name_gets_it_and_another_keeps_its_own(tmp_path):
    with pytest.raises(OSError, match="No space") as error, named(tmp_path / "mine"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.filename == str(tmp_path / "mine")
    with pytest.raises(FileNotFoundError) as error, named(tmp_path / "mine"):
        (tmp_path / "other").read_bytes()
    assert error.value.filename == str(tmp_path / "other")


def test_what_has_no_name_gets_none():
    with pytest.raises(OSError, match="No space") as error, named(None):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.filename is None


@full
def test_a_trace_for_which_there_is_no_room_is_named(tmp_path):
    path = full_at(tmp_path / "t.jsonl")
    with (
        boot(vms=["alice"]) as session,
        pytest.raises(OSError, match="No space") as error,
        traced(session.system, path),
    ):
        session.vm("alice").ffa.id_get()
    assert error.value.filename == str(path)


@full
def test_a_trace_that_is_written_meanwhile_is_named(tmp_path):
    path = full_at(tmp_path / "t.jsonl")
    with boot(vms=["alice"]) as session, path.open("wb", buffering=0) as sink:
        trace = Trace(session.system, sink)
        session.system.attach(trace)
        session.vm("alice").ffa.id_get()
        with pytest.raises(OSError, match="No space") as error:
            trace.flush()
    assert error.value.filename == str(path)


def test_an_error_of_what_is_traced_is_not_the_traces(tmp_path):
    with (
        boot(vms=["alice"]) as session,
        pytest.raises(OSError, match="pipe") as error,
        traced(session.system, tmp_path / "t.jsonl"),
    ):
        raise BrokenPipeError(errno.EPIPE, "a pipe")
    assert error.value.filename is None


@full
def test_what_is_kept_of_packages_is_named(tmp_path):
    full_at(tmp_path / "kernel.new")
    with pytest.raises(OSError, match="No space") as error:
        kept.keep(tmp_path / "kernel.msgpack", b"bytes")
    assert error.value.filename == str(tmp_path / "kernel.new")
