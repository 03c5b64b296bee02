"""What a QEMU keeps of stage-2 tables and of memory, and how that is taken from it.

Its CPUs keep translations. Those that execute are made to drop them before anybody goes on with a
page that was taken away: one of them is rung for and does it for all, or has made an exit by then.
A CPU that waits for the answer to an exit drops them when it enters the guest again, which costs
nothing now.

It also keeps the code that it has translated, and drops that only for stores of its own. Of a page
that is taken away it is made to drop it before any CPU enters the guest again (`confined.inc`), so
that nothing is left of it when the page comes back with other contents. While a page is shared, its
owner keeps what it has translated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ffabric.abi.words import PAGE
from ffabric.machine.translation.descriptors import VALID, XN_MASK
from ffabric.machine.translation.stage2 import Run

if TYPE_CHECKING:
    from ffabric.machine.engines.qemu.process import QemuProcess


class Cpus(Protocol):
    """The CPUs that have translations; see `ffabric.machine.engines.qemu.engine.QemuGuest`."""

    @property
    def process(self) -> QemuProcess:
        """The QEMU."""

    @property
    def ended(self) -> str:
        """Why it is not there any more; empty while it is."""

    def executing(self) -> list[int]:
        """The CPUs that may be executing the guest."""

    def wait_until(self, is_done: Callable[[], bool], what: str) -> None:
        """Wait for something that the shim does at once; QEMU is ended if it does not."""


class Tlb:
    """That of all CPUs of ``guest``; `changed` watches its tables."""

    def __init__(self, guest: Cpus) -> None:
        self._guest = guest
        self.code: list[tuple[int, int]] = []
        """Of which it has to drop its translation before a CPU enters it: address and bytes."""

    def changed(self, before: list[Run]) -> None:
        """What was as ``before`` is something else now."""
        guest = self._guest
        if guest.process.pid is None or guest.ended:
            return
        self._invalidate()
        self.code += [
            (pa, pages * PAGE)
            for _, pa, pages, attributes in before
            if attributes & VALID and not attributes & XN_MASK
        ]

    def _invalidate(self) -> None:
        guest = self._guest
        mailbox = guest.process.mailbox
        wanted = mailbox.count_flush()
        rung = -1

        def is_done() -> bool:
            nonlocal rung
            executing = guest.executing()
            if not executing or mailbox.flushed == wanted:
                return True
            if rung not in executing:
                rung = executing[0]
                guest.process.wake(rung)
            return False

        guest.wait_until(is_done, "dropped a translation")

    def entering(self) -> bool:
        """A CPU is about to enter the guest; True if `entered` has to be called when it has."""
        if not self.code:
            return False
        touch = self._guest.process.mailbox.touch
        while self.code and touch(*self.code[-1]):
            self.code.pop()
        return bool(self.code)

    def entered(self) -> None:
        """There was more than could be said at once: say the rest while a CPU listens."""
        guest = self._guest

        def is_done() -> bool:
            if self.entering():
                for cpu in guest.executing()[:1]:
                    guest.process.wake(cpu)
            return not self.code

        guest.wait_until(is_done, "dropped translated code")
