"""Which inner loop there is: the compiled one, if it was made from the source that is here."""

from __future__ import annotations

from ffabric.machine.engines import compiled

SOURCE = "xcf7ca4315729b3d3"
"""x and the first digits of the SHA-256 of ``loop.c``: what was made from another is not used."""
_MODULE = f"{__package__}._loop"


def is_compiled() -> bool:
    """Whether the compiled one is used. Raises InnerLoopError."""
    return not compiled.why_not(_MODULE, SOURCE)


def said() -> str:
    """Which one is used, and why, in a line. Raises InnerLoopError."""
    why = compiled.why_not(_MODULE, SOURCE)
    return f"in Python ({why})" if why else "in C"
