"""``ffabric explain``: what registers or log lines mean."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from ffabric.abi.ffa.version import format_version, parse
from ffabric.cli.errors import UsageError
from ffabric.observe import explain as explaining

_VERSION = format_version(parse("1.2"))


def explain(
    *what: Annotated[str, Parameter(allow_leading_hyphen=True)], ffa: str = _VERSION
) -> int:
    """Say what registers (x0 x1 ...) or a log line mean; without arguments, read lines from stdin.

    Understands log lines of Linux, OP-TEE, Hafnium and TF-A, and registers in any line. Exit status
    1 if nothing was understood.

    Parameters
    ----------
    what
        Registers, or a line of a log.
    ffa
        The FF-A version by which registers are laid out.
    """
    try:
        version = parse(ffa)
    except ValueError as error:
        raise UsageError(str(error)) from None
    values = _registers(what)
    if values:
        print("\n".join(explaining.registers(values, version)))
        return 0
    texts = [" ".join(what)] if what else sys.stdin
    understood = False
    for text, explained in explaining.lines(texts, version):
        understood = True
        if not what:
            print(f"> {text}")
        print("\n".join(explained))
    if not understood:
        print("ffabric: nothing in it is known: no registers, no known message", file=sys.stderr)
    return 0 if understood else 1


def _registers(what: tuple[str, ...]) -> list[int]:
    try:
        return [_number(word) for word in what]
    except ValueError:
        return []


def _number(word: str) -> int:
    value = int(word, 0)
    if not -(1 << 63) <= value < 1 << 64:
        raise UsageError(f"{word} does not fit a 64-bit register")
    return value & 0xFFFFFFFFFFFFFFFF
