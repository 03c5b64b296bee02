"""Two SPs have a device each, and neither may be interrupted while it handles its interrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffabric import DeviceRegion, Interrupt, Partition, sp

if TYPE_CHECKING:
    from ffabric import Ffa, System


class Keeper(Partition):
    """Handles its device, in two steps."""

    def __init__(self, name: str, intid: int) -> None:
        super().__init__()
        self.name = name
        self.intid = intid
        self.busy = False
        self.met_busy: list[str] = []
        self.others: list[Keeper] = []

    async def on_boot(self, ffa: Ffa) -> None:
        """Take the interrupt."""
        await self.enable_interrupt(ffa, self.intid)

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """The device wants something."""
        self.met_busy += [each.name for each in self.others if each.busy]
        self.busy = True
        await ffa.id_get()
        await ffa.id_get()
        self.busy = False


class Client(Partition):
    """Makes calls."""

    async def main(self, ffa: Ffa) -> None:
        """Time passes."""
        for _ in range(3):
            await ffa.id_get()


def _device(intid: int) -> DeviceRegion:
    return DeviceRegion(
        name=f"sensor-{intid}",
        base_address=0x1C09_0000 + (intid << 16),
        pages=1,
        attributes=3,
        interrupts=(Interrupt(intid, 0x100),),
    )


def system() -> dict[str, Any]:
    """Two SPs and a VM."""
    one, two = Keeper("one", 40), Keeper("two", 41)
    one.others, two.others = [two], [one]
    return {
        "sps": [sp(each, device_regions=(_device(each.intid),)) for each in (one, two)],
        "vms": [Client()],
    }


def first(system: System) -> None:
    """The device of `one` wants something."""
    system.interrupt(40)


def second(system: System) -> None:
    """The device of `two` wants something."""
    system.interrupt(41)


EVENTS = [first, second]


def check(system: System, happened: list[str]) -> None:
    """Nobody has handled an interrupt in the midst of another handler."""
    for name in ("one", "two"):
        keeper = system.sp(name).software
        assert isinstance(keeper, Keeper)
        assert not keeper.met_busy, f"{name} has interrupted the handler of {keeper.met_busy[0]}"
