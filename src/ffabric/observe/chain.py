"""Who runs on whose account: the call chain of each PE, from the lines of a trace.

A context that makes a direct request or FFA_RUN lends its cycles: whoever is resumed next on that
PE stands one level deeper, until the lender is resumed. Any other change of context (FFA_MSG_WAIT,
a scheduler's choice) begins a new chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32

_LENDS = fid.DIRECT_REQUESTS | {fid.FFA_RUN}
_ANSWERS = (
    fid.DIRECT_REQUESTS
    | fid.DIRECT_RESPONSES
    | {fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64, fid.FFA_ERROR, fid.FFA_INTERRUPT}
    | {fid.FFA_RUN, fid.FFA_MSG_WAIT, fid.FFA_YIELD, fid.FFA_NORMAL_WORLD_RESUME}
    | {fid.FFA_MEM_RETRIEVE_RESP, fid.FFA_MEM_FRAG_RX, fid.FFA_MEM_FRAG_TX}
)


def is_answer(x: Sequence[int]) -> bool:
    """Whether registers can be what a context is resumed with.

    A partition driven from outside is resumed with its next call already in its registers.
    """
    function = x[0] & MASK32
    if fid.is_ffa(function):
        return function in _ANSWERS
    return function not in psci.FUNCTIONS and function not in hafnium.FUNCTIONS


class Chains:
    """The call chains of all PEs."""

    def __init__(self) -> None:
        self._chains: dict[int, list[str]] = {}
        self._lent: dict[int, bool] = {}

    def call(self, line: dict[str, Any], function: int) -> int:
        """The depth of the context that makes the call ``function``."""
        depth = self._on_top(line, lent=False)
        self._lent[line["pe"]] = function in _LENDS
        return depth

    def resume(self, line: dict[str, Any]) -> int:
        """The depth of the context that is resumed."""
        return self._on_top(line, lent=self._lent.pop(line["pe"], False))

    def _on_top(self, line: dict[str, Any], *, lent: bool) -> int:
        name = f"{line['endpoint']}.{line['vcpu']}"
        chain = self._chains.setdefault(line["pe"], [])
        if name in chain:
            del chain[chain.index(name) + 1 :]
        elif lent:
            chain.append(name)
        else:
            chain[:] = [name]
        return len(chain) - 1
