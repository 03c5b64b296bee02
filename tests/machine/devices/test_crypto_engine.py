"""The crypto accelerator: digests, and keys in slots that nobody reads."""

import hashlib
import hmac

import pytest

from ffabric.machine.devices.crypto_engine import SLOTS, WINDOW, Command, CryptoEngine, Status

COMMAND, STATUS, SLOT, LENGTH, COUNT = 0x00, 0x04, 0x08, 0x0C, 0x10
KEY = bytes(range(32))


def run(engine, command, slot=0, data=b"", length=None):
    """Execute a command: its status, and the first bytes of the window."""
    for at in range(0, len(data), 8):
        engine.write(WINDOW + at, 8, int.from_bytes(data[at : at + 8], "little"))
    engine.write(SLOT, 4, slot)
    engine.write(LENGTH, 4, len(data) if length is None else length)
    engine.write(COMMAND, 4, command)
    words = [engine.read(WINDOW + at, 8).to_bytes(8, "little") for at in range(0, 64, 8)]
    return Status(engine.read(STATUS, 4)), b"".join(words)


@pytest.fixture
def engine():
    return CryptoEngine()


@pytest.mark.parametrize("size", [0, 1, 8, 100, WINDOW])
def test_digests(engine, size):
    data = b"x" * size
    status, answer = run(engine, Command.DIGEST, data=data)
    assert (status, answer[:32]) == (Status.OK, hashlib.sha256(data).digest())
    assert answer[32:] == bytes(32)  # nothing of the data is left


def test_a_key_is_used_and_not_read(engine):
    assert run(engine, Command.LOAD_KEY, 2, KEY) == (Status.OK, bytes(64))
    status, answer = run(engine, Command.AUTHENTICATE, 2, b"data")
    assert (status, answer[:32]) == (Status.OK, hmac.digest(KEY, b"data", hashlib.sha256))
    assert run(engine, Command.AUTHENTICATE, 1, b"data")[0] is Status.NO_KEY
    assert run(engine, Command.ERASE, 2)[0] is Status.OK
    assert run(engine, Command.AUTHENTICATE, 2, b"data")[0] is Status.NO_KEY


def test_what_is_wrong_is_told(engine):
    assert engine.read(COUNT, 4) == SLOTS
    for command in (Command.LOAD_KEY, Command.ERASE, Command.AUTHENTICATE):
        assert run(engine, command, SLOTS, KEY)[0] is Status.BAD_SLOT
    assert run(engine, Command.LOAD_KEY, 0, KEY[1:])[0] is Status.BAD_LENGTH
    for command in (Command.DIGEST, Command.AUTHENTICATE):
        assert run(engine, command, length=WINDOW + 1)[0] is Status.BAD_LENGTH
    assert run(engine, 0)[0] is Status.BAD_COMMAND
    assert run(engine, 99)[0] is Status.BAD_COMMAND
