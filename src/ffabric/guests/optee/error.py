"""What goes wrong in a TEE, as TAs raise it and clients get it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ffabric.abi.optee.tee import Origin, origin_name, result_name


class TeeError(Exception):
    """An operation ended with a TEE_Result other than TEE_SUCCESS.

    A TA raises it with a `Result` or a code of its own; a client gets it with the `origin`, and
    with the parameters as the operation left them: a short buffer's size says what would do.
    """

    __module__ = "ffabric.optee"

    def __init__(
        self, result: int, origin: int = Origin.TRUSTED_APP, params: Sequence[Any] = ()
    ) -> None:
        super().__init__(f"{result_name(result)}, origin {origin_name(origin)}")
        self.result = result
        self.origin = origin
        self.params = params


class TeePanic(Exception):  # noqa: N818 - what becomes of the TA
    """A TA has done what is a programmer's error (TEE_Panic): its instance is dead."""
