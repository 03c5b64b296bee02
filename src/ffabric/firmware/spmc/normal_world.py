"""The normal world as the SPMC's peer: VMs behind their hypervisor, or an OS kernel.

SPs reach it by responses and messages only. Beside it are the logical partitions of EL3, which SPs
may call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ffabric.abi.ffa.status import Status
from ffabric.abi.words import SECURE_BIT
from ffabric.firmware.manager.messages import indirect
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state import reply
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from uuid import UUID

    from ffabric.abi.ffa.messages import Message
    from ffabric.abi.ffa.partition_info import PartitionInfo
    from ffabric.firmware.monitor.logical import LogicalPartitions
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE

NOT_AN_SP = rule(
    "direct.req.to_normal_world",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 7.4",
    "An SP sends direct requests to SPs; the normal world is reached by responses and messages.",
)
RUN_NOT_SP = rule(
    "run.not_an_sp",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 14.4",
    "The target of FFA_RUN in the secure world is an SP.",
)


class NormalWorldPeer:
    """The SPMC's `Peer`."""

    def __init__(self, spmc: Spmc, logical: LogicalPartitions) -> None:
        self._spmc = spmc
        self._logical = logical

    def has(self, endpoint: int) -> bool:
        """Endpoints of the normal world are its own business."""
        return not endpoint & SECURE_BIT

    def speaks_for(self, partition: Partition, sender: int) -> bool:
        """Through the gate a hypervisor speaks for its VMs; a kernel at EL1 has none."""
        if partition.gateway and self._spmc.serves_vms:
            return not sender & SECURE_BIT
        return sender == partition.id

    def partitions(self, requester: Partition, *, in_registers: bool) -> list[PartitionInfo]:
        """The logical partitions at EL3: SPs may discover them, and EL3 writes into no RX."""
        return [] if requester.gateway or not in_registers else self._logical.describe()

    def services(self, wanted: UUID) -> list[PartitionInfo]:
        """None: the normal world names no services to SPs."""
        return []

    def request(self, pe: PE, caller: ExecutionContext, receiver: int) -> Next:
        """A direct request to an EL3 logical partition goes up; to anybody else it is wrong."""
        if receiver in self._logical:
            self._logical.request(pe, caller.x)
            return caller
        refuse(NOT_AN_SP, got=receiver, expected="an SP")

    def run(self, pe: PE, caller: ExecutionContext, target: int) -> Next:
        """FFA_RUN of something that is no SP."""
        refuse(RUN_NOT_SP, got=target >> 16, expected="an SP")

    def mailbox_of(self, partition: Partition, sender: int) -> Mailbox | None:
        """The gate sends messages for the VMs whose buffers it has described."""
        if partition.gateway and sender:
            return self._spmc.vm_mailboxes.get(sender)
        return partition.mailbox if sender == partition.id else None

    def mailbox_changed(self, pe: PE, caller: ExecutionContext, *, mapped: bool) -> Next:
        """The buffers of SPs concern nobody else."""
        return caller

    def rx_released(self, pe: PE, caller: ExecutionContext) -> Next:
        """The SPMC alone fills the RX of SPs."""
        return caller

    def shares_rx(self, target: Partition) -> bool:
        """The SPMC alone fills the RX of SPs."""
        return False

    def deliver(
        self, pe: PE, caller: ExecutionContext, message: Message, target: Partition
    ) -> NoReturn:
        """No RX is shared (`shares_rx`)."""
        raise AssertionError(target)

    def send_message(
        self, pe: PE, caller: ExecutionContext, message: Message, *, delayed: bool
    ) -> Next:
        """FFA_MSG_SEND2 of an SP to the normal world: into the VM's RX, or the kernel's."""
        spmc = self._spmc
        vm = message.receiver
        box = spmc.vm_mailboxes.get(vm) if vm else spmc.normal_world.mailbox
        if box is None:
            refuse(mailbox.NO_MAILBOX, got=vm, expected="a VM with an RX/TX pair")
        if box.full or box.foreign:
            refuse(mailbox.RX_BUSY, got=vm, expected="RX owned by the producer")
        indirect.deliver(
            spmc,
            pe,
            message,
            spmc.normal_world,
            box=box,
            state=spmc.remote_notifications.get(vm),
            delayed=delayed,
        )
        reply.success(caller.x)
        return caller

    def keeps_notifications(self, endpoint: int) -> bool:
        """The SPMC keeps those that SPs set or get; VMs' among themselves it never hears of."""
        return False

    def notification(self, pe: PE, caller: ExecutionContext) -> NoReturn:
        """The normal world keeps none of SPs (`keeps_notifications`)."""
        raise AssertionError(caller)

    def relays(self, region: Region) -> bool:
        """The SPMC alone relays what SPs send, and what the normal world sends to SPs."""
        return False

    def begin_memory(self, pe: PE, caller: ExecutionContext, region: Region) -> NoReturn:
        """The normal world relays nothing of the SPMC's (`relays`)."""
        raise AssertionError(region)

    def abandon_memory(
        self, pe: PE, caller: ExecutionContext, region: Region, error: Exception
    ) -> NoReturn:
        """The normal world relays nothing of the SPMC's (`relays`)."""
        raise AssertionError(region)

    def send_memory(self, pe: PE, caller: ExecutionContext, region: Region) -> NoReturn:
        """The normal world relays nothing of the SPMC's (`relays`)."""
        raise AssertionError(region)

    def reclaim_memory(
        self, pe: PE, caller: ExecutionContext, region: Region, flags: int
    ) -> NoReturn:
        """The normal world relays nothing of the SPMC's (`relays`)."""
        raise AssertionError(region)
