"""Which calls the hypervisor answers to its VMs (the non-secure virtual instance)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.functions import Instance
from ffabric.firmware.hypervisor.spmc_link import relay, resources, sequences
from ffabric.firmware.hypervisor.vms import vcpu
from ffabric.firmware.manager.calls import COMMON
from ffabric.firmware.manager.manager import Handler
from ffabric.firmware.manager.memory import fragments, retrieve
from ffabric.firmware.manager.notifications.rules import BITMAP_VCPUS, BITMAP_VM
from ffabric.firmware.manager.setup import console, discovery, mailbox
from ffabric.firmware.state.interface.call_table import CallTable
from ffabric.firmware.state.partition import Next
from ffabric.firmware.state.rules import refuse

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE


def _filling_rx(handlers: Mapping[int, Handler[Hypervisor]]) -> dict[int, Handler[Hypervisor]]:
    """The handlers of calls that fill RX, for a VM whose RX the SPMC fills too."""

    def acquiring(handler: Handler[Hypervisor]) -> Handler[Hypervisor]:
        def call(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
            if caller.partition.id not in hypervisor.shared_mailboxes:
                return handler(hypervisor, pe, caller)
            return sequences.run(
                hypervisor, pe, caller, relay.fill_rx(hypervisor, pe, caller, handler)
            )

        return call

    return {function: acquiring(handler) for function, handler in handlers.items()}


def _discovering(handler: Handler[Hypervisor]) -> Handler[Hypervisor]:
    """A handler of discovery that asks the SPMC before ``handler`` answers."""

    def call(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
        steps = relay.discover(hypervisor, pe, caller, handler)
        return sequences.run(hypervisor, pe, caller, steps)

    return call


_RX = {
    function: handler
    for room in (retrieve.HANDLERS, fragments.HANDLERS)
    for function, handler in room.items()
    if function != fid.FFA_MEM_FRAG_TX
}


def _rx_release(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RX_RELEASE of a VM whose RX the SPMC may have filled: then it goes back to the SPMC."""
    vm = caller.partition
    if vm.id not in hypervisor.shared_mailboxes:
        return mailbox.rx_release(hypervisor, pe, caller)
    if vm.mailbox is not None and vm.mailbox.full:
        return mailbox.rx_release(hypervisor, pe, caller)
    return sequences.run(hypervisor, pe, caller, relay.release_foreign(caller))


def _bitmap(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_NOTIFICATION_BITMAP_CREATE and _DESTROY by a VM that schedules: for itself.

    For no vCPUs that it does not have: what the SPMC kept for these, nobody would ever get.
    """
    vm, (function, endpoint, vcpus) = caller.partition, caller.x[0:3]
    if endpoint != vm.id:
        refuse(BITMAP_VM, got=endpoint, expected=vm.id)
    if function == fid.FFA_NOTIFICATION_BITMAP_CREATE and vcpus > len(vm.contexts):
        refuse(BITMAP_VCPUS, got=vcpus, expected=f"1 to {len(vm.contexts)}")
    return hypervisor.peer.notification(pe, caller)


ROOMS: tuple[Mapping[int, Handler[Hypervisor]], ...] = (
    *COMMON,
    {function: _discovering(handler) for function, handler in discovery.HANDLERS.items()},
    _filling_rx(_RX),
    {fid.FFA_RX_RELEASE: _rx_release},
    resources.HANDLERS,
)
"""What all VMs may call."""
_BITMAPS = frozenset({fid.FFA_NOTIFICATION_BITMAP_CREATE, fid.FFA_NOTIFICATION_BITMAP_DESTROY})
FOR_SCHEDULER = dict.fromkeys(_BITMAPS, _bitmap)
INFO = frozenset({fid.FFA_NOTIFICATION_INFO_GET_32, fid.FFA_NOTIFICATION_INFO_GET_64})

_YIELD = {fid.FFA_YIELD: vcpu.yield_}

VM_CALLS = CallTable(
    *ROOMS, _YIELD, at=Instance.NS_VIRTUAL, without=INFO, for_older=console.FOR_OLDER
)
"""Any VM."""

SCHEDULER_CALLS = CallTable(
    *ROOMS,
    _YIELD,
    at=Instance.NS_VIRTUAL,
    for_older=console.FOR_OLDER,
    always=FOR_SCHEDULER,
)
"""The VM that is the primary scheduler (manifest: has-primary-scheduler): it gets the SRI."""
