"""Consoles and I2C adapters, and devices that come and go, through the whole stack."""

import pytest
from device_trials import Vm, run

from ffabric.abi.virtio import block as block_abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.devices.i2c import I2cDevice, Registers
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver, BlockError
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio.drivers.i2c import I2cDriver, NotAcknowledged
from ffabric.guests.virtio_msg.device.partition import DeviceSide

MODES = pytest.mark.parametrize(
    ("generation", "static", "notifications", "indirect"),
    [(PR28, 64, False, False), (V2, 0, True, False), (PR28, 64, True, True), (V2, 0, False, True)],
    ids=["polled-static", "notified-dynamic", "indirect-notified", "indirect-polled"],
)


@MODES
def test_a_console(ffabric, generation, static, notifications, indirect):
    console = ConsoleDevice(lambda data: console.type(data.upper()), cols=80, rows=24)

    async def work(bus):
        driver = await ConsoleDriver.probe(bus.devices[0])
        assert (driver.cols, driver.rows) == (80, 24)
        await driver.write(b"hello")
        assert await driver.read() == b"HELLO"
        for _ in range(20):
            await driver.write(b"x" * 300)
            got = await driver.read()
            while len(got) < 300:
                got += await driver.read()
            assert got == b"X" * 300
        await driver.emergency_write(b"!")
        assert await driver.read() == b"!"
        changes = []
        driver.device.on_config = lambda offset, length: changes.append((offset, length))  # type: ignore[attr-defined]
        console.resize(132, 43)
        await driver.device.wait(lambda: bool(changes))
        assert await driver.read_size() == (132, 43)
        await driver.remove()

    how = {"generation": generation, "static": static}
    run(ffabric, [console], work, notifications=notifications, indirect=indirect, **how)
    assert console.output == b"hello" + b"x" * 6000 + b"!"


@MODES
def test_an_i2c_adapter(ffabric, generation, static, notifications, indirect):
    clock = Registers(bytes(range(16)))

    async def work(bus):
        driver = await I2cDriver.probe(bus.devices[0])
        assert await driver.transfer([(0x68, b"\4"), (0x68, 3)]) == [b"", b"\4\5\6"]
        await driver.write(0x68, b"\2\xaa\xbb")
        assert await driver.transfer([(0x68, b"\1"), (0x68, 4)]) == [b"", b"\1\xaa\xbb\4"]
        assert await driver.read(0x68, 0) == b""
        with pytest.raises(NotAcknowledged, match="0x50"):
            await driver.read(0x50, 1)
        with pytest.raises(NotAcknowledged):
            await driver.transfer([(0x50, b"\0"), (0x68, b"\0\xff")])
        assert clock.content[0] == 0
        await driver.write(0x68, b"\0\xff")
        await driver.remove()

    how = {"generation": generation, "static": static}
    run(
        ffabric,
        [I2cDevice({0x68: clock})],
        work,
        notifications=notifications,
        indirect=indirect,
        **how,
    )
    assert clock.content[0] == 0xFF


@MODES
def test_devices_come_and_go_under_their_drivers(
    ffabric, generation, static, notifications, indirect
):
    side = DeviceSide([BlockDevice(bytearray(4096))], generation=generation)
    told = []

    async def work(bus):
        bus.on_added = lambda end: told.append(("added", end.number))
        bus.on_removed = lambda end: told.append(("removed", end.number))
        disk = await BlockDriver.probe(bus.devices[0])
        await disk.write(0, b"x" * 512)
        shared = len(bus.areas)
        number = side.add(ConsoleDevice())
        await disk.read(0)
        await bus.wait(lambda: number in bus.devices)
        assert await bus.devices[number].identify() == ids.CONSOLE
        console = await ConsoleDriver.probe(bus.devices[number])
        side.remove(number)
        with pytest.raises(DeviceLost, match="was removed"):
            await console.read()
        await console.remove()
        side.remove(0)
        with pytest.raises(DeviceLost):
            await disk.read(0)
        await disk.remove()
        assert len(bus.areas) == (1 if static else 0) < shared + 1
        again = side.add(BlockDevice(bytearray(512)))
        await bus.poll()
        await bus.wait(lambda: again in bus.devices)
        disk = await BlockDriver.probe(bus.devices[again])
        assert disk.capacity == 1

    how = {"notifications": notifications, "indirect": indirect}
    client = Vm(work, generation=generation, static=static, **how)
    system = ffabric.boot(sps=[side], vms=[client])
    system.run()
    assert client.finished
    assert told == [("added", 1), ("removed", 1), ("removed", 0), ("added", 2)]


def test_a_disk_that_is_read_only_or_broken(ffabric):
    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        with pytest.raises(BlockError, match="OUT at sector 0: IOERR"):
            await disk.write(0, bytes(512))
        for call in (disk.discard(0, 1), disk.write_zeroes(0, 1)):
            with pytest.raises(BlockError, match="UNSUPP"):  # it does not offer that
                await call
        with pytest.raises(BlockError, match="IN"):
            await disk.transfer(block_abi.Type.IN, 0, bus.ffa.ram.allocate(), 100)

    run(ffabric, [BlockDevice(bytearray(b"x" * 512), read_only=True)], work)


def test_what_a_disk_has_not_written_it_does_not_claim(ffabric):
    """The used length says how much of the buffer is the device's, from its start (2.7.8.2)."""

    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        memory, control = disk.device.memory, disk._control
        for sector, written in ((0, 513), (1, 0)):
            memory.write(control.ipa, block_abi.HEADER.pack(block_abi.Type.IN, 0, sector))
            header = (control.address, block_abi.HEADER.size, False)
            room = (control.address + 1024, 513, True)
            assert await disk.request(0, [header, room]) == written
            status = memory.read(control.ipa + 1024 + 512, 1)[0]
            assert status == (block_abi.Status.OK if written else block_abi.Status.IOERR)

    run(ffabric, [BlockDevice(bytearray(b"x" * 512))], work)


def test_a_disk_that_grows(ffabric):
    disk = BlockDevice(bytearray(512))

    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        changes = []
        driver.device.on_config = lambda offset, length: changes.append((offset, length))  # type: ignore[attr-defined]
        disk.resize(4096)
        await driver.device.wait(lambda: changes)  # type: ignore[arg-type,return-value]
        assert changes == [(0, 8)]
        assert await driver.device.read_config(0, 8) == (8).to_bytes(8, "little")
        await driver.write(7, b"z" * 512)

    run(ffabric, [disk], work)
    assert disk.data[-512:] == b"z" * 512


@MODES
def test_a_virtqueue_that_is_reset_and_set_up_again(
    ffabric, generation, static, notifications, indirect
):
    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        for content in (b"a", b"b", b"c"):
            await disk.write(0, content * 512)
            await disk.restart_queue(0)
            assert await disk.read(0) == content * 512
        await disk.remove()

    how = {"generation": generation, "static": static}
    disk = BlockDevice(bytearray(512))
    run(ffabric, [disk], work, notifications=notifications, indirect=indirect, **how)
    assert bytes(disk.data) == b"c" * 512


SEGMENT = block_abi.SEGMENT
DISCARD, ZEROES = block_abi.Type.DISCARD, block_abi.Type.WRITE_ZEROES


@pytest.mark.parametrize(
    ("type_", "flags", "status"),
    [
        (DISCARD, 0, None),
        (DISCARD, 1, "UNSUPP"),
        (DISCARD, 2, "UNSUPP"),
        (ZEROES, 0, None),
        (ZEROES, 1, None),
        (ZEROES, 1 << 31, "UNSUPP"),
        (99, 0, "UNSUPP"),
    ],
)
def test_flags_that_a_disk_does_not_know(ffabric, type_, flags, status):
    """DISCARD has no flag, WRITE_ZEROES one; whatever else is asked for is not done (5.2.6.2)."""
    disk = BlockDevice(bytearray(b"x" * 1024))

    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        ipa = bus.ffa.ram.allocate()
        bus.ffa.memory.write(ipa, SEGMENT.pack(0, 1, 0) + SEGMENT.pack(1, 1, flags))
        request = driver.begin(type_, 0, ipa, 2 * SEGMENT.size)
        if status is None:
            await driver.end(await request)
        else:
            with pytest.raises(BlockError, match=status):
                await driver.end(await request)

    run(ffabric, [disk], work)
    assert bytes(disk.data) == (bytes(1024) if status is None else b"x" * 1024)


class Plain(BlockDriver):
    """Has chosen no feature of a disk."""

    features = 0


@pytest.mark.parametrize("type_", [DISCARD, ZEROES, block_abi.Type.FLUSH])
def test_what_a_driver_has_not_chosen_is_not_done(ffabric, type_):
    async def work(bus):
        driver = await Plain.probe(bus.devices[0])
        with pytest.raises(BlockError, match="UNSUPP"):
            await driver.transfer(type_, 0)

    run(ffabric, [BlockDevice(bytearray(512))], work)
