"""``ffabric explain``: what registers or log lines mean."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, TextIO

from ffabric.abi.ffa.version import LATEST, VERSIONS, format_version, parse
from ffabric.abi.words import MASK64
from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.observe import explain as explaining
from ffabric.system.files.reading import LOG_LINE, read_lines
from ffabric.system.options.visible import visible

_FAILED = 1


def explain(*what: Annotated[str, Option(hyphens=True)], ffa: str = format_version(LATEST)) -> int:
    """Say what registers (x0 x1 ...) or a log line mean; without arguments, read lines from stdin.

    Understands log lines of Linux, OP-TEE, Hafnium, TF-A, Xen, U-Boot and EDK2, and registers in
    any line. Exit status 1 if nothing was understood.

    Parameters
    ----------
    what
        Registers, or a line of a log.
    ffa
        The FF-A version by which registers are laid out.
    """
    version = _version(ffa)
    unknown = next((word for word in what if word.startswith("--")), None)
    if unknown is not None:
        raise UsageError(f"explain: unknown option {unknown}")
    if what:
        values = _registers(what)
        if values:
            explained = explaining.registers(values, version)
        else:
            explained = explaining.line(" ".join(what), version)
        _say(explained)
        understood = bool(explained)
    else:
        with _text() as lines:
            understood = _log(read_lines(lines, "standard input", LOG_LINE), version)
    if not understood:
        print("ffabric: nothing in it is known: no registers, no known message", file=sys.stderr)
    return 0 if understood else _FAILED


@contextmanager
def _text() -> Iterator[TextIO]:
    """Standard input; bytes that its encoding lacks are escapes."""
    if not isinstance(sys.stdin, io.TextIOWrapper):
        yield sys.stdin
        return
    from ffabric.cli.standard_input import standard_input  # noqa: PLC0415 - few need it

    with (
        standard_input() as data,
        io.TextIOWrapper(data, sys.stdin.encoding, errors="backslashreplace") as lines,
    ):
        yield lines


def _log(texts: Iterable[str], version: int) -> bool:
    """Explain the lines of a log; whether there was anything to explain."""
    if sys.stdin.isatty():
        print("Paste lines of a log; Ctrl-D ends it.", file=sys.stderr)
    understood = False
    for text, explained in explaining.lines(texts, version):
        understood = True
        _say([f"> {text}", *explained])
    return understood


def _say(lines: Iterable[str]) -> None:
    """Print lines, some of which somebody else has written."""
    for each in lines:
        print(visible(each))


def _version(text: str) -> int:
    known = ", ".join(format_version(version) for version in VERSIONS)
    try:
        version = parse(text)
    except ValueError:
        version = 0
    if version not in VERSIONS:
        raise UsageError(f"--ffa: {text!r} is none of {known}")
    return version


def _registers(what: tuple[str, ...]) -> list[int]:
    """The words as register values; none if they are of a log.

    Without 0x in front the first is: people also paste ``84000060 0 fffffffe``.
    """
    if not what[0].lower().startswith(("0x", "-")):
        return []
    try:
        return [_number(word) for word in what]
    except ValueError:
        return []


def _number(word: str) -> int:
    value = int(word.rstrip(","), 0)
    if not -(1 << 63) <= value < 1 << 64:
        raise UsageError(f"{word} does not fit a 64-bit register")
    return value & MASK64
