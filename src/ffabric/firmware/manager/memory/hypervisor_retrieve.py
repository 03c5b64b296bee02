"""The hypervisor's retrieve: a description of a transaction, without borrowing it.

Before a hypervisor forwards FFA_MEM_RECLAIM for memory whose handle the SPMC allocated, it may ask
what the handle stands for: a FFA_MEM_RETRIEVE_REQ without receivers (DEN0140 1.2, section 2.7.3).
All that it says is the handle; the other bytes of its header are zero. It hears of nothing that it
could not reclaim: handles are small numbers, and where SPs have memory is no business of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.memory_layouts import TRANSACTION
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_0
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state.region import Response
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.translation.descriptors import SW_NS

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.firmware.state.region import Region


HANDLE_SIZE = 8

OWN = rule(
    "mem.retrieve.hypervisor_owner",
    Status.INVALID_PARAMETERS,
    "DEN0140 1.2, section 2.7.3",
    "What the hypervisor asks about, the normal world has sent: transactions among SPs are theirs.",
)
MBZ = rule(
    "mem.retrieve.hypervisor_mbz",
    Status.INVALID_PARAMETERS,
    "DEN0140 1.2, section 2.7.3",
    "In the hypervisor's request without receivers all fields but the handle are zero.",
    waivable=True,
)


def describe(
    pm: Manager, caller: ExecutionContext, region: Region, header: bytes
) -> ExecutionContext:
    """Answer with the transaction as its sender described it; ``header`` is that of the request."""
    me = caller.partition
    if region.owner is not me:
        refuse(OWN, got=region.sender, expected="a sender in the normal world")
    at = TRANSACTION.at(me.version).offsets["handle"]
    others = header[:at] + header[at + HANDLE_SIZE :]
    if any(others):
        pm.conventions.refuse(MBZ, got=others.hex(), expected="zeros")
    box = mailbox.receiver_box(me)
    response = abi.build_transaction(
        abi.Transaction(
            sender=region.sender,
            attributes=region.attributes | _ns_bit(me, region),
            flags=region.flags | region.kind.type_flag,
            handle=region.handle,
            tag=region.tag,
            receivers=[
                abi.Receiver(each.endpoint, each.permissions, 0, 0, each.impdef)
                for each in region.borrowers
            ],
            total_pages=region.total_pages,
            constituents=region.constituents,
        ),
        me.version,
    )
    first = response[: box.rx.size & ~15]
    mailbox.deliver(pm, me, box, first)
    if len(first) < len(response):
        rest = Response(response, len(first), region.sender)
        pm.regions.responses[region.handle, me.id] = rest
    caller.x[0:8] = (fid.FFA_MEM_RETRIEVE_RESP, len(response), len(first), 0, 0, 0, 0, 0)
    return caller


def _ns_bit(me: Partition, region: Region) -> int:
    """The NS bit of Non-secure memory: of v1.0 it is reserved (DEN0140 1.2, table 1.18)."""
    return mem.MEM_ATTR_NS if region.held & SW_NS and me.version > V1_0 else 0
