"""The parser of devicetree source, within bounds.

dtlib takes its sources to be a developer's own: it reads whatever an include names, computes with
numbers of any size and takes quadratic time over long lists. Sources come from others, too, so
here files are regular and small, there are so many tokens and levels, and numbers have 64 bits as
those of dtc have.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from devicetree import dtlib

from ffabric.system.files.dtb import MAX_DEPTH
from ffabric.system.files.reading import DESCRIPTION, read_bytes, size_text

TOKENS = 1 << 15
"""The most tokens of a source, those of what it includes counted."""

FILES = 256
"""The most files that a source includes, one that is included twice counted twice."""
LABELS = 1 << 11
"""The most labels and references to them, which are searched one by one."""

_LABELS = (dtlib._T.LABEL, dtlib._T.REF)
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
_BITS = 64


class _Text(io.StringIO):
    name = ""


class Source(dtlib.DT):  # type: ignore[misc] # dtlib has no types
    """A source, parsed. Raises dtlib.DTError for what is wrong with it, and RecursionError."""

    def __init__(self, filename: str, include: Sequence[str]) -> None:
        self._tokens = self._labels = self._files = self._bytes = self._depth = 0
        super().__init__(filename, include)

    def _wrong(self, message: str) -> NoReturn:
        self._parse_error(message)
        raise AssertionError

    def _next_token(self) -> Any:
        if self._saved_token is not None:
            return super()._next_token()
        token = super()._next_token()
        self._tokens += 1
        if self._tokens > TOKENS:
            self._wrong(f"more than {TOKENS} tokens")
        self._labels += token.id in _LABELS
        if self._labels > LABELS:
            self._wrong(f"more than {LABELS} labels and references")
        return token

    def _parse_node(self, node: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._wrong(f"nested deeper than {MAX_DEPTH} nodes")
        parsed = super()._parse_node(node)
        self._depth -= 1
        return parsed

    def _open(self, filename: str, mode: str = "r", **_: Any) -> io.BytesIO | io.StringIO:
        """What /include/ and /incbin/ read, which counts together."""
        for folder in (os.path.dirname(self.filename), *self._include_path):
            path = os.path.join(folder, filename)
            try:
                data = read_bytes(path, DESCRIPTION)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._wrong(f"{path}: {error.strerror}")
            self._files += 1
            self._bytes += len(data)
            if self._files > FILES or self._bytes > DESCRIPTION:
                self._wrong(f"more than {FILES} files or {size_text(DESCRIPTION)} are included")
            return io.BytesIO(data) if "b" in mode else self._text(path, data)
        self._wrong(f"'{filename}' could not be found")

    def _text(self, path: str, data: bytes) -> _Text:
        try:
            text = _Text(data.decode())
        except UnicodeDecodeError as error:
            self._wrong(f"{path}: byte {error.start:#x} is not UTF-8")
        text.name = path
        return text

    def _eval_prim(self) -> int:
        value: int = super()._eval_prim()
        if not _LEAST <= value <= _MOST:
            self._wrong(f"a number of more than {_BITS} bits")
        return value

    def _eval_shift(self) -> int:
        value: int = self._eval_add()
        while True:
            if self._check_token("<<"):
                value <<= self._distance()
            elif self._check_token(">>"):
                value >>= self._distance()
            else:
                return value

    def _distance(self) -> int:
        bits: int = self._eval_add()
        if not 0 <= bits < _BITS:
            self._wrong(f"a shift by {'less than 0' if bits < 0 else f'{_BITS} or more'} bits")
        return bits
