"""Notifications: a driver in two halves, and a VMM between the hypervisor and its VM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ffabric.abi.ffa.notifications import DELAY_SCHEDULE_RECEIVER
from ffabric.guests import interrupts
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.demo.stage import Stage
from ffabric.lab.demo.vms import expect
from ffabric.system.description.python import describe, sp
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt
from ffabric.system.spec import SystemSpec
from ffabric.system.vmm import Vmm

INTID = 40
SECURE_EDGE = 0x100
WORK_IS_DUE = 1 << 3
SENSOR = DeviceRegion(
    name="sensor",
    base_address=0x1C09_0000,
    pages=1,
    attributes=3,
    interrupts=(Interrupt(INTID, SECURE_EDGE),),
)


class Driver(Partition):
    """An SP with a device: the top half notes its interrupt, the bottom half is a request."""

    name = "driver"
    manifest: ClassVar[dict[str, object]] = {"notification_support": True}

    def __init__(self) -> None:
        super().__init__()
        self.came = 0

    async def on_boot(self, ffa: Ffa) -> None:
        """Listen to the device."""
        await interrupts.controller(ffa).enable(ffa, INTID)

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """The top half: no time for more than a note."""
        self.came += 1
        await ffa.notification_set("client", WORK_IS_DUE, DELAY_SCHEDULE_RECEIVER)

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """The bottom half, in time that the client gives."""
        came, self.came = self.came, 0
        return request.respond(came)


class Client(Partition):
    """A VM that gives the driver time when it is notified."""

    name = "client"
    manifest: ClassVar[dict[str, object]] = {"notification_support": True}

    def __init__(self) -> None:
        super().__init__()
        self.due = False
        self.handled: list[int] = []
        """How many interrupts each bottom half has seen to."""

    async def main(self, ffa: Ffa) -> None:
        """Bind the notification, then sleep until it comes."""
        await ffa.notification_bind("driver", WORK_IS_DUE)
        await self.enable_notifications(ffa)
        while True:
            await ffa.idle()
            if self.due:
                self.due = False
                answer = await ffa.direct_request("driver")
                self.handled.append(answer.payload[0])

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """The Notification Pending Interrupt came."""
        self.due |= bool(from_sps & WORK_IS_DUE)


def system() -> SystemSpec:
    """Two PEs, the driver and its client."""
    sps = [sp(Driver(), device_regions=(SENSOR,))]
    return describe(name="doorbell", pes=2, sps=sps, vms=[Client()])


class Doorbell(Stage):
    """The device interrupts twice: without a VMM, and with one."""

    describe = staticmethod(system)

    def interrupt(self) -> Iterator[str]:
        """The hypervisor injects the interrupt itself."""
        self.run()
        self.machine.gic.set_pending(INTID)
        self.run()
        expect("interrupts handled", self.software("client").handled, [1])
        yield "top half: the driver took the device's interrupt and set notification 3"
        yield "bottom half: the client was told by its NPI, and gave the driver its time"

    def vmm(self) -> Iterator[str]:
        """The hypervisor signals an eventfd; the VMM injects when it gets to run."""
        handled = self.software("client").handled
        vmm = Vmm(self.system, "client")
        for _ in range(2):
            self.machine.gic.set_pending(INTID)
            self.run()
        expect("interrupts handled before the VMM runs", handled, [1])
        signals = vmm.events[0].read()
        expect("whether the eventfd was signalled", signals > 0, expected=True)
        vmm.irq_line(vmm.npi)
        self.run()
        expect("interrupts handled", handled, [1, 2])
        yield f"two interrupts; the eventfd of the client's vCPU says {signals}, the client sleeps"
        yield "the VMM raises the NPI: one bottom half sees to both"

    scenes: ClassVar = {
        "notifications": ("A device interrupts an SP, which notifies its client", interrupt),
        "vmm": ("The same when a VMM raises the interrupts of its VM", vmm),
    }
