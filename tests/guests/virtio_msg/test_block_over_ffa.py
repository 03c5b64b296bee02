"""A disk from end to end: driver in a VM, device in an SP or in another VM, all over FF-A."""

import pytest

from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver, BlockError
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.system.crash import PartitionCrashed

SECTORS = 256
POOL = 64
GENERATION = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
STATIC = pytest.mark.parametrize("static", [0, POOL], ids=["dynamic", "static"])
NOTIFIED = pytest.mark.parametrize("notifications", [False, True], ids=["polled", "notified"])
INDIRECT = pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])


class Client(DriverSide):
    """Uses a disk in all ways, then gives everything back."""

    finished = False

    async def work(self, bus):
        self.bus = bus
        ram = bus.ffa.ram
        free = ram._used.count(0) + (self.static or 0)
        disk = self.disk = await BlockDriver.probe(bus.devices[0])
        assert disk.capacity == SECTORS
        await disk.write(3, b"sector".ljust(512, b"."))
        self.read = await disk.read(3)
        self.serial = await disk.serial()
        await disk.flush()
        await disk.write_zeroes(3, 1)
        assert await disk.read(3) == bytes(512)
        large = bytes(range(256)) * 256
        await disk.write(8, large)
        assert await disk.read(8, 128) == large
        await disk.discard(8, 128)
        assert await disk.read(8, 128) == bytes(65536)
        with pytest.raises(BlockError, match="IN at sector 256: IOERR"):
            await disk.read(SECTORS)
        await disk.remove()
        await bus.close()
        assert ram._used.count(0) == free
        self.finished = True


def check(system, client, device):
    assert client.finished
    assert client.read == b"sector".ljust(512, b".")
    assert client.serial == "serial 7"
    assert device.flushes == 1
    assert list(client.bus.areas) == []
    assert client.bus.mapping.shares == (1 if client.static else 12)


@GENERATION
@STATIC
@NOTIFIED
@INDIRECT
def test_a_disk_in_an_sp(ffabric, generation, static, notifications, indirect):
    device = BlockDevice(bytearray(SECTORS * 512), serial="serial 7")
    client = Client(
        "client",
        generation=generation,
        static=static,
        notifications=notifications,
        indirect=indirect,
    )
    devices = DeviceSide([device], generation=generation)
    system = ffabric.boot(sps=[devices], vms=[client])
    system.run()
    check(system, client, device)
    assert system.system.refusals == {}


@STATIC
@NOTIFIED
@pytest.mark.parametrize("pes", [1, 2])
def test_a_disk_in_another_vm(ffabric, static, notifications, pes):
    device = BlockDevice(bytearray(SECTORS * 512), serial="serial 7")
    client = Client("client", static=static, notifications=notifications, indirect=True)
    backend = DeviceSide([device], name="backend")
    system = ffabric.boot(sps=["unconcerned"], vms=[backend, client], pes=pes)
    system.run()
    check(system, client, device)


@pytest.mark.parametrize("seed", range(6))
@INDIRECT
@NOTIFIED
@pytest.mark.parametrize("where", ["sp", "vm"])
def test_two_vms_have_their_own_disks(ffabric, seed, where, notifications, indirect):
    """All of them on two PEs, in each other's way: whoever finds RX full or the SP busy waits."""
    if where == "vm":
        indirect = True
    disks = [BlockDevice(bytearray(SECTORS * 512), serial="serial 7") for _ in range(2)]
    how = {"notifications": notifications, "indirect": indirect}
    clients = [Client("alice", static=POOL, **how), Client("bob", **how)]
    devices = DeviceSide(name="devices")
    first = 1 if where == "sp" else 2
    for index, disk in enumerate(disks):
        devices.add(disk, driver=first + index)
    clients[1].work = _on_device(clients[1], 1)  # type: ignore[method-assign]
    inside = {"sps": [devices], "vms": clients}
    if where == "vm":
        inside = {"sps": ["unconcerned"], "vms": [devices, *clients]}
    system = ffabric.boot(**inside, pes=2, seed=seed)
    system.run()
    for disk, client in zip(disks, clients, strict=True):
        check(system, client, disk)


def _on_device(client, number):
    """The same work, on a device with another number."""

    async def work(bus):
        bus.devices[0] = bus.devices.pop(number)
        await Client.work(client, bus)

    return work


class Looker(DriverSide):
    async def work(self, bus):
        self.seen = dict(bus.devices)


@pytest.mark.parametrize(("here", "there"), [(PR28, V2), (V2, PR28)], ids=["pr28-v2", "v2-pr28"])
def test_generations_do_not_mix_and_both_sides_say_so(ffabric, here, there):
    """GET_DEVICES has its fields in another order, which its size gives away."""
    client = Looker("client", generation=here)
    devices = DeviceSide([BlockDevice(bytearray(512))], generation=there)
    reason = f"the device side speaks {there.name}, as its GET_DEVICES says, and not {here.name}"
    with pytest.raises(PartitionCrashed, match=reason):
        ffabric.boot(sps=[devices], vms=[client])
    (connection,) = devices.connections.values()
    assert connection.listed_only


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
def test_a_driver_that_reads_no_device_is_told_of_at_its_end(ffabric, generation):
    """It may speak another generation: nobody lists devices for nothing."""
    devices = DeviceSide([BlockDevice(bytearray(512))], generation=generation)
    said = []
    system = ffabric.boot(sps=[devices], vms=[Looker("looker", generation=generation)])
    system.system.listeners.append(lambda name, line: said.append(line))
    system.system.destroy_vm("looker")
    system.run()
    assert [line for line in said if "asked for none" in line and generation.name in line]


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
def test_a_driver_that_reads_its_devices_is_not(ffabric, generation):
    devices = DeviceSide([BlockDevice(bytearray(SECTORS * 512), serial="serial 7")])
    said = []
    system = ffabric.boot(sps=[devices], vms=[Client("client")])
    system.system.listeners.append(lambda name, line: said.append(line))
    system.system.destroy_vm("client")
    system.run()
    assert said == []


def test_without_devices_there_is_no_bus(ffabric):
    with pytest.raises(Exception, match=BusError.__name__):
        ffabric.boot(sps=["other"], vms=[Client("client")])
