"""Standard input is read until it ends or a signal comes, also one that comes at a bad moment."""

import ctypes
import operator
import os
import select
import signal
import sys
from itertools import starmap
from types import SimpleNamespace

import pytest

from ffabric.cli import standard_input
from ffabric.machine.host.interruption import Interrupted, interruptible

LIBC = ctypes.CDLL(None)


@pytest.fixture
def writer(monkeypatch):
    """What is written here is standard input."""
    near, far = os.pipe()
    with os.fdopen(near) as text, os.fdopen(far, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", text)
        yield writer


def test_lines_are_read_as_they_come_and_to_the_end(writer):
    with standard_input.standard_input() as lines:
        writer.write(b"one\ntw")
        assert lines.readline() == b"one\n"
        writer.write(b"o\nrest")
        assert lines.readline() == b"two\n"
        writer.close()
        assert lines.read() == b"rest"
        assert lines.readline() == b""


@pytest.mark.usefixtures("writer")
def test_a_signal_directly_before_the_wait_ends_it(monkeypatch):
    """No line of Python comes between the signal and the wait, in which it could be handled."""

    def wait(*what):
        calls = (LIBC.kill, os.getpid(), signal.SIGTERM), (select.select, *what)
        return list(starmap(operator.call, calls))[-1]

    monkeypatch.setattr(standard_input, "select", SimpleNamespace(select=wait, PIPE_BUF=512))
    with (
        pytest.raises(Interrupted, match="terminated"),
        interruptible(),
        standard_input.standard_input() as lines,
    ):
        lines.readline()


def test_a_signal_that_ends_nothing_is_passed_over(writer):
    heard = []

    def handle(number, frame):
        heard.append(number)
        writer.write(b"line\n")

    former = signal.signal(signal.SIGUSR1, handle)
    try:
        with standard_input.standard_input() as lines:
            LIBC.kill(os.getpid(), signal.SIGUSR1)
            assert lines.readline() == b"line\n"
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert heard == [signal.SIGUSR1]


def test_there_is_nothing_in_one_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with standard_input.standard_input() as lines:
        assert lines.read() == b""
