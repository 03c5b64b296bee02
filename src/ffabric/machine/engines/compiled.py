"""Modules in C that do what modules in Python do: used if made from the source that is here.

Such a module has `SOURCE`: x and the first digits of the SHA-256 of its source.
"""

from __future__ import annotations

import importlib
import os

VARIABLE = "FFABRIC_INNER_LOOP"
"""The environment variable that chooses: ``python``, or ``c``, which fails if there is none."""


class InnerLoopError(OSError):
    """The environment asks for what is not there; the message is a line."""


def why_not(module: str, source: str) -> str:
    """Why the compiled ``module`` is not used; empty if it is. Raises InnerLoopError."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "python":
        return f"{VARIABLE} says so"
    if wanted not in {"", "c"}:
        raise InnerLoopError(f"{VARIABLE} is {wanted!r}, neither 'c' nor 'python'")
    why = ""
    try:
        found = importlib.import_module(module).SOURCE
    except ModuleNotFoundError:
        why = "no compiled one is installed"
    except ImportError as error:
        why = f"the compiled one does not load: {error}"
    else:
        if found != source:
            why = "the compiled one is of another version"
    if why and wanted:
        raise InnerLoopError(f"{VARIABLE} is 'c', but {why}")
    return why
