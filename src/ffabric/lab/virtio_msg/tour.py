"""A tour of all devices: a VM uses one of each kind, and every message is judged on the way.

In all ways in which messages and memory go, with the device side in an SP and in a VM; then with
the stand-in for Linux as the driver. The messages of June 2025 have no FIFO, and no stand-in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.virtio import ids
from ffabric.abi.virtio.gpio import Irq
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.guests.trusty.device import Channel, Service, TipcDevice
from ffabric.guests.trusty.driver import TipcDriver
from ffabric.guests.virtio import devices, drivers
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.driver.transport import DriverEnd
from ffabric.lab.virtio_msg.conform import POOL_PAGES, Outcome, run_system
from ffabric.lab.virtio_msg.judges.rules import Verdict
from ffabric.lab.virtio_msg.linux.driver import LinuxDriver
from ffabric.lab.virtio_msg.linux.uses import USES as LINUX_USES
from ffabric.system.description.python import describe

PORT: Final = "com.example.echo"
_ECHO_PORT = 7
_DISK = 1 << 20
_TYPE = 0x88B5
"""An EtherType for experiments."""
_CHIP = 0x50


class Echo(Service):
    """Says what it is told."""

    def on_message(self, channel: Channel, data: bytes) -> None:
        """Back."""
        channel.send(data)


def one_of_each() -> list[Device]:
    """A device of each kind, with something behind it."""
    network = devices.NetworkDevice()
    network.on_frame = lambda frame: network.receive(frame[6:12] + frame[:6] + frame[12:])
    gpio = devices.GpioDevice(["led", "button"], lambda line, value: gpio.drive(1, value))
    console = devices.ConsoleDevice(lambda data: console.type(data.upper()))
    tree = devices.Tree()
    tree.create(1, b"welcome", 0o100644, b"to the tour")
    return [
        devices.BlockDevice(bytearray(_DISK)),
        network,
        console,
        devices.RngDevice(seed=1),
        devices.VsockDevice({_ECHO_PORT: devices.EchoService()}),
        devices.I2cDevice({_CHIP: devices.Registers(bytes(16))}),
        gpio,
        devices.FsDevice(tree),
        TipcDevice({PORT: Echo()}),
    ]


# What is done with each: a text that tells of it. Whatever is not right is an AssertionError.


async def _disk(device: DriverEnd) -> str:
    disk = await drivers.BlockDriver.probe(device)
    content = bytes(range(256)) * 256
    await disk.write(8, content)
    await disk.flush()
    assert await disk.read(8, len(content) // 512) == content
    await disk.remove()
    return f"{len(content) >> 10} KiB written and read back"


async def _network(device: DriverEnd) -> str:
    link = await drivers.NetworkDriver.probe(device)
    for number in range(8):
        await link.send(b"\xff" * 6, _TYPE, b"frame %d" % number)
        assert (await link.receive())[2] == b"frame %d" % number
    await link.remove()
    return "8 frames sent and received"


async def _console(device: DriverEnd) -> str:
    console = await drivers.ConsoleDriver.probe(device)
    await console.write(b"hello")
    assert await console.read() == b"HELLO"
    await console.remove()
    return "a line printed, and one typed"


async def _rng(device: DriverEnd) -> str:
    source = await drivers.RngDriver.probe(device)
    assert len(set(await source.read(4096))) > 128
    await source.remove()
    return "4 KiB drawn"


async def _sockets(device: DriverEnd) -> str:
    sockets = await drivers.VsockDriver.probe(device)
    stream = await sockets.connect(_ECHO_PORT)
    for _ in range(4):
        await stream.write(b"x" * 10_000)
        assert await stream.read_all(10_000) == b"x" * 10_000
    await stream.close()
    await sockets.remove()
    return "40 kB echoed by the host"


async def _i2c(device: DriverEnd) -> str:
    adapter = await drivers.I2cDriver.probe(device)
    await adapter.write(_CHIP, b"\x04chip")
    assert await adapter.transfer([(_CHIP, b"\x04"), (_CHIP, 4)]) == [b"", b"chip"]
    await adapter.remove()
    return "registers written and read"


async def _gpio(device: DriverEnd) -> str:
    lines = await drivers.GpioDriver.probe(device)
    await lines.set_input(1)
    await lines.enable(1, Irq.RISING)
    await lines.set_output(0, 1)
    await lines.wait_for(1)
    await lines.remove()
    return "a line driven, and an interrupt of another"


async def _files(device: DriverEnd) -> str:
    files = await drivers.FsDriver.probe(device)
    assert await files.read("welcome") == b"to the tour"
    await files.make_folder("sub")
    await files.write("sub/file", b"y" * 70_000)
    assert await files.read("sub/file") == b"y" * 70_000
    await files.remove_file("sub/file")
    await files.remove_folder("sub")
    await files.remove()
    return "files read, written and removed"


async def _tipc(device: DriverEnd) -> str:
    tipc = await TipcDriver.probe(device)
    file = tipc.open()
    await file.connect(PORT)
    await file.write(b"trusty?")
    assert await file.read() == b"trusty?"
    await file.close()
    await tipc.remove()
    return "a service of Trusty's answered"


USES: Final[dict[int, Callable[[DriverEnd], Awaitable[str]]]] = {
    ids.BLOCK: _disk,
    ids.NETWORK: _network,
    ids.CONSOLE: _console,
    ids.RNG: _rng,
    ids.VSOCK: _sockets,
    ids.I2C: _i2c,
    ids.GPIO: _gpio,
    ids.FILE_SYSTEM: _files,
    ids.TIPC: _tipc,
}


class Tourist(DriverSide):
    """Uses every device; `seen` is by the name of its kind what was done with it."""

    def __init__(self, **how: Any) -> None:
        super().__init__("guest", **how)
        self.seen: dict[str, str] = {}
        self.shares = 0

    async def work(self, bus: DriverBus) -> None:
        """One after the other, then the bus is closed."""
        for number in sorted(bus.devices):
            device = bus.devices[number]
            kind = await device.identify()
            self.seen[ids.NAMES[kind]] = await USES[kind](device)
        self.shares = bus.mapping.shares
        assert await bus.close()


class Stop(Struct):
    """A part of the tour: how it went, and what is wrong with it ("" if nothing is)."""

    name: str
    messages: int
    shares: str
    seen: dict[str, str]
    problem: str


def stops(generation: Generation) -> Iterator[Stop]:
    """All parts, each run when it is asked for."""
    for indirect, static, notifications, secure, fifo in (
        (False, True, False, True, False),
        (False, False, True, True, False),
        (True, True, True, True, False),
        (True, False, True, False, False),
        (False, True, True, True, True),
        (True, False, True, False, True),
    ):
        if fifo and generation.narrow:
            continue
        tourist = Tourist(
            generation=generation,
            static=4 * POOL_PAGES if static else 0,
            indirect=indirect,
            notifications=notifications,
            fifo=fifo,
        )
        side = DeviceSide(one_of_each(), generation=generation, carriers=ALL_CARRIERS)
        outcome = _run(side, tourist, generation, secure=secure)
        words = (
            "FIFO" if fifo else "indirect" if indirect else "direct",
            "static" if static else "dynamic",
            "notified" if notifications else "polled",
            "SP" if secure else "VM",
        )
        missing = "" if len(tourist.seen) == len(USES) else "not all devices were used"
        yield Stop(
            ", ".join(words),
            outcome.messages,
            str(tourist.shares),
            tourist.seen,
            _problem(outcome) or missing,
        )
    if generation.narrow:
        return  # the stand-in for Linux does not speak it
    for indirect, secure, fifo in ((False, True, False), (True, False, False), (True, True, True)):
        linux = LinuxDriver(form=generation.name, indirect=indirect, fifo=fifo, uses=LINUX_USES)
        side = DeviceSide(one_of_each(), generation=generation, carriers=ALL_CARRIERS)
        outcome = _run(side, linux, generation, secure=secure)
        way = (
            "FIFO" if fifo else "indirect" if indirect else "direct",
            "SP" if secure else "VM",
        )
        name = f"Linux's stand-in: {', '.join(way)}"
        yield Stop(name, outcome.messages, "", {}, _problem(outcome) or linux.error)


def _run(
    side: DeviceSide, driver: DriverSide | LinuxDriver, generation: Generation, *, secure: bool
) -> Outcome:
    if secure:
        return run_system(describe(sps=[side], vms=[driver]), generation)
    return run_system(describe(sps=["unconcerned"], vms=[side, driver]), generation)


def _problem(outcome: Outcome) -> str:
    failed = outcome.report.of(Verdict.FAILED)
    if failed:
        return f"{failed[0].side.value} broke {failed[0].rule.id}: {failed[0].first}"
    return "" if outcome.ended_well else outcome.ended
