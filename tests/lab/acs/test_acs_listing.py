"""The list of tests in an image."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.lab.acs.listing import find_listing

CODE = bytes(range(1, 129)) * 8


def row(suite, name, entry=0x40):
    text = f" {name}".encode() if name else b""
    return struct.pack("<I100s5QI4x", suite, text, entry, 8, 0, 0, 0, 0x84000063)


EMPTY = row(0, "", 0)[:-8].replace(b"\x08", b"\0") + bytes(8)


def image(*rows, suites=("setup", "memory")):
    """An image with code, the list of tests and the names of suites."""
    names = b"".join(struct.pack("<I100s", *each) for each in enumerate(map(str.encode, suites), 1))
    table = b"".join((EMPTY, *rows, EMPTY))
    return CODE + table + bytes(104) + names + struct.pack("<I100s", 0, b"")


THREE = image(row(1, "one"), row(2, "two"), row(1, "three"))


def listed(data):
    found = find_listing(data)
    return [] if found is None else [(each.row, each.suite, each.name) for each in found.tests]


def test_the_tests_with_their_rows_and_suites():
    assert listed(THREE) == [(1, "setup", "one"), (2, "memory", "two"), (3, "setup", "three")]


@pytest.mark.parametrize("keep", [[0], [2], [2, 0], [0, 1, 2]])
def test_an_image_with_some_of_them(keep):
    listing = find_listing(THREE)
    chosen = [listing.tests[n] for n in keep]
    cut = listing.only(THREE, chosen)
    assert len(cut) == len(THREE)
    assert [name for _, _, name in listed(cut)] == [each.name for each in chosen]
    end = listing.offset + len(EMPTY) * 5
    assert cut[: listing.offset] == THREE[: listing.offset]
    assert cut[end:] == THREE[end:]


def test_rows_move_whole():
    listing = find_listing(THREE)
    cut = listing.only(THREE, [listing.tests[1]])
    start = listing.offset + len(EMPTY)
    assert cut[start : start + len(EMPTY)] == row(2, "two")


@pytest.mark.parametrize(
    "broken",
    [
        image(),
        image(row(1, "one", entry=0)),
        image(row(1, "one", entry=1 << 40)),
        image(row(1, "not a name")),
        THREE[: len(CODE) + 3 * len(EMPTY)],
        b"x" + THREE,
        CODE,
        b"",
    ],
    ids=["empty", "no entry", "far entry", "name", "cut off", "unaligned", "code", "nothing"],
)
def test_what_is_no_list(broken):
    assert find_listing(broken) is None


def test_a_suite_without_a_name_has_its_number():
    assert listed(image(row(9, "one"))) == [(1, "suite9", "one")]


@given(st.binary(max_size=2000), st.integers(0, 2000))
def test_any_bytes_are_searched_without_harm(noise, at):
    find_listing(THREE[:at] + noise + THREE[at:])
