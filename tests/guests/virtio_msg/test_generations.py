"""Every generation of driver side against every generation of device side."""

import itertools
from random import Random

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.virtio_msg.generations import EARLY, GENERATIONS
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio_msg.bus import BusError
from ffabric.guests.virtio_msg.partition_device import DeviceSide
from ffabric.guests.virtio_msg.partition_driver import DriverSide

NAMES = ["pr28", "v2", "alpha", "rfc1"]
PAIRS = list(itertools.product(NAMES, NAMES))


class Client(DriverSide):
    def __init__(self, **how):
        super().__init__("client", **how)
        self.problem = ""
        self.finished = False

    async def main(self, ffa):
        try:
            (bus,) = await self.open_buses(ffa)
        except BusError as error:
            self.problem = str(error)
        else:
            await self.work(bus)
        while True:
            await ffa.idle()

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        assert disk.capacity == 64
        await disk.write(3, b"sector".ljust(512, b"."))
        assert await disk.read(3) == b"sector".ljust(512, b".")
        assert len(await disk.device.read_config(0, 60)) == 60
        await disk.restart_queue(0)
        assert await disk.read(3) == b"sector".ljust(512, b".")
        console = await ConsoleDriver.probe(bus.devices[1])
        await console.write(b"hello")
        await console.emergency_write(b"!")
        await console.remove()
        await disk.remove()
        assert await bus.close()
        self.finished = True


def run(ffabric, driver, device, **how):
    console = ConsoleDevice()
    side = DeviceSide([BlockDevice(bytearray(64 * 512)), console], generation=device)
    client = Client(generation=driver, **how)
    system = ffabric.boot(sps=[side], vms=[client], start=False)
    said: list[str] = []
    system.system.listeners.append(lambda _, line: said.append(line))
    system.run()
    return client, console, said


@pytest.mark.parametrize(("driver", "device"), PAIRS)
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
def test_it_works_or_both_say_at_once_why_not(ffabric, driver, device, static):
    client, console, said = run(ffabric, driver, device, static=static)
    if driver == device:
        assert client.finished, client.problem
        assert console.output == b"hello!"
        return
    assert not client.finished
    early, other = driver in EARLY, device in EARLY
    if early and other:
        assert client.problem
    elif other:
        assert "speaks alpha or rfc1" in client.problem
    elif early:
        assert f"does not speak {driver}: its headers have 8 bytes" in client.problem
        assert any("speaks alpha or rfc1, whose headers have 4 bytes" in line for line in said)
    else:
        assert f"speaks {device}" in client.problem


def test_names_of_generations():
    assert set(NAMES) | {"v1"} == (GENERATIONS | EARLY).keys()
    with pytest.raises(ValueError, match="'beta' is no generation: they are pr28, v2, v1, alpha"):
        DeviceSide(generation="beta")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", [{"indirect": True}, {"fifo": True}])
def test_early_generations_have_direct_messages(ffabric, how):
    client, _, _ = run(ffabric, "alpha", "alpha", **how)
    assert client.problem == "alpha is spoken by direct messages here"


class Raw(DriverSide):
    """Makes direct requests of 40 bytes, as Linux and Trusty made them in 2024."""

    def __init__(self, messages):
        super().__init__("client")
        self._messages = messages
        self.answers: list[bytes] = []

    async def main(self, ffa):
        for message in self._messages:
            words = [int.from_bytes(message[at : at + 8], "little") for at in range(0, 40, 8)]
            head = (fid.FFA_MSG_SEND_DIRECT_REQ_64, ffa.endpoint << 16 | 0x8001, 0)
            x = await ffa.call(*head, *words)
            assert x[0] & 0xFFFF_FFFF == fid.FFA_MSG_SEND_DIRECT_RESP_64
            self.answers.append(b"".join(word.to_bytes(8, "little") for word in x[3:8]))
        while True:
            await ffa.idle()


def talk(ffabric, generation, *messages):
    console = ConsoleDevice()
    side = DeviceSide([BlockDevice(bytearray(64 * 512)), console], generation=generation)
    raw = Raw([message.ljust(40, b"\0") for message in messages])
    ffabric.boot(sps=[side], vms=[raw]).run()
    return raw.answers


def test_messages_of_2024_byte_by_byte(ffabric):
    activate = bytes((2, 1, 0, 0)) + (1).to_bytes(4, "little")
    info = bytes((0, 3, 0, 0))
    features = bytes((0, 4, 0, 0))
    config = bytes((0, 6, 0, 0)) + bytes((0, 0, 0, 8))
    status = bytes((0, 10, 0, 0)) + b"\1"
    vqueue = bytes((0, 11, 0, 0))
    answers = talk(ffabric, "alpha", activate, info, features, config, status, vqueue)
    assert answers[0][:8] == bytes((3, 1, 0, 0)) + (1).to_bytes(4, "little")
    assert int.from_bytes(answers[0][8:16], "little") == 3 | 255 << 8
    assert int.from_bytes(answers[0][16:24], "little") == 2, "devices"
    assert answers[1][:12] == bytes((1, 3, 0, 0)) + bytes((1, 0, 0, 0)) + bytes((2, 0, 0, 0))
    assert int.from_bytes(answers[2][8:40], "little") >> 32 & 3 == 3, "VERSION_1, ACCESS_PLATFORM"
    assert answers[3][4:16] == bytes((0, 0, 0, 8)) + (64).to_bytes(8, "little")
    assert answers[4] == bytes((1, 10, 0, 0)).ljust(40, b"\0")
    assert int.from_bytes(answers[5][8:12], "little") == 64, "largest size"


@pytest.mark.parametrize(
    ("generation", "message", "answer"),
    [
        ("alpha", bytes((2, 9)), bytes((3, 0))),
        ("alpha", bytes((0, 99)), bytes((1, 0))),
        ("alpha", bytes((0, 3, 7, 0)), bytes((1, 0, 7, 0)) + bytes((1, 0, 0, 0))),
        ("rfc1", bytes((0, 2, 7, 0)), bytes((1, 1, 7, 0)) + bytes((1, 0, 0, 0, 2))),
        ("rfc1", bytes((0, 3, 0, 0, 1)), bytes((1, 1, 0, 0)) + bytes((1, 0, 0, 0, 3))),
        ("alpha", bytes((0, 0x11, 0, 0)), bytes(40)),
        ("alpha", bytes((1, 3)), bytes(40)),
    ],
)
def test_what_cannot_be_done_is_an_error_of_that_generation(ffabric, generation, message, answer):
    activate = bytes((2, 1, 0, 0)) + (1).to_bytes(4, "little")
    assert talk(ffabric, generation, activate, message)[1].startswith(answer)


@pytest.mark.parametrize("generation", ["alpha", "rfc1"])
def test_no_message_of_40_bytes_is_too_much(ffabric, generation):
    activate = bytes((2, 1, 0, 0)) + (1).to_bytes(4, "little")
    random = Random(generation)
    messages = [
        bytes((random.choice((0, 2)), random.randrange(0x24), random.randrange(3), 0))
        + random.randbytes(36)
        for _ in range(400)
    ]
    answers = talk(ffabric, generation, activate, *messages)
    assert len(answers) == 401
