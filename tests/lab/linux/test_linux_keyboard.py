"""The terminal as the console of a guest, and the software that is beside Linux by itself."""

import os
import pty
import sys
import termios
from types import SimpleNamespace
from typing import Any

import pytest

from ffabric import boot
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee.message import Type, Value
from ffabric.lab.linux.keyboard import Keyboard
from ffabric.lab.linux.software import CALLS_PER_RING, Adder, RingingOpTee, default_software
from ffabric.optee import BlockingDriver, TeeError


class Outside:
    """Calls back for what can be read."""

    def __init__(self):
        self.ready = {}

    def watch(self, fd, ready):
        self.ready[fd] = ready

    def unwatch(self, fd):
        self.ready.pop(fd, None)


class Guest:
    def __init__(self):
        self.typed = b""
        self.on_output = None

    def type(self, data):
        self.typed += data


class Scene:
    def __init__(self, monkeypatch, fd):
        self.fd = fd
        self.outside, self.guest = Outside(), Guest()
        self.system: Any = SimpleNamespace(
            machine=SimpleNamespace(outside=self.outside),
            endpoints={"linux": SimpleNamespace(guest=self.guest)},
        )
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: fd))

    def keyboard(self, *, on=True):
        return Keyboard(self.system, "linux", on=on)


@pytest.fixture
def terminal(monkeypatch):
    there, here = pty.openpty()
    yield there, Scene(monkeypatch, here)
    os.close(there)
    os.close(here)


def flags(fd):
    return termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def test_each_key_goes_to_the_guest_at_once_and_the_terminal_is_as_before_afterwards(terminal):
    there, scene = terminal
    before = flags(scene.fd)
    with scene.keyboard():
        assert flags(scene.fd) == termios.ISIG
        os.write(there, b"l")
        scene.outside.ready[scene.fd]()
        assert scene.guest.typed == b"l"
    assert flags(scene.fd) == before
    assert (scene.outside.ready, scene.guest.on_output) == ({}, None)


def test_the_terminal_is_as_before_after_an_error_too(terminal):
    _, scene = terminal
    before = flags(scene.fd)
    with pytest.raises(KeyboardInterrupt), scene.keyboard():
        raise KeyboardInterrupt
    assert flags(scene.fd) == before


def test_what_the_guest_prints_is_shown_as_it_comes(terminal, capfdbinary):
    _, scene = terminal
    with scene.keyboard():
        scene.guest.on_output(b"login: \xff")
        assert capfdbinary.readouterr().out == b"login: \xff"


def test_without_a_shell_the_terminal_is_left_alone(terminal):
    _, scene = terminal
    before = flags(scene.fd)
    with scene.keyboard(on=False):
        assert flags(scene.fd) == before
        assert (scene.outside.ready, scene.guest.on_output) == ({}, None)


def test_a_pipe_is_typed_to_its_end(monkeypatch):
    here, there = os.pipe()
    scene = Scene(monkeypatch, here)
    with scene.keyboard():
        os.write(there, b"ls\n")
        os.close(there)
        scene.outside.ready[here]()
        scene.outside.ready[here]()
        assert (scene.guest.typed, scene.outside.ready) == (b"ls\n", {})
    os.close(here)


# The software


@pytest.fixture
def beside():
    with boot(sps=default_software(2), vms=["vm"]) as system:
        yield system


def test_the_ta_adds_and_refuses_what_it_has_not(beside):
    driver = BlockingDriver(beside.vm("vm").ffa)
    driver.probe()
    session = driver.open_session(Adder.uuid)
    (answer,) = driver.invoke(session, 0, Value(Type.VALUE_INOUT, 0xFFFF_FFFF, 2))
    assert answer.a == 1
    memory = driver.allocate(8)
    memory.write(b"\xff\xff\xff\xff\x05\0\0\0")
    driver.invoke(session, 1, memory.inout())
    assert memory.read(8) == b"\0\0\0\0\x05\0\0\0"
    with pytest.raises(TeeError, match="NOT_SUPPORTED"):
        driver.invoke(session, 2)


def test_optee_rings_once_for_so_many_calls(beside, monkeypatch):
    rung = []

    async def notify(core, ffa, client, *values):
        rung.append(client)

    monkeypatch.setattr(RingingOpTee, "notify", notify)
    client = beside.vm("vm").ffa
    for _ in range(CALLS_PER_RING - 1):
        client.direct_request("optee", abi.GET_API_VERSION, bits=32)
    assert rung == []
    for _ in range(CALLS_PER_RING):
        client.direct_request("optee", abi.GET_API_VERSION, bits=32)
    assert rung == [beside.vm("vm").id]


def test_the_plain_sp_answers_with_what_it_was_sent(beside):
    words = (1, 2, 3, 4, 5)
    assert beside.vm("vm").ffa.direct_request("echo", *words).payload[:5] == words
