"""Devices in an SP under a VM's drivers, in all ways in which messages and memory go."""

import pytest

from ffabric.abi.virtio_msg.generations import DEFAULT, PR28, V2
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide

MODES = pytest.mark.parametrize(
    "how",
    [
        {"generation": PR28, "static": 256},
        {"generation": V2, "notifications": True},
        {"generation": PR28, "static": 256, "notifications": True, "indirect": True},
        {"generation": V2, "indirect": True},
    ],
    ids=["polled-static", "notified-dynamic", "indirect-notified", "indirect-polled"],
)


class Vm(DriverSide):
    """Does what it is given to do."""

    def __init__(self, work, name="vm", **how):
        super().__init__(name, **how)
        self._work = work
        self.finished = False

    async def work(self, bus):
        await self._work(bus)
        self.finished = True


def run(ffabric, devices, work, **how):
    """The work with devices, to its end; the device side."""
    side = DeviceSide(devices, generation=how.get("generation", DEFAULT))
    client = Vm(work, **how)
    system = ffabric.boot(sps=[side], vms=[client])
    system.run()
    assert client.finished
    return side


def run_vms(ffabric, side, works, **how):
    """Several VMs, each with its own work, named vm0, vm1, ...; all of them finish."""
    clients = [Vm(work, f"vm{index}", **how) for index, work in enumerate(works)]
    system = ffabric.boot(sps=[side], vms=clients)
    system.run()
    assert [client.finished for client in clients] == [True] * len(clients)
