"""A trace that somebody reads while it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from ffabric.observe.trace import Trace

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.firmware.state.rules import Refused
    from ffabric.machine.context import Context
    from ffabric.machine.machine import PE
    from ffabric.system.system import System


class LiveTrace(Trace):
    """A `Trace` that hands each line to ``reader`` as soon as it is recorded, the header first.

    Without a ``sink`` nothing is kept.
    """

    def __init__(
        self, system: System, reader: Callable[[dict[str, Any]], None], sink: IO[bytes] | None
    ) -> None:
        super().__init__(system, sink)
        self._reader = reader
        self._keeps = sink is not None
        self._read = 0
        reader(self.header())

    def call(self, pe: PE, ctx: ExecutionContext, x: list[int]) -> None:
        """``ctx`` makes the call in its registers."""
        super().call(pe, ctx, x)
        self._tell()

    def resume(self, pe: PE, ctx: Context) -> None:
        """``ctx`` runs next, with the registers it holds."""
        super().resume(pe, ctx)
        self._tell()

    def refused(self, pe: PE, ctx: ExecutionContext, refusal: Refused) -> None:
        """A rule refused the call of ``ctx``."""
        super().refused(pe, ctx, refusal)
        self._tell()

    def event(self, pe: PE | None, kind: str, **fields: Any) -> None:
        """Anything else."""
        super().event(pe, kind, **fields)
        self._tell()

    def flush(self) -> None:
        """Write the records so far."""
        self._tell()
        super().flush()
        self._read = 0

    def _tell(self) -> None:
        for line in self.lines(self.records[self._read :]):
            self._reader(line)
        if self._keeps:
            self._read = len(self.records)
        else:
            self.records.clear()
