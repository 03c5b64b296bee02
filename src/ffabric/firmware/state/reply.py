"""The ordinary replies, written into the caller's registers.

A reply sets x0 to x7 and leaves x8 to x17 to the caller: they are preserved unless the call is one
of the extended ones that return values there (SMCCC 1.2; DEN0077A 1.2, section 11.2).
"""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32

NOT_SUPPORTED = (fid.FFA_ERROR, 0, Status.NOT_SUPPORTED & MASK32, 0, 0, 0, 0, 0)


_SUCCESS_32 = fid.FFA_SUCCESS_32


SUCCESS = (_SUCCESS_32, 0, 0, 0, 0, 0, 0, 0)
"""x0 to x7 of an FFA_SUCCESS (32-bit) without results."""


def success(x: list[int], w2: int = 0, w3: int = 0, w4: int = 0) -> None:
    """FFA_SUCCESS (32-bit) with up to three results."""
    x[0:8] = (_SUCCESS_32, 0, w2, w3, w4, 0, 0, 0)


def success64(x: list[int], x2: int = 0, x3: int = 0, x4: int = 0) -> None:
    """FFA_SUCCESS (64-bit) with up to three results."""
    x[0:8] = (fid.FFA_SUCCESS_64, 0, x2, x3, x4, 0, 0, 0)


def error(x: list[int], status: int) -> None:
    """FFA_ERROR with ``status`` in w2."""
    x[0:8] = (fid.FFA_ERROR, 0, status & MASK32, 0, 0, 0, 0, 0)


def no_version(x: list[int]) -> None:
    """The answer to every FFA_VERSION that is refused: NOT_SUPPORTED in w0, without FFA_ERROR."""
    x[0:8] = (Status.NOT_SUPPORTED & MASK32, 0, 0, 0, 0, 0, 0, 0)


def interrupt(x: list[int], w1: int = 0, w2: int = 0) -> None:
    """FFA_INTERRUPT: ``w1`` is the endpoint and vCPU that was interrupted, ``w2`` the INTID."""
    x[0:8] = (fid.FFA_INTERRUPT, w1, w2, 0, 0, 0, 0, 0)
