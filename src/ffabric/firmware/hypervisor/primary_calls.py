"""Which calls the hypervisor answers in a system with a primary VM."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.functions import Instance
from ffabric.firmware.hypervisor.calls import FOR_SCHEDULER, INFO, ROOMS
from ffabric.firmware.hypervisor.vms import primary, secondary
from ffabric.firmware.manager import virtual_interrupts
from ffabric.firmware.manager.setup import console
from ffabric.firmware.state.interface.call_table import CallTable

PRIMARY_CALLS = CallTable(
    *ROOMS,
    {fid.FFA_RUN: secondary.run},
    at=Instance.NS_VIRTUAL,
    without=frozenset({fid.FFA_MSG_WAIT}),
    for_older=console.FOR_OLDER,
    always=FOR_SCHEDULER,
)
"""The primary VM: it hears of messages by what FFA_RUN returns, and does not wait for any."""

SECONDARY_CALLS = CallTable(
    *ROOMS,
    virtual_interrupts.HANDLERS,
    {
        fid.FFA_RUN: primary.refuse_run,
        fid.FFA_MSG_WAIT: secondary.wait,
        fid.FFA_MSG_SEND_DIRECT_REQ_32: primary.refuse_request,
        fid.FFA_MSG_SEND_DIRECT_REQ_64: primary.refuse_request,
        fid.FFA_MSG_SEND_DIRECT_REQ2: primary.refuse_request,
    },
    at=Instance.NS_VIRTUAL,
    without=INFO,
    for_older=console.FOR_OLDER,
)
"""The VMs that a primary one schedules."""
