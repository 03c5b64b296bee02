"""The list of tests in an image of the suite, and images whose list is a part of it.

The suite's dispatcher takes one row of ``test_list`` after the other until one has no entry
function; the number of a row is what it tells the other endpoints. So the same rows in the same
order at the head of the list of every image are a build of these tests alone. Function pointers are
offsets from the image's start, which the suite adds up itself, so rows may move.

A row, in 152 bytes (suite, ff-a-acs 7dcc13b, val/inc/val_interfaces.h): the suite's number (32
bits), a name of 100 bytes that begins with a blank, five function pointers, the function id that
the test needs. The first row is empty, and so is the last. Names of suites are in a table of their
own: a number and 100 bytes. Tables are found by their form, since raw images have no symbols.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

import msgspec

_ROW = struct.Struct("<I100s5QI4x")
_SUITE = struct.Struct("<I100s")
_FIRST = re.compile(rb"(?=[\x01-\x1f]\0{3} [A-Za-z]\w*\0)", re.ASCII)
_FIRST_SUITE = re.compile(rb"(?=\x01\0{3}[A-Za-z]\w*\0)", re.ASCII)
_NAME = re.compile(rb" ?([A-Za-z]\w*)\0+", re.ASCII)
_ALIGNMENT = 8


class Listed(msgspec.Struct, frozen=True):
    """A test of the list: its row, its name, its suite's."""

    row: int
    name: str
    suite: str


class Listing(msgspec.Struct, frozen=True):
    """The tests of an image, and where in it the empty first row of its list is."""

    offset: int
    tests: tuple[Listed, ...]

    def only(self, image: bytes, tests: Sequence[Listed]) -> bytes:
        """``image``, whose list this is, with ``tests`` alone in its list."""
        size = _ROW.size
        rows = [image[self.offset + size * each.row :][:size] for each in tests]
        head = b"".join((*rows, bytes(size)))[: size * len(self.tests)]
        start = self.offset + size
        return image[:start] + head + image[start + len(head) :]


def find_listing(image: bytes) -> Listing | None:
    """The list of tests in an image; None if there is none of the known form."""
    best: list[tuple[int, str]] = []
    offset = 0
    for match in _FIRST.finditer(image):
        start = match.start()
        if start % _ALIGNMENT or any(image[max(0, start - _ROW.size) : start]):
            continue
        rows = _rows(image, start)
        if len(rows) > len(best):
            best, offset = rows, start - _ROW.size
    if not best or offset < 0:
        return None
    suites = _suites(image)
    tests = (
        Listed(row, name, suites.get(number, f"suite{number}"))
        for row, (number, name) in enumerate(best, 1)
    )
    return Listing(offset, tuple(tests))


def _rows(image: bytes, start: int) -> list[tuple[int, str]]:
    """(Number of the suite, name) of each row up to the empty one; nothing if one is no row."""
    found: list[tuple[int, str]] = []
    for at in range(start, len(image) - _ROW.size + 1, _ROW.size):
        suite, text, entry, *functions, _ = _ROW.unpack_from(image, at)
        if not (suite or entry or any(text)):
            return found
        name = _NAME.fullmatch(text)
        if name is None or not 0 < entry < len(image) or max(functions) >= len(image):
            return []
        found.append((suite, name[1].decode()))
    return []


def _suites(image: bytes) -> dict[int, str]:
    """The names of the suites by their numbers, which begin with 1."""
    best: dict[int, str] = {}
    for match in _FIRST_SUITE.finditer(image):
        found: dict[int, str] = {}
        for at in range(match.start(), len(image) - _SUITE.size + 1, _SUITE.size):
            number, text = _SUITE.unpack_from(image, at)
            name = _NAME.fullmatch(text)
            if number != len(found) + 1 or name is None:
                break
            found[number] = name[1].decode()
        if len(found) > len(best):
            best = found
    return best
