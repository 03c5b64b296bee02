"""FFA_SECONDARY_EP_REGISTER: where the secondary contexts of an MP partition start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1
from ffabric.firmware.state import reply
from ffabric.firmware.state.context import Model
from ffabric.firmware.state.endpoints import sp_of
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.translation.descriptors import VALID, XN

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

SECTION = "DEN0077A 1.1, section 18.3.2.1"

MULTIPROCESSOR = rule(
    "secondary.multiprocessor",
    Status.NOT_SUPPORTED,
    SECTION,
    "The caller has more than one execution context.",
    since=V1_1,
)
INITIALISING = rule(
    "secondary.initialising",
    Status.DENIED,
    SECTION,
    "The caller is in its initialisation (RTM_SP_INIT).",
    since=V1_1,
)
ENTRY = rule(
    "secondary.entry_point",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The entry point is an instruction's address in executable memory of the caller, not in its "
    "RX/TX buffers.",
    since=V1_1,
)


def register(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_SECONDARY_EP_REGISTER (32- and 64-bit): the last valid registration counts."""
    partition = sp_of(caller.partition)
    entry = caller.x[1]
    if partition.up or len(partition.contexts) < 2:
        refuse(MULTIPROCESSOR, got=len(partition.contexts), expected="at least two")
    if caller.model is not Model.SP_INIT:
        refuse(INITIALISING, got=caller.model.value, expected=Model.SP_INIT.value)
    stage2 = partition.stage2
    assert stage2 is not None
    leaf = 0 if entry >> stage2.ipa_bits else stage2.translate(entry)
    if entry & 3 or not leaf & VALID or leaf & XN or _in_buffers(partition, entry):
        refuse(ENTRY, got=entry, expected="aligned, mapped, executable and no RX/TX buffer")
    partition.secondary_entry = entry
    reply.success(caller.x)
    return caller


def _in_buffers(partition: Partition, entry: int) -> bool:
    """Whether the address is in the RX/TX pair, where the manager writes."""
    box = partition.mailbox
    return box is not None and any(
        buffer.ipa <= entry < buffer.ipa + buffer.size for buffer in (box.rx, box.tx)
    )


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_SECONDARY_EP_REGISTER_32: register,
    fid.FFA_SECONDARY_EP_REGISTER_64: register,
}
