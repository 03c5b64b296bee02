"""Discovery: FFA_PARTITION_INFO_GET and FFA_PARTITION_INFO_GET_REGS.

A partition is described once per UUID to callers of v1.2 and later, once to older ones, and once
for each of its other IDs to those of v1.1 and later that look for all, in the
layout of the caller's version, with the properties that concern the caller (DEN0077A 1.2, sections
6.2, 13.8 and 13.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa import uuids
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.flags import COUNT_ONLY
from ffabric.abi.ffa.partition_info import IdType, PartitionInfo
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1, V1_2, V1_3
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state import reply
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

UNKNOWN_UUID = rule(
    "discovery.uuid",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, sections 13.8 and 13.9",
    "The UUID is nil or that of a partition.",
)
ROOM = rule(
    "discovery.rx_size",
    Status.NO_MEMORY,
    "DEN0077A 1.2, section 13.8",
    "The descriptors fit into the caller's RX buffer.",
)
TAG = rule(
    "discovery.regs.tag",
    Status.RETRY,
    "DEN0077A 1.2, section 13.9",
    "The tag in x3 is that of the earlier answers; this callee's is zero.",
    since=V1_2,
)
INDEX = rule(
    "discovery.regs.start_index",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 13.9",
    "The start index in x3 is that of a descriptor.",
    since=V1_2,
)

_read_regs = reader(fid.FFA_PARTITION_INFO_GET_REGS, "start_index", "tag", clean=True)

SEVERAL_UUIDS_SINCE = V1_2
"""The version that describes a partition once per UUID; before, it is described once."""

_SENDS = info.DIRECT_REQ_SEND | info.DIRECT_REQ2_SEND
_VM_AVAILABILITY = info.VM_CREATED | info.VM_DESTROYED


def entries(pm: Manager, requester: Partition, *, in_registers: bool) -> list[PartitionInfo]:
    """What ``requester`` may discover: an entry per partition and UUID, this manager's first."""
    found: list[PartitionInfo] = []
    for _, each in sorted(pm.partitions.items()):
        count, version = len(each.contexts), each.version
        for uuid in each.uuids or (uuids.NIL,):
            properties = properties_for(requester, each, uuid)
            image = each.image_uuid
            found.append(PartitionInfo(each.id, count, properties, uuid, image, version))
        if each.aliases and requester.version >= V1_1:
            found += _aliases(each)
    return found + pm.peer.partitions(requester, in_registers=in_registers)


def _aliases(partition: Partition) -> list[PartitionInfo]:
    """Other IDs of ``partition``: of a device that depends on it, it is the proxy."""
    return [
        PartitionInfo(
            alias,
            partition.id if kind is IdType.DEPENDENT_DEVICE else 0,
            info.Properties.build(ID_TYPE=kind),
            ffa_version=partition.version,
        )
        for alias, kind in sorted(partition.aliases.items())
    ]


def properties_for(requester: Partition, target: Partition, service: UUID = uuids.NIL) -> int:
    """The properties of ``target`` that concern ``requester``, as a service of it has them.

    SPs send no direct requests to the normal world, and nobody else is told of VMs' lives.
    """
    properties = (
        target.properties_of(service) & info.Properties.defined(target.version) | info.AARCH64
    )
    properties &= ~info.NOTIFICATIONS
    if target.notifications is not None:
        properties |= info.NOTIFICATIONS
    if target.secure and not requester.secure:
        properties &= ~_SENDS
    else:
        properties &= ~_VM_AVAILABILITY
    return properties


def matching(
    pm: Manager, requester: Partition, wanted: UUID, *, in_registers: bool
) -> list[PartitionInfo]:
    """The entries of ``wanted`` (nil: all) as ``requester`` gets them; never none.

    To a request that names a UUID the answer does not repeat it. Since v1.3 it may be that of a
    partition's image, which stands for all its services.
    """
    found = entries(pm, requester, in_registers=in_registers)
    if wanted != uuids.NIL:
        replace = msgspec.structs.replace
        of_image = [each for each in found if each.image_uuid == wanted]
        found = [each for each in found if each.uuid == wanted]
        ids = {each.id for each in found}
        found += [each for each in pm.peer.services(wanted) if each.id not in ids]
        found = [replace(each, uuid=uuids.NIL) for each in found]
        if requester.version >= V1_3:
            found += [replace(each, image_uuid=uuids.NIL) for each in of_image]
    if requester.version < SEVERAL_UUIDS_SINCE:
        first: dict[int, PartitionInfo] = {}
        for each in found:
            first.setdefault(each.id, each)
        found = [*first.values()]
    if not found:
        refuse(UNKNOWN_UUID, got=wanted, expected="a partition's UUID")
    return found


def fills_rx(caller: ExecutionContext) -> bool:
    """Whether a call of discovery is answered in RX, not by a count or in registers."""
    return caller.x[0] == fid.FFA_PARTITION_INFO_GET and not caller.x[5] & COUNT_ONLY


def wanted_by(caller: ExecutionContext) -> UUID:
    """The UUID that a call of discovery asks for; nil: all partitions."""
    x = caller.x
    if x[0] == fid.FFA_PARTITION_INFO_GET:
        return uuids.from_words(*x[1:5])
    return uuids.from_pair(x[1], x[2])


def partition_info_get(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_PARTITION_INFO_GET: descriptors into RX, or their count only."""
    x = caller.x
    requester = caller.partition
    found = matching(pm, requester, wanted_by(caller), in_registers=False)
    if x[5] & COUNT_ONLY:
        reply.success(x, len(found))
        return caller
    box = mailbox.receiver_box(requester)
    data = info.build_partition_info(found, requester.version)
    if len(data) > box.rx.size:
        refuse(ROOM, got=len(data), expected=box.rx.size)
    mailbox.deliver(pm, requester, box, data)
    size = info.descriptor_size(requester.version) if requester.version >= V1_1 else 0
    reply.success(x, len(found), size)
    return caller


def partition_info_get_regs(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_PARTITION_INFO_GET_REGS: as many descriptors as x3 to x17 hold, from an index on."""
    x = caller.x
    requester = caller.partition
    start, tag = _read_regs(x)
    if tag:
        refuse(TAG, got=tag, expected=0)
    found = matching(pm, requester, wanted_by(caller), in_registers=True)
    if start >= len(found):
        refuse(INDEX, got=start, expected=f"below {len(found)}")
    x[0:18] = info.build_registers(found, start, 0, requester.version)
    return caller


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_PARTITION_INFO_GET: partition_info_get,
    fid.FFA_PARTITION_INFO_GET_REGS: partition_info_get_regs,
}
