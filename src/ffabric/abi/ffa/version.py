"""FF-A version numbers (DEN0077A v1.2, 13.2): bit 31 zero, major 30:16, minor 15:0."""

from __future__ import annotations

import re
from typing import Final

V1_0: Final = 0x10000
V1_1: Final = 0x10001
V1_2: Final = 0x10002
V1_3: Final = 0x10003

VERSIONS: Final = (V1_0, V1_1, V1_2, V1_3)
LATEST: Final = V1_3

RESERVED_BIT: Final = 1 << 31  # MBZ in the input of FFA_VERSION

_TEXT = re.compile(r"v?([0-9]{1,5})\.([0-9]{1,5})", re.ASCII)


def major(version: int) -> int:
    """The major version: bits 30:16."""
    return version >> 16 & 0x7FFF


def minor(version: int) -> int:
    """The minor version: bits 15:0."""
    return version & 0xFFFF


def make(major: int, minor: int) -> int:
    """The version number of `major`.`minor`; ValueError if one does not fit its field."""
    if not (0 <= major <= 0x7FFF and 0 <= minor <= 0xFFFF):
        raise ValueError(f"{major}.{minor} is not an FF-A version")
    return major << 16 | minor


def parse(text: str) -> int:
    """`"1.2"` or `"v1.2"` as a version number; ValueError if it is neither."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an FF-A version such as 1.2")
    return make(int(match[1]), int(match[2]))


def as_version(value: int | str) -> int:
    """A version that may be given as text, "1.2". Raises ValueError for a text that is none."""
    return parse(value) if isinstance(value, str) else value


def format_version(version: int) -> str:
    """`0x10002` as `"1.2"`."""
    return f"{major(version)}.{minor(version)}"


def compatible(caller: int, callee: int) -> bool:
    """Whether a callee of version `callee` serves a caller that asks for `caller` (13.2.1)."""
    return major(caller) == major(callee) and minor(caller) <= minor(callee)
