"""Which rule refused the call of whom: a tracer that keeps the last refusal of every context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffabric.firmware.state.rules import show

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.firmware.state.rules import Refused
    from ffabric.firmware.state.tracer import Tracer
    from ffabric.machine.context import Context
    from ffabric.machine.machine import PE


class Refusals:
    """Listens to the firmware; ``inner`` listens to the same (None: nobody)."""

    def __init__(self, inner: Tracer | None = None) -> None:
        self.inner = inner
        self.caller: ExecutionContext | None = None
        """Whose call is being made: what a partition manager is refused on its behalf is its."""
        self._last: dict[ExecutionContext, Refused] = {}

    def begin(self, ctx: ExecutionContext) -> None:
        """``ctx`` makes a call: what was refused before is no answer to it."""
        self.caller = ctx
        self._last.pop(ctx, None)

    def take(self, ctx: ExecutionContext) -> dict[str, str] | None:
        """The refusal of the last call of ``ctx``, None if there was none."""
        refusal = self._last.pop(ctx, None)
        if refusal is None:
            return None
        rule = refusal.rule
        return {
            "rule": rule.id,
            "section": rule.section,
            "status": rule.status.name,
            "text": rule.text,
            "got": show(refusal.got),
            "expected": show(refusal.expected),
        }

    def call(self, pe: PE, ctx: ExecutionContext, x: list[int]) -> None:
        """``ctx`` makes the call in its registers."""
        if self.inner is not None:
            self.inner.call(pe, ctx, x)

    def refused(self, pe: PE, ctx: ExecutionContext, refusal: Refused) -> None:
        """A rule refused the call of ``ctx``."""
        if self.inner is not None:
            self.inner.refused(pe, ctx, refusal)
        if ctx.gate is None:
            self._last[ctx] = refusal
        elif self.caller is not None and self.caller.pe is pe:
            self._last[self.caller] = refusal

    def resume(self, pe: PE, ctx: Context) -> None:
        """``ctx`` runs next."""
        if self.inner is not None:
            self.inner.resume(pe, ctx)

    def event(self, pe: PE | None, kind: str, **fields: Any) -> None:
        """Anything else."""
        if self.inner is not None:
            self.inner.event(pe, kind, **fields)
