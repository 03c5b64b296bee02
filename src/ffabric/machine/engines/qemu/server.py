"""A guest in QEMU that serves: nobody waits for it unless a vCPU of it executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.machine.engines.qemu.engine import QemuGuest
from ffabric.machine.engines.qemu.runner import QemuRunner

if TYPE_CHECKING:
    from ffabric.machine.context import PE, Context, Trap


class QemuServer(QemuGuest):
    """A guest whose vCPUs execute when they are called, and wait without an end."""

    patience = (1 << 64) - 1

    def watch_while_executing(self) -> None:
        """Be waited for as long as a vCPU executes."""
        executing = any(runner.outside for runner in self.runners)
        turn = self.outside.expect_work if executing else self.outside.expect_none
        for end in (self.process.bell, self.process.console):
            turn(end.fileno())


class ServingRunner(QemuRunner):
    """One vCPU of it."""

    _guest: QemuServer

    def run(self, ctx: Context, trap: Trap) -> None:
        """See `Runner.run`."""
        super().run(ctx, trap)
        self._guest.watch_while_executing()

    def _share(self, pe: PE) -> None:
        """It has no time slices: the PE is the normal world's, to take back with an interrupt."""

    def look(self) -> bool:
        """See `Source.look`."""
        found = super().look()
        if found:
            self._guest.watch_while_executing()
        return found
