"""Which calls the SPMC answers at which FF-A instance."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.functions import Instance
from ffabric.firmware.manager import cycles, virtual_interrupts
from ffabric.firmware.manager.memory import fragments, permissions, reclaim, retrieve, send
from ffabric.firmware.manager.messages import direct, indirect
from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.firmware.manager.setup import console, discovery, features, mailbox, secondary, version
from ffabric.firmware.spmc import physical
from ffabric.firmware.state.call_table import CallTable

_COMMON = (
    version.HANDLERS,
    features.HANDLERS,
    discovery.HANDLERS,
    mailbox.HANDLERS,
    direct.HANDLERS,
    indirect.HANDLERS,
    cycles.HANDLERS,
    notifications.HANDLERS,
    send.HANDLERS,
    retrieve.HANDLERS,
    fragments.HANDLERS,
    reclaim.HANDLERS,
    console.HANDLERS,
)

SECURE_CALLS = CallTable(
    *_COMMON,
    permissions.HANDLERS,
    secondary.HANDLERS,
    virtual_interrupts.HANDLERS,
    at=Instance.S_VIRTUAL,
    for_older=console.FOR_OLDER,
)
"""The secure virtual instance: SPs."""

NORMAL_WORLD_CALLS = CallTable(
    *_COMMON,
    physical.HANDLERS,
    at=Instance.NS_PHYSICAL,
    without=frozenset({fid.FFA_ERROR}),
)
"""The physical instances: the hypervisor or the OS kernel, through the SPMD."""
