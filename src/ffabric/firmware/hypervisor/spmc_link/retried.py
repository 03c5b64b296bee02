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
from ffabric.abi.ffa.framework import VM_CREATED_ACK, VM_DESTROYED_ACK
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32
from ffabric.firmware.hypervisor import notifications
from ffabric.firmware.hypervisor.spmc_link import memory, relay, sequences, unfinished

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Steps
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE

RECLAIM_AFTER = 100_000
"""Nanoseconds between an SP's run and the first attempts to reclaim orphaned regions."""
RECLAIMS = 16
"""Attempts at a time."""
_FINAL = (Status.ABORTED, Status.DENIED, Status.NOT_SUPPORTED)
"""Answers to a framework message after which there is no use in sending it again."""


def sp_has_run(hypervisor: Hypervisor, pe: PE) -> None:
    """An SP has run on ``pe``: see what is possible now."""
    retried = hypervisor.retried
    if (retried.messages or retried.receivers) and not retried.is_due:
        retried.is_due = True
        sequences.defer(hypervisor, partial(_try_again, hypervisor), pe)
    if retried.orphans:
        retried.untried = len(retried.orphans)
        _set_timer(hypervisor)


def _try_again(hypervisor: Hypervisor, pe: PE) -> Steps:
    hypervisor.retried.is_due = False
    hypervisor.cpus[pe.index].retrying = True
    yield from send_announcements(hypervisor, pe)
    yield from notifications.retry(hypervisor, pe)


# Framework messages.


def announce(hypervisor: Hypervisor, sp: int, message: int, vm: int) -> None:
    """``sp`` is to be told that ``vm`` was created or destroyed."""
    hypervisor.retried.messages.setdefault(sp, deque()).append((message, vm))


def send_announcements(hypervisor: Hypervisor, pe: PE) -> Steps:
    """Send every SP that can take them its messages."""
    retried = hypervisor.retried
    for sp in [*retried.messages]:
        while _may_announce(hypervisor, sp):
            message, vm = retried.messages[sp][0]
            request = [fid.FFA_MSG_SEND_DIRECT_REQ_32, sp, FRAMEWORK_MESSAGE | message, 0, 0, vm]
            retried.announcing.add(sp)
            answer = yield from relay.uninterrupted(hypervisor, pe, request)
            retried.announcing.discard(sp)
            function = answer[0] & MASK32
            if function == fid.FFA_ERROR and from_register(answer[2]) not in _FINAL:
                break
            _note(hypervisor, sp, vm, answer)
            retried.messages[sp].popleft()
            if not retried.messages[sp]:
                del retried.messages[sp]
            if function == fid.FFA_YIELD:
                unfinished.finish_later(hypervisor, pe, answer)


def _note(hypervisor: Hypervisor, sp: int, vm: int, answer: list[int]) -> None:
    """Keep whether ``sp`` has declined to have ``vm`` as a client; nothing of one that is gone."""
    acknowledged = answer[2] & MASK32
    if acknowledged == FRAMEWORK_MESSAGE | VM_CREATED_ACK:
        if from_register(answer[3]) is Status.DENIED:
            hypervisor.declined.add((sp, vm))
    elif acknowledged == FRAMEWORK_MESSAGE | VM_DESTROYED_ACK:
        hypervisor.declined.discard((sp, vm))


def _may_announce(hypervisor: Hypervisor, sp: int) -> bool:
    retried = hypervisor.retried
    if sp not in retried.messages or sp in retried.announcing:
        return False
    return not unfinished.is_occupied(hypervisor, sp)


# Memory of dead VMs.


def _set_timer(hypervisor: Hypervisor) -> None:
    if not hypervisor.retried.timer_is_set:
        hypervisor.retried.timer_is_set = True
        machine = hypervisor.machine
        fire = partial(machine.post, partial(_on_timer, hypervisor))
        machine.clock.at(machine.clock.now + RECLAIM_AFTER, fire)


def _on_timer(hypervisor: Hypervisor) -> None:
    hypervisor.retried.timer_is_set = False
    sequences.run_deferred(hypervisor, partial(_reclaim_some, hypervisor))


def _reclaim_some(hypervisor: Hypervisor, pe: PE) -> Steps:
    """Try those first that have waited longest."""
    retried = hypervisor.retried
    hypervisor.cpus[pe.index].retrying = True
    for _ in range(RECLAIMS):
        retried.untried = min(retried.untried, len(retried.orphans))  # another PE may try, too
        if not retried.untried:
            break
        retried.untried -= 1
        yield from reclaim(hypervisor, retried.orphans.popleft())
    if retried.untried:
        _set_timer(hypervisor)


def reclaim(hypervisor: Hypervisor, region: Region) -> Steps:
    """Ask the SPMC for an orphaned region: its frames are free, or it is tried again later.

    A device's registers are no frames, and are not cleared.
    """
    answer = yield memory.reclaim_call(region, 0 if region.device else mem.FLAG_CLEAR)
    if answer[0] & MASK32 == fid.FFA_SUCCESS_32:
        for _, pa, pages, _ in () if region.device else region.runs:
            hypervisor.frames.release(pa, pages)
    elif not memory.was_donated(region, answer):
        hypervisor.retried.orphans.append(region)
