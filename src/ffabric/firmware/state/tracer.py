"""Who listens to the firmware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.firmware.state.rules import Refused
    from ffabric.machine.context import Context
    from ffabric.machine.machine import PE


class Tracer(Protocol):
    """Who listens to the firmware. Without one nothing is recorded and nothing is spent."""

    def call(self, pe: PE, ctx: ExecutionContext, x: list[int]) -> None:
        """``ctx`` makes the call in its registers."""

    def refused(self, pe: PE, ctx: ExecutionContext, refusal: Refused) -> None:
        """A rule refused the call of ``ctx``."""

    def resume(self, pe: PE, ctx: Context) -> None:
        """``ctx`` runs next, with the registers it holds."""

    def event(self, pe: PE | None, kind: str, **fields: Any) -> None:
        """Anything else worth a line: a world switch, an abort, an interrupt, a page range."""
