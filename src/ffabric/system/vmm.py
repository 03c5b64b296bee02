"""A VMM in the host's user space: it hears of a VM's notifications and raises its interrupts.

Where a hypervisor leaves interrupts to the host, as KVM does, it does not inject the Notification
Pending Interrupt itself: it signals an eventfd of the vCPU, the VMM reads it when the host next
lets it run, and raises the interrupt with an ioctl (KVM_IRQ_LINE). Between the two the VM may have
fetched its notifications already, and be destroyed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.state.endpoints import vm_of

if TYPE_CHECKING:
    from ffabric.system.system import System


class EventFd:
    """A counter as eventfd(2) makes one: `signal` adds one, `read` takes all."""

    def __init__(self) -> None:
        self._count = 0

    def signal(self) -> None:
        """Add one."""
        self._count += 1

    def read(self) -> int:
        """How often it was signalled since it was read last."""
        count, self._count = self._count, 0
        return count


class Vmm:
    """The VMM of one VM, from the moment it is made until the VM is destroyed.

    ``events`` holds an eventfd for each vCPU. ``on_event``, if given, is called with the number of
    the vCPU when no vCPU executes, as soon as the eventfd is signalled; without it nothing is
    injected until somebody calls `irq_line`. Raises LookupError without a hypervisor.
    """

    def __init__(
        self, system: Any, vm: str, on_event: Callable[[Vmm, int], None] | None = None
    ) -> None:
        self._system: System = system
        self._hypervisor = self._system.hypervisor
        self._vm = self._system.endpoint(vm).partition
        self._on_event = on_event
        self.npi: int = self._hypervisor.npi
        """INTID of the Notification Pending Interrupt."""
        self.events: list[EventFd] = [EventFd() for _ in self._vm.contexts]
        self._hypervisor.eventfds[self._vm.id] = self._signal

    def __repr__(self) -> str:
        return f"<Vmm of {self._vm.name}>"

    def _signal(self, vcpu: int) -> None:
        self.events[vcpu].signal()
        if (tell := self._on_event) is not None:
            self._system.machine.post(lambda: tell(self, vcpu))

    def irq_line(self, intid: int, vcpu: int = 0) -> None:
        """Make ``intid`` pending for a vCPU, or for the VM if it is an SPI (KVM_IRQ_LINE).

        Nothing happens if the VM is destroyed.
        """
        if self._vm.alive:
            interrupts.inject(self._hypervisor, vm_of(self._vm), intid, vcpu)

    def close(self) -> None:
        """Let the hypervisor inject the interrupts itself again."""
        self._hypervisor.eventfds.pop(self._vm.id, None)
