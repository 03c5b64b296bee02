"""Which rule refused the call of whom: a tracer that keeps the last refusal of every context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.firmware.state.events import Refuse

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.events import Event, Tracer
    from ffabric.system.system import System

_SAID = ("rule", "section", "status", "text", "got", "expected")


class Refusals:
    """Listens to ``system``; ``inner`` listens to the same (None: nobody)."""

    def __init__(self, system: System, inner: Tracer | None = None) -> None:
        self.inner = inner
        self.caller: ExecutionContext | None = None
        """Whose call is being made: what a partition manager is refused on its behalf is its."""
        self._endpoints = system.endpoints
        self._last: dict[str, Refuse] = {}

    def begin(self, ctx: ExecutionContext) -> None:
        """``ctx`` makes a call: what was refused before is no answer to it."""
        self.caller = ctx
        self._last.pop(ctx.name, None)

    def take(self, ctx: ExecutionContext) -> dict[str, str] | None:
        """The refusal of the last call of ``ctx``, None if there was none."""
        refusal = self._last.pop(ctx.name, None)
        return None if refusal is None else {name: getattr(refusal, name) for name in _SAID}

    def record(self, event: Event) -> None:
        """Keep ``event`` if it is a refusal."""
        if self.inner is not None:
            self.inner.record(event)
        if isinstance(event, Refuse):
            name = self._whose(event)
            if name:
                self._last[name] = event

    def _whose(self, refusal: Refuse) -> str:
        """The name of the context whose call was refused; none for what nobody here asked for."""
        if refusal.endpoint in self._endpoints:
            return f"{refusal.endpoint}.{refusal.vcpu}"
        caller = self.caller
        here = caller is not None and caller.pe is not None and caller.pe.index == refusal.pe
        return caller.name if caller is not None and here else ""
