"""What a partition manager needs of others: of the other world, and of who runs its endpoints.

Calls are handled alike in both worlds (`firmware/manager`). Where the worlds differ, a handler asks
the manager's *peer* or its *scheduler*. Each world implements both once:

========= ================================= ====================================================
protocol  of the SPMC                       of the hypervisor
========= ================================= ====================================================
Peer      `spmc/normal_world.py`            `hypervisor/spmc_link/peer.py`: the secure world,
                                            reached by SMC
Scheduler `spmc/scheduler.py`: chains of    `hypervisor/vms/scheduler.py`: vCPUs of VMs on
          calls, boot and interrupts of SPs their PEs
========= ================================= ====================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from ffabric.abi.ffa.messages import Message
    from ffabric.abi.ffa.partition_info import PartitionInfo
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE


class Peer(Protocol):
    """The other world, and the partition manager there."""

    def has(self, endpoint: int) -> bool:
        """Whether an endpoint with this ID may be there."""

    def speaks_for(self, partition: Partition, sender: int) -> bool:
        """Whether `partition` may call in the name of endpoint `sender`."""

    def partitions(self, requester: Partition, *, in_registers: bool) -> list[PartitionInfo]:
        """What `requester` may discover of the partitions there, one entry per UUID."""

    def services(self, wanted: UUID) -> list[PartitionInfo]:
        """More of the partitions there: those that were named for a UUID when asked."""

    def request(self, pe: PE, caller: ExecutionContext, receiver: int) -> Next:
        """A direct request to an endpoint there."""

    def run(self, pe: PE, caller: ExecutionContext, target: int) -> Next:
        """FFA_RUN of a context there; `target` is the call's w1."""

    # RX/TX buffers and partition messages.

    def mailbox_of(self, partition: Partition, sender: int) -> Mailbox | None:
        """The RX/TX pair of `sender`, for whom `partition` may speak."""

    def mailbox_changed(self, pe: PE, caller: ExecutionContext, *, mapped: bool) -> Next:
        """The caller's RX/TX pair has come or gone."""

    def rx_released(self, pe: PE, caller: ExecutionContext) -> Next:
        """The caller has released its RX."""

    def shares_rx(self, target: Partition) -> bool:
        """Whether the manager there fills the RX of `target` as well."""

    def deliver(
        self, pe: PE, caller: ExecutionContext, message: Message, target: Partition
    ) -> Next:
        """FFA_MSG_SEND2 to `target`, an endpoint here whose RX is shared (`shares_rx`)."""

    def send_message(
        self, pe: PE, caller: ExecutionContext, message: Message, *, delayed: bool
    ) -> Next:
        """FFA_MSG_SEND2 to an endpoint there."""

    # Notifications.

    def keeps_notifications(self, endpoint: int) -> bool:
        """Whether the manager there keeps the notifications that `endpoint` sets or gets."""

    def notification(self, pe: PE, caller: ExecutionContext) -> Next:
        """A notification call that concerns what is kept there."""

    # Memory.

    def relays(self, region: Region) -> bool:
        """Whether the manager there has to relay `region`, too."""

    def begin_memory(self, pe: PE, caller: ExecutionContext, region: Region) -> Next:
        """A transaction that lacks fragments and is to be relayed there, too: it needs a handle."""

    def abandon_memory(
        self, pe: PE, caller: ExecutionContext, region: Region, error: Exception
    ) -> Next:
        """A transaction that has begun there has come to nothing here; ``error`` says why."""

    def send_memory(self, pe: PE, caller: ExecutionContext, region: Region) -> Next:
        """A transaction that is judged here, and is to be relayed there, too."""

    def reclaim_memory(self, pe: PE, caller: ExecutionContext, region: Region, flags: int) -> Next:
        """FFA_MEM_RECLAIM of a region that is relayed there, too."""


class Scheduler(Protocol):
    """Who decides what a PE runs: of the endpoints of one manager."""

    def exited(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """An exit that is no call: an abort, idle, the end of a slice, a crash."""

    def foreign_call(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """A call that is not of the Framework: PSCI, SMCCC, or of a trusted OS."""

    def wait(self, pe: PE, ctx: ExecutionContext) -> Next:
        """FFA_MSG_WAIT, judged: who runs next?"""

    def entered_waiting(self, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
        """`ctx` is WAITING with `attention` set, and `nxt` would run: what does?"""

    def yielded(self, pe: PE, ctx: ExecutionContext) -> Next:
        """`ctx` yields though nobody lent it cycles: who runs next?"""

    def failed(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The partition of `ctx`, which has the PE, has just ABORTED: who runs next?"""

    def unrequested(self, pe: PE, ctx: ExecutionContext) -> Next:
        """`ctx` has ABORTED and nobody waits for it: who runs next?"""

    def dispatch(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The scheduler gives `pe` to `ctx`; None: it cannot run now."""

    def entering(self, pe: PE, ctx: ExecutionContext) -> None:
        """`ctx` is given cycles: the moment to signal what is pending for it."""

    def notify(self, pe: PE, state: NotificationState, vcpu: int | None, *, delayed: bool) -> None:
        """Notifications became pending (`vcpu` None: global ones): tell whoever schedules.

        `delayed`: the setter asks to wait with that until the PE leaves its world.
        """

    # Virtual interrupts.

    def interrupt_enabled(self, ctx: ExecutionContext, intid: int, on: bool) -> None:
        """`ctx` has enabled or disabled its virtual interrupt `intid`."""

    def interrupt_reconfigured(
        self, ctx: ExecutionContext, intid: int, command: int, value: int
    ) -> bool:
        """`ctx` wants its interrupt `intid` otherwise; whether it is so now."""

    def interprocessor_interrupt(self, caller: ExecutionContext, index: int) -> bool:
        """`caller` interrupts the context `index` of its endpoint; False: it cannot."""

    def interrupt_deactivated(self, ctx: ExecutionContext, intid: int) -> None:
        """`ctx` has handled its virtual interrupt `intid`."""
