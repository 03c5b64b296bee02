"""Which calls the hypervisor answers to its VMs (the non-secure virtual instance)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.hypervisor import relay
from ffabric.firmware.manager import (
    console,
    direct,
    discovery,
    execution,
    features,
    indirect,
    mailbox,
    notifications,
    version,
)
from ffabric.firmware.manager.manager import CallTable, Handler, Next
from ffabric.firmware.manager.memory import fragments, giveback, retrieve, send

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.manager.partition import ExecutionContext
    from ffabric.machine.machine import PE


def _filling_rx(handlers: dict[int, Handler]) -> dict[int, Handler]:
    """The same handlers, for a VM whose RX the SPMC fills too."""

    def acquiring(handler: Handler) -> Handler:
        def call(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
            if caller.partition.id not in hypervisor.shared_mailboxes:
                return handler(hypervisor, pe, caller)
            return hypervisor.script(pe, caller, relay.fill_rx(hypervisor, pe, caller, handler))

        return call

    return {function: acquiring(handler) for function, handler in handlers.items()}


_RX = {
    function: handler
    for room in (discovery.HANDLERS, retrieve.HANDLERS, fragments.HANDLERS)
    for function, handler in room.items()
    if function not in (fid.FFA_PARTITION_INFO_GET_REGS, fid.FFA_MEM_FRAG_TX)
}

VM_CALLS = CallTable(
    version.HANDLERS,
    features.HANDLERS,
    discovery.HANDLERS,
    mailbox.HANDLERS,
    direct.HANDLERS,
    indirect.HANDLERS,
    execution.HANDLERS,
    notifications.HANDLERS,
    send.HANDLERS,
    retrieve.HANDLERS,
    fragments.HANDLERS,
    giveback.HANDLERS,
    console.HANDLERS,
    _filling_rx(_RX),
    without=frozenset(
        {fid.FFA_NOTIFICATION_BITMAP_CREATE, fid.FFA_NOTIFICATION_BITMAP_DESTROY}
        | {fid.FFA_NOTIFICATION_INFO_GET_32, fid.FFA_NOTIFICATION_INFO_GET_64}
    ),
)
