"""Kinds of values, as they are written in TOML."""

from typing import Any
from uuid import UUID

import pytest

from ffabric.system.files.dtb import Node
from ffabric.system.options import kinds
from ffabric.system.options.kinds import Kind, KindError

OPTEE = UUID("486178e0-e7f8-11e3-bc5e-0002a5d5c51b")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (kinds.U32, 7, 7),
        (kinds.U32, "0x8000", 0x8000),
        (kinds.SIZE, 4096, 4096),
        (kinds.SIZE, "0x1000", 4096),
        (kinds.SIZE, "64KiB", 65536),
        (kinds.SIZE, "2 MiB", 2 << 20),
        (kinds.SIZE, "1g", 1 << 30),
        (kinds.VERSION, "1.2", 0x10002),
        (kinds.VERSION, 0x10001, 0x10001),
        (kinds.FLAG, False, False),
        (kinds.NUMBERS, [1, "0x2"], (1, 2)),
        (kinds.NUMBERS, 3, (3,)),
        (kinds.TEXTS, "a", ("a",)),
        (kinds.UUIDS, str(OPTEE), (OPTEE,)),
        (kinds.UUIDS, [str(OPTEE)], (OPTEE,)),
    ],
)
def test_values(kind: Kind, value: Any, expected: object) -> None:
    assert kind.toml(value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (kinds.U32, True, "expected a number, not true or false"),
        (kinds.U32, 1.5, "expected a number, not a float"),
        (kinds.U32, "eight", "'eight' is not a number"),
        (kinds.U32, -1, "-1 is below zero"),
        (kinds.SIZE, "2 MB2", "'2 MB2' is not a size such as"),
        (kinds.SIZE, [], "expected a number, not a list"),
        (kinds.FLAG, 1, "expected true or false, not a number"),
        (kinds.TEXT, {}, "expected text, not a table"),
        (kinds.TEXTS, [1], "expected text, not a number"),
        (kinds.UUIDS, 5, "expected a UUID as text, not a number"),
        (kinds.UUIDS, "5a7c", "'5a7c' is not a UUID"),
        (kinds.UUIDS, OPTEE.hex, "is not a UUID in canonical form"),
        (kinds.VERSION, "one", "not an FF-A version"),
    ],
)
def test_values_of_another_kind(kind: Kind, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind.toml(value)


@pytest.mark.parametrize("kind", [kinds.PATH, kinds.PATHS])
def test_paths_are_not_devicetree_values(kind: Kind) -> None:
    with pytest.raises(AssertionError):
        kind.encode("x")
    with pytest.raises(AssertionError):
        kind.node(Node(), "x")


def test_kind_errors_are_value_errors() -> None:
    assert issubclass(KindError, ValueError)
