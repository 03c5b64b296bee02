"""Network interfaces: frames between VMs, and what is no frame."""

import pytest
from device_trials import MODES, run, run_vms

from ffabric.abi.virtio import network as abi
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.virtio import devices, drivers

ALL = b"\xff" * 6
KIND = 0x88B5
"""An EtherType for experiments."""


@MODES
def test_a_frame_comes_back_from_who_has_the_other_end(ffabric, how):
    def answer(frame):
        interface.receive(frame[6:12] + frame[:6] + frame[12:].upper())

    interface = devices.NetworkDevice(answer, mac=b"\x02abcde", mtu=1400)

    async def work(bus):
        driver = await drivers.NetworkDriver.probe(bus.devices[0])
        assert (driver.mac, driver.mtu, driver.up) == (b"\x02abcde", 1400, True)
        for size in (0, 1, 46, 1400):
            await driver.send(b"\x02other", KIND, b"x" * size)
            assert await driver.receive() == (b"\x02other", KIND, b"X" * size)
        with pytest.raises(ValueError, match="1401 bytes; the MTU is 1400"):
            await driver.send(ALL, KIND, bytes(1401))
        await driver.remove()

    run(ffabric, [interface], work, **how)
    assert interface.lost == 0


@MODES
def test_vms_on_one_network_talk_to_each_other(ffabric, how):
    network = devices.Network()
    side = DeviceSide(generation=how["generation"])
    macs = []
    for vm in ("vm0", "vm1", "vm2"):
        interface = network.interface()
        macs.append(interface.mac)
        side.add(interface, vm)
    heard, ready = [], []

    async def probe(bus):
        (number,) = bus.devices
        driver = await drivers.NetworkDriver.probe(bus.devices[number])
        ready.append(driver)
        return driver

    async def caller(bus):
        driver = await probe(bus)
        while len(ready) < 3:
            await bus.ffa.yield_()
        for _ in range(20):
            await driver.send(ALL, KIND, b"who is there?")
            sender, _, payload = await driver.receive()
            assert (sender, payload) == (macs[1], b"I am")
            await driver.send(macs[1], KIND, b"for you alone")
            assert (await driver.receive())[2] == b"thank you"

    async def called(bus):
        driver = await probe(bus)
        for _ in range(20):
            sender, kind, payload = await driver.receive()
            assert (sender, kind, payload) == (macs[0], KIND, b"who is there?")
            await driver.send(sender, KIND, b"I am")
            assert (await driver.receive())[2] == b"for you alone"
            await driver.send(sender, KIND, b"thank you")

    async def bystander(bus):
        driver = await probe(bus)
        heard.extend([(await driver.receive())[2] for _ in range(20)])

    run_vms(ffabric, side, [caller, called, bystander], **how)
    assert heard == [b"who is there?"] * 20


@pytest.mark.parametrize(
    ("size", "lost"), [(0, 1), (13, 1), (14, 0), (14 + 1500, 0), (14 + 1501, 1), (5000, 1)]
)
def test_what_is_no_frame_is_lost_and_counted(ffabric, size, lost):
    sent = []
    interface = devices.NetworkDevice(sent.append)

    async def work(bus):
        driver = await drivers.NetworkDriver.probe(bus.devices[0])
        memory = await driver.allocate(8192)
        buffer = (memory.address, abi.HEADER_SIZE + size, False)
        await driver.request(abi.TRANSMIT, [buffer])

    run(ffabric, [interface], work)
    assert interface.lost == lost
    assert [len(frame) for frame in sent] == [size] * (1 - lost)


def test_frames_that_nobody_takes_are_lost_beyond_a_bound(ffabric):
    interface = devices.NetworkDevice()

    async def work(bus):
        driver = await drivers.NetworkDriver.probe(bus.devices[0])
        for number in range(400):
            interface.receive(bytes(12) + number.to_bytes(2, "big"))
        waiting = 16 + 256
        for number in range(waiting):
            assert (await driver.receive())[1] == number
        interface.receive(bytes(12) + b"\xff\xff")
        assert (await driver.receive())[1] == 0xFFFF

    run(ffabric, [interface], work)
    assert interface.lost == 400 - 16 - 256


def test_a_cable_that_is_pulled_out(ffabric):
    interface = devices.NetworkDevice()
    interface.on_frame = interface.receive

    async def work(bus):
        driver = await drivers.NetworkDriver.probe(bus.devices[0])
        changes = []
        driver.device.on_config = lambda offset, length: changes.append((offset, length))  # type: ignore[attr-defined]
        interface.plug(up=False)
        await driver.device.wait(lambda: bool(changes))
        assert not await driver.read_link()
        await driver.send(driver.mac, KIND, b"lost")
        interface.plug(up=True)
        await driver.send(driver.mac, KIND, b"there")
        assert (await driver.receive())[2] == b"there"

    run(ffabric, [interface], work)
    assert interface.lost == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"mac": b"\x01abcde"}, "address of no interface"),
        ({"mac": b"\x02abcd"}, "address of no interface"),
        ({"mtu": 67}, "an MTU is 68 to 65535, not 67"),
        ({"mtu": 65536}, "an MTU is"),
    ],
)
def test_an_interface_that_cannot_be(how, reason):
    with pytest.raises(ValueError, match=reason):
        devices.NetworkDevice(**how)


def test_an_address_is_on_a_network_once():
    network = devices.Network()
    network.interface()
    with pytest.raises(ValueError, match="two interfaces have the address 02:66:66:61:00:00"):
        network.join(devices.NetworkDevice())
    network.join(devices.NetworkDevice(mac=b"\x02abcde"))
    assert repr(network) == "<Network: 2 interfaces>"
