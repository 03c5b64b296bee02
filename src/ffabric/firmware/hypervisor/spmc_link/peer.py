"""The secure world as the hypervisor's peer: SPs behind their SPMC, reached by SMC.

A call that concerns SPs becomes the hypervisor's own: passed on as it is, as another SMC or as a
sequence of them (`relay.py`). The SPMC also writes into the RX of VMs that take indirect messages,
so it is told of their buffers, and asked for an RX before anything is written into it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, SECURE_BIT
from ffabric.firmware.hypervisor import notifications
from ffabric.firmware.hypervisor.spmc_link import memory, relay, sequences
from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.messages import direct
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from uuid import UUID

    from ffabric.abi.ffa.messages import Message
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE

DECLINED = rule(
    "direct.req.declined",
    Status.DENIED,
    "DEN0077A 1.2, section 18.3",
    "The receiver did not decline to have the VM as a client when it was told of it (DENIED).",
    waivable=True,
)


class SecureWorldPeer:
    """The hypervisor's `Peer`."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def has(self, endpoint: int) -> bool:
        """SPs are the SPMC's."""
        return endpoint in self._hypervisor.secure_ids

    def speaks_for(self, partition: Partition, sender: int) -> bool:
        """A VM speaks for itself."""
        return sender == partition.id

    def partitions(self, requester: Partition, *, in_registers: bool) -> list[info.PartitionInfo]:
        """The SPs, as the SPMC described them."""
        return self._hypervisor.secure_partitions

    def services(self, wanted: UUID) -> list[info.PartitionInfo]:
        """The SPs that the SPMC has named for ``wanted``."""
        return self._hypervisor.secure_services.get(wanted, [])

    def request(self, pe: PE, caller: ExecutionContext, receiver: int) -> Next:
        """A direct request to an SP."""
        if not receiver & SECURE_BIT:
            refuse(direct.RECEIVER, got=receiver, expected="a known endpoint")
        two = caller.x[0] & MASK32 == fid.FFA_MSG_SEND_DIRECT_REQ2
        needed = info.DIRECT_REQ2_SEND if two else info.DIRECT_REQ_SEND
        if not caller.partition.properties & needed:
            refuse(direct.SEND_PROPERTY, got=caller.partition.properties, expected=needed)
        if (receiver, caller.partition.id) in self._hypervisor.declined:
            self._hypervisor.conventions.refuse(
                DECLINED, got=receiver, expected="an SP that has room for the VM"
            )
        return sequences.forward(self._hypervisor, pe, caller)

    def run(self, pe: PE, caller: ExecutionContext, target: int) -> Next:
        """FFA_RUN of an SP's context; if it serves a request, by whoever made the request."""
        owner = self._hypervisor.unfinished.get(target)
        if owner is not None and owner is not caller:
            refuse(cycles.RUN_CALLER, got=caller.name, expected=owner.name)
        return sequences.forward(self._hypervisor, pe, caller)

    def mailbox_of(self, partition: Partition, sender: int) -> Mailbox | None:
        """A VM's own RX/TX pair."""
        return partition.mailbox if sender == partition.id else None

    def mailbox_changed(self, pe: PE, caller: ExecutionContext, *, mapped: bool) -> Next:
        """The SPMC fills the RX of VMs that take indirect messages, so it must know them."""
        hypervisor = self._hypervisor
        vm = caller.partition
        if mapped and relay.fills_rx(hypervisor, vm):
            return sequences.run(hypervisor, pe, caller, relay.map_mailbox(hypervisor, caller))
        if not mapped and self.shares_rx(vm):
            return sequences.run(hypervisor, pe, caller, relay.unmap_mailbox(hypervisor, caller))
        return caller

    def rx_released(self, pe: PE, caller: ExecutionContext) -> Next:
        """A VM's RX goes back to its producer, which is the SPMC if it knows the buffer."""
        hypervisor = self._hypervisor
        if self.shares_rx(caller.partition):
            return sequences.run(hypervisor, pe, caller, relay.release_mailbox(hypervisor, caller))
        return caller

    def shares_rx(self, target: Partition) -> bool:
        """Whether the SPMC knows the VM's buffers."""
        return target.id in self._hypervisor.shared_mailboxes

    def deliver(
        self, pe: PE, caller: ExecutionContext, message: Message, target: Partition
    ) -> Next:
        """FFA_MSG_SEND2 to a VM, whose RX the SPMC may be filling."""
        hypervisor = self._hypervisor
        steps = relay.hand_over(hypervisor, pe, caller, message, target)
        return sequences.run(hypervisor, pe, caller, steps)

    def send_message(
        self, pe: PE, caller: ExecutionContext, message: Message, *, delayed: bool
    ) -> Next:
        """FFA_MSG_SEND2 to an SP: the SPMC reads it from the VM's own TX."""
        return sequences.run(self._hypervisor, pe, caller, relay.send_message(caller))

    def keeps_notifications(self, endpoint: int) -> bool:
        """What SPs set and get is kept by the SPMC."""
        return bool(endpoint & SECURE_BIT)

    def notification(self, pe: PE, caller: ExecutionContext) -> Next:
        """A VM's notification call that concerns SPs."""
        return notifications.relay(self._hypervisor, pe, caller)

    def relays(self, region: Region) -> bool:
        """Memory for VMs alone is relayed here; memory for an SP by the SPMC, too."""
        secure = self._hypervisor.secure_ids
        for each in region.borrowers:  # noqa: SIM110 - any() makes a generator for each call
            if each.endpoint in secure:
                return True
        return False

    def begin_memory(self, pe: PE, caller: ExecutionContext, region: Region) -> Next:
        """The SPMC gives the handle that the VM hears of with its first fragment."""
        hypervisor = self._hypervisor
        return sequences.run(
            hypervisor, pe, caller, memory.begin_memory(hypervisor, caller, region)
        )

    def abandon_memory(
        self, pe: PE, caller: ExecutionContext, region: Region, error: Exception
    ) -> Next:
        """The SPMC forgets what it was told of a transaction."""
        return sequences.run(self._hypervisor, pe, caller, memory.abandon_memory(region, error))

    def send_memory(self, pe: PE, caller: ExecutionContext, region: Region) -> Next:
        """Memory for an SP goes to the SPMC, repainted."""
        return memory.send_memory(self._hypervisor, pe, caller, region)

    def reclaim_memory(self, pe: PE, caller: ExecutionContext, region: Region, flags: int) -> Next:
        """Memory that the SPMC relays comes back from there first."""
        return memory.reclaim_memory(self._hypervisor, pe, caller, region, flags)
