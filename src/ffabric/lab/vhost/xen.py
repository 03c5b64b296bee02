"""The case of Xen: one VM's domain has back ends for GPIO and I2C, and another VM drives them.

The back ends are processes that speak vhost-user: daemons of rust-vmm, or ours, which stands in for
them. One VM is the device side and passes on; the other has the drivers. Between the VMs there are
indirect messages alone, as nobody sends direct requests to a VM; memory is shared as it is needed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from ffabric.abi.virtio.gpio import Direction, Irq
from ffabric.abi.virtio_msg.generations import DEFAULT, Generation
from ffabric.guests.virtio.drivers.gpio import GpioDriver
from ffabric.guests.virtio.drivers.i2c import I2cDriver, NotAcknowledged
from ffabric.guests.virtio.vhost_user.device import VhostUserDevice
from ffabric.guests.virtio.vhost_user.kinds import GPIO, I2C, Kind
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.driver.transport import DriverEnd
from ffabric.lab.running import End, run_to_end
from ffabric.lab.vhost import back_end
from ffabric.lab.vhost.back_end import CHIP, LINES
from ffabric.lab.vhost.system import boot_with
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.judges.rules import Verdict
from ffabric.lab.virtio_msg.tap import Tap
from ffabric.machine.host.vhost_user.daemon import SOCKET, Daemon

STAND_IN: Final = "the stand-in"
"""What the process is called that a kind of device is served by unless another one is given."""
_WRITTEN: Final = b"xen!"


async def _gpio(device: DriverEnd) -> str:
    """Drive the first line and read it back; await the interrupt of the second if it is wired."""
    gpio = await GpioDriver.probe(device)
    for value in (1, 0, 1):
        await gpio.set_output(0, value)
        assert await gpio.get(0) == value, f"line 0 reads as {await gpio.get(0)}, and not {value}"
    assert await gpio.direction(0) is Direction.OUT
    done = f"{gpio.count} lines, one driven and read back"
    if gpio.names == LINES:
        await gpio.set(0, 0)
        await gpio.set_input(1)
        await gpio.enable(1, Irq.RISING)
        await gpio.set(0, 1)
        await gpio.wait_for(1)
        done += ", and the interrupt of another"
    await gpio.remove()
    return done


async def _i2c(device: DriverEnd) -> str:
    """Write registers of the chip and read them back; see that nobody else answers."""
    i2c = await I2cDriver.probe(device)
    try:
        await i2c.write(CHIP, b"\4" + _WRITTEN)
        got = await i2c.transfer([(CHIP, b"\4"), (CHIP, len(_WRITTEN))])
        assert got[1] == _WRITTEN, f"registers read as {got[1].hex()}"
        done = f"registers of the chip at {CHIP:#x} written and read back"
    except NotAcknowledged:
        done = f"nobody answers at {CHIP:#x}"
    await i2c.remove()
    return done


class _Part(Struct, frozen=True):
    """A kind of device, and what is done with it."""

    kind: Kind
    use: Callable[[DriverEnd], Awaitable[str]]


PARTS: Final[dict[str, _Part]] = {"gpio": _Part(GPIO, _gpio), "i2c": _Part(I2C, _i2c)}
"""By the name of the device."""


class Shown(Struct):
    """What has become of a run: by device who has served it and what was done; what is wrong."""

    rows: list[tuple[str, str, str]]
    messages: int
    problem: str


def _found(command: Sequence[str]) -> list[str]:
    """A command with the path of its program. Raises FileNotFoundError."""
    path = shutil.which(command[0])
    if path is None:
        raise FileNotFoundError(f"there is no program {command[0]}")
    return [path, *command[1:]]


class _Guest(DriverSide):
    """The VM with the drivers."""

    def __init__(self, generation: Generation) -> None:
        super().__init__("guest", generation=generation, indirect=True, notifications=True)
        self.done: dict[str, str] = {}
        self.on_end: Callable[[], object] = lambda: None

    async def work(self, bus: DriverBus) -> None:
        """Use each device, then end the run."""
        for name, (_, end) in zip(PARTS, sorted(bus.devices.items()), strict=True):
            self.done[name] = await PARTS[name].use(end)
        await bus.close()
        self.on_end()


def show(
    commands: Mapping[str, Sequence[str]], timeout: float, generation: Generation = DEFAULT
) -> Shown:
    """Run it, with back ends of these ``commands`` by name of a device, and else the stand-in.

    It is ended after ``timeout`` seconds of virtual time, and a back end may take as many for an
    answer. Raises BackEndLost if one does not start,
    FileNotFoundError for a program that is not there.
    """
    guest, rows = _Guest(generation), []
    with ExitStack() as stack:
        devices = []
        for name, part in PARTS.items():
            if name in commands:
                command, program = _found(commands[name]), Path(commands[name][0]).name
            else:
                command = [sys.executable, "-m", back_end.__name__, name, SOCKET]
                program = STAND_IN
            how = {"name": name, "kind": program}
            daemon = stack.enter_context(Daemon(command, patience=timeout, **how))
            config = None if part.kind.config_size else b""
            devices.append(VhostUserDevice(daemon.front_end, part.kind, config=config))
            rows.append((name, f"{program} (process {daemon.pid})"))
        judges = Judges(generation)
        system = stack.enter_context(
            boot_with(devices, guest, generation=generation, in_vm="backend-domain")
        )
        Tap(system, judges)
        guest.on_end = system.machine.stop
        system.machine.clock.at(int(timeout * 1e9), system.machine.stop)
        outcome = run_to_end(system)
        outcome.raise_interruption()
    report = judges.close()
    failed = report.of(Verdict.FAILED)
    problem = ""
    if outcome.end is End.CRASHED or len(guest.done) < len(PARTS):
        problem = outcome.said or f"it was not finished within {timeout:g} s of virtual time"
    elif failed:
        problem = f"{failed[0].side.value} broke {failed[0].rule.id}: {failed[0].first}"
    shown = [(name, who, guest.done.get(name, "nothing")) for name, who in rows]
    return Shown(shown, sum(judges.messages.values()), problem)
