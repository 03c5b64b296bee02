"""RX/TX buffers at the non-secure physical instance (DEN0077A 1.2, sections 13.2, 13.4, 13.6).

The caller is the hypervisor or the OS kernel. It maps its own buffers by address, and a hypervisor
maps those of its VMs by a descriptor in its TX. The buffers are non-secure memory; a VM's RX may
be filled by the SPMC while the SPMC owns it, so the hypervisor acquires it before writing there
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.rxtx import parse_endpoint_buffers
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_0
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.spmc.spmc import VmMailbox
from ffabric.firmware.state import ownership, reply
from ffabric.firmware.state.mailbox import Buffer
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.memory import Piece
from ffabric.machine.translation.descriptors import VALID

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

VM = rule(
    "rxtx.unknown_vm",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, sections 13.2 and 13.7",
    "The SPMC knows the VM's RX/TX pair.",
)
TWICE = rule(
    "rxtx.map.vm_mapped",
    Status.DENIED,
    "DEN0077A 1.2, section 13.6",
    "The VM has no RX/TX pair at the SPMC yet.",
)
ACQUIRED = rule(
    "rx.acquire.not_free",
    Status.DENIED,
    "DEN0077A 1.2, section 13.4",
    "The VM's RX buffer is free: nobody has acquired or filled it.",
)
RANGE = rule(
    "rxtx.map.vm_memory",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, table 13.27",
    "The buffers in the descriptor are memory that the normal world alone owns.",
)
VM_ID = rule(
    "rxtx.map.vm_id",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, table 13.27",
    "The endpoint in the descriptor is a VM of the caller's.",
)

_read_unmapped = reader(fid.FFA_RXTX_UNMAP, "endpoint", clean=True)


def map_(spmc: Spmc, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_RXTX_MAP: the caller's own buffers, or, with addresses zero, a VM's by descriptor."""
    tx, rx, pages = caller.x[1:4]
    if tx or rx:
        world = caller.partition
        world.mailbox = mailbox.make(spmc, world, tx, rx, pages)
    else:
        _map_vm(spmc, caller)
    reply.success(caller.x)
    return caller


def _map_vm(spmc: Spmc, caller: ExecutionContext) -> None:
    box = caller.partition.mailbox
    if box is None:
        refuse(mailbox.NO_MAILBOX, got="no buffers", expected="the hypervisor's RX/TX pair")
    data = box.tx.snapshot(box.tx.size)
    buffers = parse_endpoint_buffers(data)
    if caller.partition.version == V1_0:
        from ffabric.firmware.manager.memory import reserved_bytes  # noqa: PLC0415 - seldom

        reserved_bytes.judge_buffers(spmc, data)
    vm = buffers.endpoint
    if not spmc.peer.speaks_for(caller.partition, vm) or vm == caller.partition.id:
        refuse(VM_ID, got=vm, expected="a VM's id")
    if vm in spmc.vm_mailboxes:
        refuse(TWICE, got=vm, expected="a VM without a pair")
    tx, rx = (Buffer(0, _pieces(spmc, ranges)) for ranges in (buffers.tx, buffers.rx))
    mapped = VmMailbox(tx, rx, [*buffers.tx, *buffers.rx])
    _judge_overlap(mapped.ranges)
    _share(spmc, mapped, ownership.SHARED)
    spmc.vm_mailboxes[vm] = mapped


def _pieces(spmc: Spmc, ranges: list[tuple[int, int]]) -> list[Piece]:
    """The memory of the address ranges that the hypervisor gave for a buffer."""
    stage2 = spmc.normal_world.stage2
    assert stage2 is not None
    if not 0 < sum(pages for _, pages in ranges) <= mailbox.MAX_PAGES:  # or it is a long walk
        refuse(mailbox.COUNT, got=ranges, expected=f"1 to {mailbox.MAX_PAGES} pages")
    pieces = []
    for address, pages in ranges:
        if address % PAGE or not pages:
            refuse(mailbox.ALIGNED, got=(address, pages), expected="pages")
        for at, pa, count, attrs in stage2.runs(address, pages):
            bank = spmc.memory.bank_at(pa)
            if bank is None or not attrs & VALID or attrs & ownership.MASK:
                refuse(RANGE, got=(at, ownership.name(attrs)), expected="owned by the normal world")
            pieces += spmc.memory.pieces(pa, count * PAGE, secure=bank.secure)
    return pieces


def _judge_overlap(ranges: list[tuple[int, int]]) -> None:
    end = 0
    for address, pages in sorted(ranges):
        if address < end:
            refuse(mailbox.OVERLAP, got=address, expected=f"{end:#x} or above")
        end = address + pages * PAGE


def _share(spmc: Spmc, box: VmMailbox, held: ownership.Ownership) -> None:
    """Nobody gives away what the SPMC reads and writes."""
    assert spmc.normal_world.stage2 is not None
    ownership.mark(spmc.normal_world.stage2, box.ranges, held)


def unmap(spmc: Spmc, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_RXTX_UNMAP: the caller's own buffers (id 0), or a VM's (id in w1 bits 31:16)."""
    vm = _read_unmapped(caller.x)
    if vm:
        _share(spmc, _vm_mailbox(spmc, vm), ownership.OWNED)
        del spmc.vm_mailboxes[vm]
    elif caller.partition.mailbox is None:
        refuse(mailbox.UNMAPPED, got="no pair", expected="an RX/TX pair")
    else:
        mailbox.drop(caller.partition)
    reply.success(caller.x)
    return caller


def acquire(spmc: Spmc, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_RX_ACQUIRE: the hypervisor wants to write into a VM's RX."""
    box = _vm_mailbox(spmc, caller.x[1])
    if box.full or box.foreign:
        refuse(ACQUIRED, got="taken", expected="free")
    box.foreign = True
    reply.success(caller.x)
    return caller


def release(spmc: Spmc, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RX_RELEASE: of the caller's own RX (id 0), or of a VM's."""
    vm = caller.x[1]
    if not vm:
        return mailbox.rx_release(spmc, pe, caller)
    box = _vm_mailbox(spmc, vm)
    if not box.full and not box.foreign:
        refuse(mailbox.RELEASE_EMPTY, got="free", expected="owned by the VM or the hypervisor")
    if box.full and mailbox.is_unseen(spmc, vm):
        refuse(mailbox.UNSEEN, got="pending", expected="got by FFA_NOTIFICATION_GET")
    box.full = box.foreign = False
    reply.success(caller.x)
    return caller


def _vm_mailbox(spmc: Spmc, vm: int) -> VmMailbox:
    box = spmc.vm_mailboxes.get(vm)
    if box is None:
        refuse(VM, got=vm, expected="a VM with an RX/TX pair")
    return box


HANDLERS: dict[int, Handler[Spmc]] = {
    fid.FFA_RXTX_MAP_32: map_,
    fid.FFA_RXTX_MAP_64: map_,
    fid.FFA_RXTX_UNMAP: unmap,
    fid.FFA_RX_ACQUIRE: acquire,
    fid.FFA_RX_RELEASE: release,
}
