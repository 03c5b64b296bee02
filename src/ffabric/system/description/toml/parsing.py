"""The text of a system file as tables, or an error that says where it is none."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from ffabric.system.files.reading import DESCRIPTION, opened, read_bytes
from ffabric.system.options.problems import Problem, SystemErrors

_KEY_PARTS = 256
_OTHERS = (
    (b"\x01\x00\x64\xaa", "a firmware image package", 'fip = "{}"'),
    (b"SPKG", "an SP package", '[[sp]] package = "{}"'),
    (b"\x0b\xb1\x0f\x4a", "a transfer list", '[[sp]] package = "{}"'),
    (b"\xd0\x0d\xfe\xed", "a devicetree", 'manifest = "{}" of a partition or of [spmc]'),
    (b"/dts-v1/", "a devicetree's source", 'manifest = "{}" of a partition or of [spmc]'),
    (b"\x7fELF", "an image", '[[sp]] or [[vm]] image = "{}"'),
    (b"{", "JSON", 'sp_layout = "{}", if it is one'),
)
"""What files of other sorts begin with, what they are, and how a system file names one."""
_TOML_LINE = re.compile(r"^(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)$")


def parse(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises SystemErrors if it is not TOML, or has nothing in it."""
    try:
        text = read_bytes(path, DESCRIPTION).decode()
        _check_keys(text)
        if root := tomllib.loads(text):
            return root
        problem = Problem(str(path), "", "", "there is nothing in it")
    except OSError as error:
        problem = Problem(str(path), "", "", error.strerror or str(error))
    except UnicodeDecodeError as error:
        problem = Problem(str(path), "", "", f"byte {error.start:#x} is not UTF-8")
    except RecursionError:
        problem = Problem(str(path), "", "", "nested too deep")
    except ValueError as error:
        match = _TOML_LINE.match(str(error))
        where = f"{path}:{match['line']}" if match else str(path)
        problem = Problem(where, "", "", match["what"] if match else str(error))
    other = _other_sort(path)
    raise SystemErrors([Problem(str(path), "", "", other) if other else problem])


def _other_sort(path: Path) -> str:
    """What a file is that a system file would name, but is none; nothing for other files."""
    with suppress(OSError), opened(path) as file:
        start = file.read(8)
        for magic, kind, how in _OTHERS:
            if start.startswith(magic):
                return f"{kind}, no system file: one names it with {how.format(path.name)}"
    return ""


def _check_keys(text: str) -> None:
    """Refuse keys of very many parts (a.b.c), for which tomllib takes quadratic time."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") < _KEY_PARTS:
            continue
        for piece in re.split("[{,]", line):
            if piece.partition("=")[0].count(".") >= _KEY_PARTS:
                what = f"a key of {_KEY_PARTS} parts or more"
                raise ValueError(f"{what} (at line {number}, column 1)")
