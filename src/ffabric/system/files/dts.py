"""Devicetree source: `.dts` text -> the same `Tree` as a blob, or every mistake as a Problem.

The parser is the `devicetree` package (extra `dts`), imported when a source is first read. A source
that uses the C preprocessor, as the manifests of platforms often do, goes through `cpp` first, the
way their build systems do it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ffabric.abi.errors import DecodeError
from ffabric.system.files.dtb import Node, Tree, parse_dtb
from ffabric.system.files.reading import BLOB, DESCRIPTION, read_bytes
from ffabric.system.options.problems import ManifestErrors, Problem

INSTALL_HINT = "reading .dts needs the devicetree package: pip install 'ffabric[dts]'"

SOURCES = (".dts", ".dtsi")
"""Suffixes of devicetrees as text."""
_DTLIB_ERROR = re.compile(
    r"^(?P<where>.+?:\d+) \(column \d+\): (parse error: )?(?P<what>.*)$", re.DOTALL
)


def read_tree(path: Path, include: Sequence[Path] = ()) -> Tree:
    """The tree in a `.dtb`, `.dts` or `.dtsi` file; `include` is where `#include` looks too.

    Raises ManifestErrors with one Problem for a file that is missing or cannot be parsed.
    """
    source = path.suffix in SOURCES
    try:
        data = read_bytes(path, DESCRIPTION if source else BLOB)
    except OSError as error:
        raise _failed(path, error.strerror or str(error)) from None
    if not source:
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
    from ffabric.system.files.preprocess import DIRECTIVE, preprocess  # noqa: PLC0415 - processes

    if not DIRECTIVE.search(text):
        return _parse(path, path, include)
    import tempfile  # noqa: PLC0415 - with nearly all sources nobody needs it

    with tempfile.TemporaryDirectory() as folder:
        expanded = Path(folder, path.name)
        expanded.write_bytes(preprocess(path, include))
        return _parse(expanded, path, (path.parent, *include))


def _parse(path: Path, shown: Path, include: Sequence[Path]) -> Tree:
    try:
        from ffabric.system.files.source import Source  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError:
        raise _failed(shown, INSTALL_HINT) from None
    try:
        source = Source(str(path), [str(folder) for folder in include])
    except RecursionError:
        raise _failed(shown, "nested too deep") from None
    except Exception as error:  # noqa: BLE001 (another's parser, and a source of anybody's)
        text = " ".join(str(error).replace(str(path), str(shown)).splitlines())
        match = _DTLIB_ERROR.match(text)
        if match is None:
            raise _failed(shown, f"not a devicetree: {text}") from None
        raise ManifestErrors([Problem(match["where"], "", "", match["what"])]) from None
    return Tree(
        _node(source.root, ""), [(address, size) for _, address, size in source.memreserves]
    )


def _node(source: Any, name: str) -> Node:
    props = {prop.name: prop.value for prop in source.props.values()}
    return Node(name, props, [_node(child, child.name) for child in source.nodes.values()])


def _failed(path: Path, message: str) -> ManifestErrors:
    return ManifestErrors([Problem(str(path), "", "", message)])
