"""A device that interrupts in the secure world, and an SP that handles it."""

from ffabric.abi import hafnium
from ffabric.guests.partition import Partition
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

INTID = 40
SECURE_EDGE = 0x100


def device(intid=INTID):
    return DeviceRegion(
        name="device",
        base_address=0x1C09_0000,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(intid, SECURE_EDGE),),
    )


class Handler(Partition):
    name = "handler"

    def __init__(self, intid=INTID):
        super().__init__()
        self.intid = intid
        self.handled = 0

    async def on_boot(self, ffa):
        await ffa.call(hafnium.HF_INTERRUPT_ENABLE, self.intid, 1, 0)

    async def on_interrupt(self, kind, ffa):
        x = await ffa.call(hafnium.HF_INTERRUPT_GET)
        self.handled += 1
        await ffa.call(hafnium.HF_INTERRUPT_DEACTIVATE, x[0], x[0])
