"""A Replay Protected Memory Block does what its key asks for, each time once."""

import pytest
from msgspec.structs import replace

from ffabric.abi import rpmb
from ffabric.abi.errors import DecodeError
from ffabric.abi.rpmb import BLOCK, FRAME, Frame, Result, Type
from ffabric.machine.devices.rpmb import LAST_COUNT, RpmbPartition

KEY, OTHER = b"k" * 32, b"o" * 32
BLOCKS = 64


def ask(card, frames, answers=1):
    return rpmb.parse(card.request(rpmb.build(frames), answers))


@pytest.fixture
def card():
    card = RpmbPartition(BLOCKS, b"c" * 16)
    assert ask(card, [Frame(Type.PROGRAM_KEY, mac=KEY)])[0].result == Result.OK
    return card


def counter(card, key=KEY):
    (answer,) = ask(card, [Frame(Type.READ_COUNTER, nonce=b"n" * 16)])
    assert rpmb.is_signed(key, [answer])
    assert answer.nonce == b"n" * 16
    return answer.counter


def write(card, address, *blocks, key=KEY, count=None):
    count = counter(card) if count is None else count
    head = Frame(Type.WRITE, address=address, count=len(blocks), counter=count)
    frames = [replace(head, data=each.ljust(BLOCK, b"\0")) for each in blocks]
    return ask(card, rpmb.signed(key, frames))[0]


def read(card, address, count):
    frames = ask(card, [Frame(Type.READ, address=address, nonce=b"m" * 16)], count)
    return frames, b"".join(frame.data for frame in frames)


def test_a_frame_is_its_bytes():
    frame = Frame(Type.WRITE, b"d" * BLOCK, b"n" * 16, 0x01020304, 5, 6, 7, b"m" * 32)
    data = frame.encoded()
    assert len(data) == FRAME
    assert data[-12:].hex() == "010203040005000600070003"
    assert rpmb.parse(data * 2) == [frame] * 2


@pytest.mark.parametrize("data", [b"", bytes(FRAME - 1), bytes(FRAME + 1)])
def test_what_is_no_frame(card, data):
    with pytest.raises(DecodeError):
        rpmb.parse(data)
    assert rpmb.parse(card.request(data, 1))[0].result == Result.GENERAL


def test_what_is_written_is_read(card):
    answer = write(card, 3, b"one", b"two")
    assert (answer.result, answer.counter, answer.type) == (Result.OK, 1, Type.WRITE << 8)
    frames, data = read(card, 3, 2)
    assert rpmb.is_signed(KEY, frames)
    assert (data[:3], data[BLOCK : BLOCK + 3]) == (b"one", b"two")
    assert read(card, 0, 3)[1] == bytes(3 * BLOCK)


def test_a_key_is_programmed_once(card):
    assert ask(card, [Frame(Type.PROGRAM_KEY, mac=OTHER)])[0].result == Result.GENERAL
    assert write(card, 0, b"x", key=OTHER).result == Result.AUTHENTICATION
    assert write(card, 0, b"x").result == Result.OK


def test_without_a_key_nothing_is_written():
    card = RpmbPartition(BLOCKS, bytes(16))
    assert ask(card, [Frame(Type.READ_COUNTER)])[0].result == Result.NO_KEY
    assert write_unsigned(card).result == Result.NO_KEY
    assert read(card, 0, 1)[0][0].result == Result.NO_KEY


def write_unsigned(card):
    return ask(card, [Frame(Type.WRITE, count=1)])[0]


def test_a_write_is_not_made_again(card):
    count = counter(card)
    assert write(card, 0, b"x", count=count).result == Result.OK
    assert write(card, 0, b"x", count=count).result == Result.COUNTER
    assert write(card, 0, b"x", count=count + 2).result == Result.COUNTER
    assert counter(card) == count + 1


@pytest.mark.parametrize(("address", "blocks"), [(BLOCKS, 1), (BLOCKS - 1, 2), (0xFFFF, 1)])
def test_a_write_lies_inside(card, address, blocks):
    assert write(card, address, *[b"x"] * blocks).result == Result.ADDRESS
    assert write(card, BLOCKS - blocks, *[b"x"] * blocks).result == Result.OK


@pytest.mark.parametrize(("address", "count"), [(BLOCKS, 1), (BLOCKS - 1, 2), (0, 0)])
def test_so_does_a_read(card, address, count):
    assert read(card, address, count)[0][0].result == Result.ADDRESS


def test_frames_of_a_write_agree(card):
    frames = [Frame(Type.WRITE, address=at, count=2, counter=0) for at in (0, 1)]
    assert ask(card, rpmb.signed(KEY, frames))[0].result == Result.GENERAL
    frames = [Frame(Type.WRITE, address=0, count=3, counter=0) for _ in range(2)]
    assert ask(card, rpmb.signed(KEY, frames))[0].result == Result.GENERAL


def test_a_request_that_there_is_not(card):
    for number in (0, 6, 0xFFFF):
        assert ask(card, [Frame(number)])[0].result == Result.GENERAL


def test_a_counter_at_its_end_counts_no_more(card):
    card._counter = LAST_COUNT
    assert write(card, 0, b"x").result == Result.WRITE
