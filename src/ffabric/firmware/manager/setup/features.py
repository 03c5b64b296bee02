"""FFA_FEATURES: what the caller may use at its FF-A instance, at the version it negotiated.

A function is supported if the instance's call table offers it, or if it is the answer to a call
that the table offers, and if the caller is of the kind that may use it. A feature is an interrupt's
number, told to those who get the interrupt (DEN0077A 1.2, section 13.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi import hafnium
from ffabric.abi.ffa import features as abi
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state import reply
from ffabric.firmware.state.endpoints import sp_of
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

SECTION = "DEN0077A 1.2, section 13.3"

FUNCTION = rule(
    "features.function",
    Status.NOT_SUPPORTED,
    SECTION,
    "The function in w1 is available to the caller at this instance and version.",
)
FEATURE = rule(
    "features.feature",
    Status.NOT_SUPPORTED,
    SECTION,
    "The feature id in w1 is known and meant for callers of this kind and version.",
)
INPUT = rule(
    "features.input_properties",
    Status.NOT_SUPPORTED,
    SECTION,
    "w2 is zero when a feature id is asked for, and in v1.0 unless FFA_MEM_RETRIEVE_REQ is.",
    waivable=True,
)
NS_BIT = rule(
    "features.retrieve_ns_bit",
    Status.NOT_SUPPORTED,
    "DEN0077A 1.2, table 13.14; DEN0140 1.2, table 3.1",
    "An SP says, by bit 1 of w2, that it knows the NS bit in what it retrieves.",
    since=V1_1,
    waivable=True,
)

_RETRIEVE_REQ = (fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64)

_ANSWERS = {
    fid.FFA_ERROR: fid.FFA_FEATURES,
    fid.FFA_SUCCESS_32: fid.FFA_FEATURES,
    fid.FFA_SUCCESS_64: fid.FFA_FEATURES,
    fid.FFA_INTERRUPT: fid.FFA_FEATURES,
    fid.FFA_MEM_RETRIEVE_RESP: fid.FFA_MEM_RETRIEVE_REQ_32,
    fid.FFA_MSG_SEND_DIRECT_RESP_32: fid.FFA_MSG_SEND_DIRECT_REQ_32,
    fid.FFA_MSG_SEND_DIRECT_RESP_64: fid.FFA_MSG_SEND_DIRECT_REQ_64,
    fid.FFA_MSG_SEND_DIRECT_RESP2: fid.FFA_MSG_SEND_DIRECT_REQ2,
    fid.FFA_MSG_WAIT: fid.FFA_RUN,
}
"""Functions that reach a caller as answers -> the call that brings them.

FFA_YIELD is none: it leaves the call unanswered. Where nobody may make it, it is not offered.
"""


def _has(properties: int) -> Callable[[Partition], bool]:
    return lambda partition: partition.gateway or bool(partition.properties & properties)


def _is_notified(partition: Partition) -> bool:
    return partition.gateway or partition.notifications is not None


def _is_el0(partition: Partition) -> bool:
    return partition.el == 0


def _is_multiprocessor(partition: Partition) -> bool:
    return not partition.up and len(partition.contexts) > 1


def _schedules(partition: Partition) -> bool:
    return partition.gateway or partition.may_schedule


_ONLY_FOR: dict[int, Callable[[Partition], bool]] = {
    fid.FFA_MSG_SEND_DIRECT_REQ_32: _has(info.DIRECT_REQ_SEND),
    fid.FFA_MSG_SEND_DIRECT_REQ_64: _has(info.DIRECT_REQ_SEND),
    fid.FFA_MSG_SEND_DIRECT_RESP_32: _has(info.DIRECT_REQ_RECEIVE),
    fid.FFA_MSG_SEND_DIRECT_RESP_64: _has(info.DIRECT_REQ_RECEIVE),
    fid.FFA_MSG_SEND_DIRECT_REQ2: _has(info.DIRECT_REQ2_SEND),
    fid.FFA_MSG_SEND_DIRECT_RESP2: _has(info.DIRECT_REQ2_RECEIVE),
    fid.FFA_MSG_SEND2: _has(info.INDIRECT_MESSAGES),
    fid.FFA_NOTIFICATION_BIND: _is_notified,
    fid.FFA_NOTIFICATION_UNBIND: _is_notified,
    fid.FFA_NOTIFICATION_GET: _is_notified,
    fid.FFA_NOTIFICATION_INFO_GET_32: _schedules,
    fid.FFA_NOTIFICATION_INFO_GET_64: _schedules,
    fid.FFA_MEM_PERM_GET_32: _is_el0,
    fid.FFA_MEM_PERM_GET_64: _is_el0,
    fid.FFA_MEM_PERM_SET_32: _is_el0,
    fid.FFA_MEM_PERM_SET_64: _is_el0,
    fid.FFA_SECONDARY_EP_REGISTER_32: _is_multiprocessor,
    fid.FFA_SECONDARY_EP_REGISTER_64: _is_multiprocessor,
}
"""Functions that not every caller at the instance may use."""


def _rxtx_map(partition: Partition) -> int:
    return abi.RxtxMapProperties.build(
        MAX_PAGES=mailbox.MAX_PAGES, MIN_SIZE=abi.BufferSize.SIZE_4K
    ) & abi.RxtxMapProperties.defined(partition.version)


def _retrieve_req(partition: Partition) -> int:
    told = abi.RetrieveProperties.build(HYPERVISOR_RETRIEVE=int(partition.gateway), NS_BIT=1)
    known = abi.RetrieveProperties.defined(partition.version)
    if partition.secure and sp_of(partition).knows_ns_bit:
        known |= abi.RetrieveProperties.NS_BIT.mask
    return told & known


_PROPERTIES: dict[int, Callable[[Partition], int]] = {
    fid.FFA_RXTX_MAP_32: _rxtx_map,
    fid.FFA_RXTX_MAP_64: _rxtx_map,
    fid.FFA_MEM_RETRIEVE_REQ_32: _retrieve_req,
    fid.FFA_MEM_RETRIEVE_REQ_64: _retrieve_req,
}
"""w2 of the answer, where it is not zero. Memory is sent from TX only: no dynamic buffers."""


def features(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_FEATURES."""
    x = caller.x
    judge = _function if x[1] & abi.FUNCTION_BIT else _feature
    reply.success(x, judge(pm, caller.partition, x[1], x[2]))
    return caller


def _function(pm: Manager, partition: Partition, function: int, properties: int) -> int:
    if not supports(partition, function):
        refuse(FUNCTION, got=fid.function_name(function), expected="a function offered here")
    if function in _RETRIEVE_REQ:
        _ask_for_ns_bit(pm, partition, properties)
    elif properties and partition.version < V1_1:
        pm.conventions.refuse(INPUT, got=properties, expected=0)
    answer = _PROPERTIES.get(function)
    told = pm.conventions.features.get(function, 0)
    return told if answer is None else answer(partition) | told


def _ask_for_ns_bit(pm: Manager, partition: Partition, properties: int) -> None:
    """An SP tells whether it knows the NS bit: since v1.1 all do, in v1.0 it is reserved else."""
    if not partition.secure:
        return
    asks = bool(abi.RetrieveInput(properties).NS_BIT)
    if not NS_BIT.holds(partition.version):
        sp_of(partition).knows_ns_bit = asks
    elif not asks:
        pm.conventions.refuse(NS_BIT, got=properties, expected=abi.RetrieveInput.build(NS_BIT=1))


def supports(partition: Partition, function: int) -> bool:
    """Whether ``partition`` may use ``function`` at its FF-A instance."""
    table = partition.calls
    known = fid.FUNCTIONS.get(function)
    if known is None or not known.defined_in(partition.version):
        return False
    if function not in table and _ANSWERS.get(function) not in table:
        return False
    allowed = _ONLY_FOR.get(function)
    return allowed is None or allowed(partition)


def _feature(pm: Manager, partition: Partition, feature: int, properties: int) -> int:
    if properties:
        pm.conventions.refuse(INPUT, got=properties, expected=0)
    known = abi.FEATURES.get(feature)
    audience = _AUDIENCE.get(feature)
    if known is None or audience is None or known.since > partition.version:
        refuse(FEATURE, got=feature, expected=sorted(_AUDIENCE))
    if not audience(partition):
        refuse(FEATURE, got=f"{known.name} for {partition.name}", expected="its audience")
    secondary = partition.paravirtual and not partition.secure
    npi = hafnium.NOTIFICATION_PENDING_INTID if secondary else pm.npi
    told = {abi.NPI: npi, abi.SRI: pm.sri, abi.MEI: pm.mei}.get(feature, 0)
    return told | pm.conventions.features.get(feature, 0)


def _takes_virtual_interrupts(partition: Partition) -> bool:
    return partition.el != 0 and not partition.gateway


def _exits_managed(partition: Partition) -> bool:
    return partition.secure and partition.el != 0


_AUDIENCE: dict[int, Callable[[Partition], bool]] = {
    abi.NPI: _takes_virtual_interrupts,
    abi.SRI: _schedules,
    abi.MEI: _exits_managed,
    abi.NOTIFICATION: lambda _partition: True,
}
"""Feature ids and whom they concern. Of NOTIFICATION no restriction is to be told: w2 is zero."""


HANDLERS: dict[int, Handler[Manager]] = {fid.FFA_FEATURES: features}
