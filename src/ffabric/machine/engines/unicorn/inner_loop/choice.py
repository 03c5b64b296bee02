"""Which inner loop there is: the compiled one, if it was made from the source that is here."""

from __future__ import annotations

import importlib
import os

SOURCE = "xcf7ca4315729b3d3"
"""x and the first digits of the SHA-256 of ``loop.c``: what was made from another is not used."""
VARIABLE = "FFABRIC_INNER_LOOP"
"""The environment variable that chooses: ``python``, or ``c``, which fails if there is none."""
_MODULE = f"{__package__}._loop"


class InnerLoopError(OSError):
    """The environment asks for an inner loop that is not there; the message is a line."""


def is_compiled() -> bool:
    """Whether the compiled one is used. Raises InnerLoopError."""
    return not _why_not()


def said() -> str:
    """Which one is used, and why, in a line. Raises InnerLoopError."""
    why = _why_not()
    return f"in Python ({why})" if why else "in C"


def _why_not() -> str:
    """Why the compiled one is not used; empty if it is."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "python":
        return f"{VARIABLE} says so"
    if wanted not in {"", "c"}:
        raise InnerLoopError(f"{VARIABLE} is {wanted!r}, neither 'c' nor 'python'")
    why = ""
    try:
        source = importlib.import_module(_MODULE).SOURCE
    except ModuleNotFoundError:
        why = "no compiled one is installed"
    except ImportError as error:
        why = f"the compiled one does not load: {error}"
    else:
        if source != SOURCE:
            why = "the compiled one is of another version"
    if why and wanted:
        raise InnerLoopError(f"{VARIABLE} is 'c', but {why}")
    return why
