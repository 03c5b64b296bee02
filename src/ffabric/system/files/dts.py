"""Devicetree source: `.dts` text -> the same `Tree` as a blob, or every mistake as a Problem.

The parser is the `devicetree` package (extra `dts`), imported when a source is first read. A source
that uses the C preprocessor, as the manifests of platforms often do, goes through `cpp` first, the
way their build systems do it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ffabric.abi.errors import DecodeError
from ffabric.system.files.dtb import Node, Tree, parse_dtb
from ffabric.system.options.problems import ManifestErrors, Problem

INSTALL_HINT = "reading .dts needs the devicetree package: pip install 'ffabric[dts]'"

_DIRECTIVE = re.compile(
    r"^[ \t]*#[ \t]*(include|define|undef|if|ifdef|ifndef|pragma)\b", re.MULTILINE
)
_PREPROCESSORS = (
    ("cpp",),
    ("gcc", "-E"),
    ("clang", "-E"),
    ("cc", "-E"),
    ("aarch64-linux-gnu-gcc", "-E"),
)
_CPP_FLAGS = ("-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp")
_CPP_ERROR = re.compile(r"^(?P<where>.+?:\d+)(:\d+)?: (fatal )?error: (?P<what>.*)$", re.MULTILINE)
_DTLIB_ERROR = re.compile(
    r"^(?P<where>.+?:\d+) \(column \d+\): (parse error: )?(?P<what>.*)$", re.DOTALL
)
_TIMEOUT_S = 30


def read_tree(path: Path, include: Sequence[Path] = ()) -> Tree:
    """The tree in a `.dtb` or `.dts` file; `include` is where `#include` looks too.

    Raises ManifestErrors with one Problem for a file that is missing or cannot be parsed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _failed(path, error.strerror or str(error)) from None
    if path.suffix != ".dts":
        try:
            return parse_dtb(data)
        except DecodeError as error:
            raise _failed(path, str(error)) from None
    return _read_source(path, data, include)


def _read_source(path: Path, data: bytes, include: Sequence[Path]) -> Tree:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _failed(path, f"byte {error.start:#x} is not UTF-8") from None
    if not _DIRECTIVE.search(text):
        return _parse(path, path, include)
    with tempfile.TemporaryDirectory() as folder:
        expanded = Path(folder, path.name)
        expanded.write_bytes(_preprocess(path, include))
        return _parse(expanded, path, (path.parent, *include))


def _preprocess(path: Path, include: Sequence[Path]) -> bytes:
    command = next((found for found in _PREPROCESSORS if shutil.which(found[0])), None)
    if command is None:
        raise _failed(
            path, "it needs the C preprocessor: install cpp, gcc or clang, or give a .dtb"
        )
    folders = (part for folder in (path.parent, *include) for part in ("-I", str(folder)))
    result = subprocess.run(  # noqa: S603 (no shell; the source is the user's)
        [str(shutil.which(command[0])), *command[1:], *_CPP_FLAGS, *folders, str(path)],
        capture_output=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if result.returncode:
        errors = result.stderr.decode(errors="replace")
        problems = [
            Problem(match["where"], "", "", match["what"]) for match in _CPP_ERROR.finditer(errors)
        ]
        raise ManifestErrors(problems or [Problem(str(path), "", "", errors.strip())])
    return result.stdout


def _parse(path: Path, shown: Path, include: Sequence[Path]) -> Tree:
    try:
        from devicetree import dtlib  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError:
        raise _failed(shown, INSTALL_HINT) from None
    try:
        source = dtlib.DT(str(path), [str(folder) for folder in include])
    except (dtlib.DTError, OSError) as error:
        text = str(error).replace(str(path), str(shown))
        match = _DTLIB_ERROR.match(text)
        if match is None:
            raise _failed(shown, text) from None
        raise ManifestErrors([Problem(match["where"], "", "", match["what"])]) from None
    return Tree(
        _node(source.root, ""), [(address, size) for _, address, size in source.memreserves]
    )


def _node(source: Any, name: str) -> Node:
    props = {prop.name: prop.value for prop in source.props.values()}
    return Node(name, props, [_node(child, child.name) for child in source.nodes.values()])


def _failed(path: Path, message: str) -> ManifestErrors:
    return ManifestErrors([Problem(str(path), "", "", message)])
