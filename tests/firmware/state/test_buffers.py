"""Buffers of endpoints, in one run of physical memory or in several."""

from contextlib import closing
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi.words import PAGE
from ffabric.firmware.state.mailbox import Buffer
from ffabric.machine.memory import Bank, Piece

BANK = 8 * PAGE
LAYOUTS = {
    "one run": [(2, 3)],
    "two runs, the later one first": [(5, 1), (1, 2)],
    "three runs": [(0, 1), (3, 1), (6, 1)],
}


def bank():
    return closing(Bank("bank", 0, BANK, secure=False))


def buffer_in(memory, layout):
    """A buffer of three pages."""
    return Buffer(0, [Piece(memory, at * PAGE, pages * PAGE) for at, pages in layout])


def contents(memory, layout):
    return b"".join(bytes(memory.data[at * PAGE : (at + pages) * PAGE]) for at, pages in layout)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@given(offset=st.integers(0, 3 * PAGE), data=st.binary(max_size=3 * PAGE), tail=st.booleans())
def test_what_is_written_is_read_and_is_in_its_own_pages_alone(layout, offset, data, tail):
    if tail:
        offset = 3 * PAGE - len(data)
    data = data[: 3 * PAGE - offset]
    with bank() as memory:
        buffer = buffer_in(memory, layout)
        buffer.fill(b"\xaa" * buffer.size)
        buffer.write(data, offset)
        expected = bytearray(b"\xaa" * buffer.size)
        expected[offset : offset + len(data)] = data
        assert contents(memory, layout) == expected
        assert buffer.snapshot(len(data), offset) == data
        others = set(range(8)) - {at + n for at, pages in layout for n in range(pages)}
        assert all(contents(memory, [(page, 1)]) == bytes(PAGE) for page in others)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_read_ends_with_the_buffer(layout):
    with bank() as memory:
        buffer = buffer_in(memory, layout)
        buffer.fill(b"\x55" * buffer.size)
        assert buffer.snapshot(2 * PAGE, 2 * PAGE) == b"\x55" * PAGE
        assert buffer.snapshot(1, buffer.size) == b""


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_shorter_message_leaves_nothing_of_a_longer_one(layout):
    with bank() as memory:
        buffer = buffer_in(memory, layout)
        buffer.fill(b"\xff" * buffer.size)
        buffer.fill(b"short")
        assert buffer.snapshot(buffer.size) == b"short".ljust(buffer.size, b"\0")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_copy_is_in_other_memory(layout):
    with bank() as memory:
        buffer = buffer_in(memory, layout)
        copy = deepcopy(buffer)
        with closing(copy.pieces[0].bank):
            buffer.fill(b"here")
            assert copy.snapshot(4) == bytes(4)
