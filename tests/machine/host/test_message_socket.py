"""Messages over a socket, whatever the other end does."""

import socket

import pytest

from ffabric.machine.host import message_socket
from ffabric.machine.host.message_socket import MessageSocket

MESSAGE = bytes.fromhex("02 03 0000 0100 0c00 00000000")


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    yield MessageSocket(one), other
    one.close()
    other.close()


def test_who_sends_without_end_holds_up_nobody(pair, monkeypatch):
    """With each message that is taken in comes the next."""
    monkeypatch.setattr(message_socket, "BURST", 10 * len(MESSAGE))
    here, there = pair
    taken = []

    def again(message):
        taken.append(message)
        assert len(taken) < 1000
        there.sendall(MESSAGE)

    here.on_message = again
    there.sendall(MESSAGE)
    assert here.look()
    assert taken == [MESSAGE] * 10
    assert here.look(), "the rest is there when it is looked for again"
    assert taken == [MESSAGE] * 20


def test_all_that_has_come_is_taken_in_at_once_if_it_is_not_too_much(pair):
    here, there = pair
    taken = []
    here.on_message = taken.append
    there.sendall(MESSAGE * 1000 + MESSAGE[:5])
    assert here.look()
    assert taken == [MESSAGE] * 1000
    there.sendall(MESSAGE[5:])
    there.close()
    assert not here.look()
    assert len(taken) == 1001
    assert here.lost == "it has closed its connection"
