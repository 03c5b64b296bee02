"""Which calls the SPMC answers at which FF-A instance."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.functions import Instance
from ffabric.firmware.manager import virtual_interrupts
from ffabric.firmware.manager.calls import COMMON
from ffabric.firmware.manager.memory import permissions
from ffabric.firmware.manager.setup import console, secondary
from ffabric.firmware.spmc import physical, resources
from ffabric.firmware.state.interface.call_table import CallTable

SECURE_CALLS = CallTable(
    *COMMON,
    permissions.HANDLERS,
    secondary.HANDLERS,
    virtual_interrupts.HANDLERS,
    at=Instance.S_VIRTUAL,
    for_older=console.FOR_OLDER,
)
"""The secure virtual instance: SPs."""

NORMAL_WORLD_CALLS = CallTable(
    *COMMON,
    physical.HANDLERS,
    resources.HANDLERS,
    at=Instance.NS_PHYSICAL,
    without=frozenset({fid.FFA_ERROR}),
)
"""The physical instances: the hypervisor or the OS kernel, through the SPMD."""
