"""Which calls the hypervisor answers to its VMs (the non-secure virtual instance)."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
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
from ffabric.firmware.manager.manager import CallTable
from ffabric.firmware.manager.memory import fragments, giveback, retrieve, send

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
    without=frozenset(
        {fid.FFA_NOTIFICATION_BITMAP_CREATE, fid.FFA_NOTIFICATION_BITMAP_DESTROY}
        | {fid.FFA_NOTIFICATION_INFO_GET_32, fid.FFA_NOTIFICATION_INFO_GET_64}
    ),
)
