"""A device of `keeper` wants something while a VM asks it, and it asks `helper`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffabric import DeviceRegion, Interrupt, Partition, sp

if TYPE_CHECKING:
    from ffabric import DirectMessage, Ffa, System

SENSOR = 40


class Keeper(Partition):
    """Counts what its device wants."""

    handled = 0

    async def on_boot(self, ffa: Ffa) -> None:
        """Take the interrupt."""
        await self.enable_interrupt(ffa, SENSOR)

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Ask the helper, and answer."""
        await ffa.direct_request("helper", 1)
        await ffa.id_get()
        return request.respond(2)

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """The device wants something."""
        self.handled += 1


class Helper(Partition):
    """Answers."""


class Client(Partition):
    """Asks once."""

    async def main(self, ffa: Ffa) -> None:
        """Ask, and say who it is."""
        await ffa.direct_request("keeper", 1)
        await ffa.id_get()


def system() -> dict[str, Any]:
    """Two SPs and a VM."""
    device = DeviceRegion(
        name="sensor",
        base_address=0x1C0A_0000,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(SENSOR, 0x100),),
    )
    return {"sps": [sp(Keeper(), device_regions=(device,)), Helper()], "vms": [Client()]}


def interrupt(system: System) -> None:
    """The device wants something."""
    system.interrupt(SENSOR)


EVENTS = [interrupt]


def check(system: System, happened: list[str]) -> None:
    """Nothing that the device wanted is forgotten."""
    keeper = system.sp("keeper").software
    assert isinstance(keeper, Keeper)
    assert keeper.handled == len(happened), "an interrupt was lost"
