"""What SPs were too busy for is tried again when one has run.

Two things are tried at once, since they may be possible now and are short: framework messages about
VMs, each SP's in their order, and cycles for SPs' contexts that have notifications. An SP that is
still busy costs one look.

The third is not urgent and may be long: memory of dead VMs that SPs have not relinquished
(*orphaned regions*), which nobody owns until the SPMC has given it back. The hypervisor does not
learn when an SP relinquishes, so it asks the SPMC to reclaim, a few regions at a time, on a timer
of its own: a call of a VM never pays for what a dead one left.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32
from ffabric.firmware.hypervisor import notifications
from ffabric.firmware.hypervisor.spmc_link import relay

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.hypervisor.spmc_link.sequences import Steps
    from ffabric.firmware.state.region import Region
    from ffabric.machine.machine import PE

RECLAIM_AFTER = 100_000
"""Nanoseconds between an SP's run and the first attempts to reclaim orphaned regions."""
RECLAIMS = 16
"""Attempts at a time."""
_FINAL = (Status.ABORTED, Status.DENIED, Status.NOT_SUPPORTED)
"""Answers to a framework message after which there is no use in sending it again."""


class Retried:
    """What is left to do, and when it is tried again."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self.messages: dict[int, deque[tuple[int, int]]] = {}
        """SP -> framework messages for it that it has not had yet: (message, VM id)."""
        self.receivers: list[int] = []
        """SPs' contexts (id << 16 | index) with notifications that were busy when the SRI came."""
        self.orphans: deque[Region] = deque()
        """Regions of dead VMs that the SPMC has not given back."""
        self._telling: set[int] = set()
        """SPs that are being sent a message right now, on some PE."""
        self._due = False
        self._untried = 0
        """How many of the orphans are still to be tried since an SP has run."""
        self._timer = False

    def mentions(self, vm: int) -> bool:
        """Whether anything is left to do for the VM id ``vm``."""
        if any(region.sender == vm for region in self.orphans):
            return True
        return any(vm == each for queue in self.messages.values() for _, each in queue)

    def sp_has_run(self, pe: PE) -> None:
        """An SP has run on ``pe``: see what is possible now."""
        if (self.messages or self.receivers) and not self._due:
            self._due = True
            self._hypervisor.defer(self._try_again, pe)
        if self.orphans:
            self._untried = len(self.orphans)
            self._set_timer()

    def _try_again(self, pe: PE) -> Steps:
        self._due = False
        self._hypervisor.cpus[pe.index].retrying = True
        yield from self.tell(pe)
        yield from notifications.retry(self._hypervisor, pe)

    # Framework messages.

    def announce(self, sp: int, message: int, vm: int) -> None:
        """``sp`` is to be told that ``vm`` was created or destroyed."""
        self.messages.setdefault(sp, deque()).append((message, vm))

    def tell(self, pe: PE) -> Steps:
        """Send every SP that can take them its messages."""
        hypervisor = self._hypervisor
        for sp in [*self.messages]:
            while (
                sp in self.messages and sp not in self._telling and not hypervisor.is_occupied(sp)
            ):
                message, vm = self.messages[sp][0]
                request = [
                    fid.FFA_MSG_SEND_DIRECT_REQ_32,
                    sp,
                    FRAMEWORK_MESSAGE | message,
                    0,
                    0,
                    vm,
                ]
                self._telling.add(sp)
                answer = yield from relay.uninterrupted(hypervisor, pe, request)
                self._telling.discard(sp)
                function = answer[0] & MASK32
                if function == fid.FFA_ERROR and from_register(answer[2]) not in _FINAL:
                    break
                self._told(sp)
                if function == fid.FFA_YIELD:
                    hypervisor.orphaned(pe, answer)

    def _may_tell(self, sp: int) -> bool:
        idle = sp not in self._telling and not self._hypervisor.is_occupied(sp)
        return idle and sp in self.messages

    def _told(self, sp: int) -> None:
        queue = self.messages[sp]
        queue.popleft()
        if not queue:
            del self.messages[sp]

    # Memory of dead VMs.

    def forget(self, handle: int) -> None:
        """The SPMC has given ``handle`` to another transaction: an SP has taken what it was."""
        if self.orphans:
            self.orphans = deque(each for each in self.orphans if each.handle != handle)

    def _set_timer(self) -> None:
        if not self._timer:
            self._timer = True
            machine = self._hypervisor.machine
            machine.clock.at(
                machine.clock.now + RECLAIM_AFTER, partial(machine.post, self._on_timer)
            )

    def _on_timer(self) -> None:
        self._timer = False
        self._hypervisor.run_deferred(self._reclaim_some)

    def _reclaim_some(self, pe: PE) -> Steps:
        """Try those first that have waited longest."""
        self._hypervisor.cpus[pe.index].retrying = True
        self._untried = min(self._untried, len(self.orphans))
        for _ in range(min(RECLAIMS, self._untried)):
            self._untried -= 1
            yield from self.reclaim(self.orphans.popleft())
        if self._untried:
            self._set_timer()

    def reclaim(self, region: Region) -> Steps:
        """Ask the SPMC for an orphaned region: its frames are free, or it is tried again later."""
        frames = self._hypervisor.frames
        answer = yield relay.reclaim_call(region, mem.FLAG_CLEAR)
        if answer[0] & MASK32 == fid.FFA_SUCCESS_32:
            for _, pa, pages, _ in region.runs:
                frames.release(pa, pages)
        elif not relay.was_donated(region, answer):
            self.orphans.append(region)
