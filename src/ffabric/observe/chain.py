"""Who runs on whose account: the call chain of each PE, from the lines of a trace.

A context that makes a direct request or FFA_RUN lends its cycles: whoever is resumed next on that
PE stands one level deeper, until the lender is resumed. Any other change of context (FFA_MSG_WAIT,
a scheduler's choice) begins a new chain.
"""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.machine.events import ContextEvent

_LENDS = fid.DIRECT_REQUESTS | {fid.FFA_RUN}


class Chains:
    """The call chains of all PEs."""

    def __init__(self) -> None:
        self._chains: dict[int, list[str]] = {}
        self._lent: dict[int, bool] = {}

    def call(self, event: ContextEvent, function: int) -> int:
        """The depth of the context that makes the call ``function``."""
        depth = self._on_top(event, lent=False)
        self._lent[event.pe] = function in _LENDS
        return depth

    def resume(self, event: ContextEvent) -> int:
        """The depth of the context that goes on."""
        return self._on_top(event, lent=self._lent.pop(event.pe, False))

    def _on_top(self, event: ContextEvent, *, lent: bool) -> int:
        name = f"{event.endpoint}.{event.vcpu}"
        chain = self._chains.setdefault(event.pe, [])
        if name in chain:
            del chain[chain.index(name) + 1 :]
        elif lent:
            chain.append(name)
        else:
            chain[:] = [name]
        return len(chain) - 1
