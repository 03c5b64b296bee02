"""How the hypervisor starts: version, buffers, partitions, the other PEs, then the VMs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.hypervisor.spmc_link import relay
from ffabric.firmware.hypervisor.vms import lifetime
from ffabric.firmware.state.mailbox import Buffer, Mailbox
from ffabric.machine.memory import Piece

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Sequence
    from ffabric.machine.context import PE

MAILBOX_PAGES = 4


def primary(hypervisor: Hypervisor, pe: PE) -> Sequence:
    """The primary PE: everything that is done once."""
    answer = yield [fid.FFA_VERSION, hypervisor.version]
    hypervisor.link_version = min(hypervisor.version, answer[0] & MASK32)
    tx = hypervisor.mailbox_base
    rx = tx + MAILBOX_PAGES * PAGE
    bank = hypervisor.memory.bank_at(tx)
    assert bank is not None
    hypervisor.mailbox = Mailbox(
        *(Buffer(at, [Piece(bank, at - bank.base, MAILBOX_PAGES * PAGE)]) for at in (tx, rx))
    )
    yield [fid.FFA_RXTX_MAP_64, tx, rx, MAILBOX_PAGES]
    yield from relay.learn_partitions(hypervisor)
    for other in hypervisor.machine.pes[1:]:
        yield [psci.CPU_ON_64, other.mpidr, hypervisor.mailbox_base]
    for vm in [*hypervisor.partitions.values()]:
        yield from lifetime.create(hypervisor, vm, pe)
    return hypervisor.schedule(pe)
