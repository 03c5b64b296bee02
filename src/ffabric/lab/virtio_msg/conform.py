"""Two sides of virtio-msg, run against each other and judged by every clause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from ffabric.abi.virtio_msg.generations import Generation
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.devices.i2c import I2cDevice, Registers
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.outside.devices import SocketDevices
from ffabric.guests.virtio_msg.outside.driver import SocketDriver
from ffabric.lab.running import End, run_to_end
from ffabric.lab.virtio_msg.examiner import Examiner
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.judges.rules import Report, Side
from ffabric.lab.virtio_msg.linux.device_side import LinuxDeviceSide
from ffabric.lab.virtio_msg.linux.driver import LinuxDriver
from ffabric.lab.virtio_msg.linux.uses import USES
from ffabric.lab.virtio_msg.lively import SlowToStop, changes
from ffabric.lab.virtio_msg.mischief import Act, Mischief
from ffabric.lab.virtio_msg.tap import Tap
from ffabric.lab.virtio_msg.worker import Worker
from ffabric.machine.host.message_socket import Listener
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe
from ffabric.system.description.python_target import TargetError, resolve_target
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import PythonSource

if TYPE_CHECKING:
    from ffabric.system.spec import SystemSpec

POOL_PAGES: Final = 64
SOCKET: Final = "socket:"
"""A peer outside: it connects to what follows, a path or 127.0.0.1:PORT."""
FIRST, AGAIN = 30.0, 3.0
"""Seconds within which a peer comes to its first run, and to each of the others by default."""
EXITS: Final = 500_000
"""After so many exits a run is taken for endless."""
ATTEMPTS: Final = 6
"""How often a worker tries in spite of mischief."""
PATIENCE: Final = 20_000_000
"""Nanoseconds that it waits then: a message that is lost does not come."""
_DISK: Final = 64 << 10
WORKER: Final = "python"
EXAMINER: Final = "examiner"
DEVICES: Final = "python"
LIVELY: Final = "lively"
LINUX: Final = "linux"
"""The stand-in for Linux's driver, or for its device side."""
CHANGE_RATE: Final = 10
"""Of a hundred messages, before how many a lively device side changes."""


class Trial(Struct, frozen=True):
    """One run of a pair.

    `driver` is "python", "examiner", "linux", "FILE.py:CLASS" of a `DriverSide`, or
    "socket:ADDRESS"; `device` is "python", "lively" (the same, whose devices change, come and go),
    "linux", "FILE.py:CLASS" of a `DeviceSide`, or "socket:ADDRESS". `secure` says that the device
    side is an SP, else it is a VM. A peer outside comes to a `listener` within `wait` seconds.
    """

    generation: Generation
    driver: str = WORKER
    device: str = DEVICES
    indirect: bool = False
    static: bool = False
    secure: bool = True
    fifo: bool = False
    listeners: Mapping[str, Listener] = {}
    wait: float = FIRST

    def __str__(self) -> str:
        carrier = "indirect" if self.indirect else "direct"
        if self.fifo:
            carrier = f"FIFO that is set up by {carrier} messages"
        mapping = "static" if self.static else "dynamic"
        where = "SP" if self.secure else "VM"
        return f"{self.generation.name}, device side in {where}, {carrier}, {mapping}"


class Outcome(Struct):
    """What has become of a run: what the judges say, how many messages, and how it ended."""

    report: Report
    messages: int
    ended: str
    ended_well: bool
    came: bool = True
    """Whether the peers outside have come."""


def trials(
    generation: Generation, driver: str, device: str, again: float = AGAIN
) -> Iterator[Trial]:
    """A pair in all of its ways: carriers and mappings, and the device side in an SP and a VM.

    Linux's device side takes no direct messages, its driver maps memory in its own way; the FIFO is
    not for device sides of a user's, as they have to offer it. Peers outside are of an SP, and of a
    VM that has a pool; they connect for each run anew. Raises TargetError for a socket that cannot
    be had, and for a name of none.
    """
    if generation.narrow and (LINUX in (driver, device) or SOCKET in driver + device):
        raise TargetError(
            f"{generation.name} is spoken by partitions alone, neither by a stand-in for Linux nor"
            " at a socket"
        )
    _check_name(driver, "driver", (WORKER, EXAMINER, LINUX))
    _check_name(device, "device", (DEVICES, LIVELY, LINUX))
    listeners = _listen(driver, device)
    mappings: tuple[bool, ...] = (False, True)
    if driver == LINUX:
        mappings = (False,)
    elif driver in listeners:
        mappings = (True,)
    ways = [
        (indirect, static, True)
        for indirect in ((True,) if device == LINUX else (False, True))
        for static in mappings
    ]
    if device not in listeners:
        ways.append((True, mappings[-1], False))
    static = driver in listeners
    fifos = [(False, static, True), (True, static, device in listeners)]
    if device == LINUX:
        fifos = [(True, static, secure) for secure in (True, False)]
    elif device not in (DEVICES, LIVELY, *listeners) or generation.narrow:
        fifos.clear()
    for number, (way, fifo) in enumerate(
        [*((way, False) for way in ways), *((way, True) for way in fifos)]
    ):
        wait = again if number else FIRST
        yield Trial(generation, driver, device, *way, fifo, listeners, wait)


def _check_name(name: str, side: str, known: Sequence[str]) -> None:
    if ":" not in name and name not in known:
        names = f"{', '.join(known)}, FILE.py:CLASS or socket:ADDRESS"
        raise TargetError(f"no {side} {name!r}: {names}{did_you_mean(name, known)}")


def close(pairs: Iterable[Trial]) -> None:
    """Close the sockets at which peers come."""
    for trial in pairs:
        for listener in trial.listeners.values():
            listener.close()


def _listen(*sides: str) -> dict[str, Listener]:
    try:
        return {
            side: Listener(side.removeprefix(SOCKET)) for side in sides if side.startswith(SOCKET)
        }
    except ValueError as error:
        raise TargetError(str(error)) from None


def devices(*, slow: bool = False) -> list[Device]:
    """A disk, a console, and an I2C adapter with a chip."""
    chip = Registers(bytes(range(16)))
    console = SlowToStop() if slow else ConsoleDevice()
    return [BlockDevice(bytearray(_DISK)), console, I2cDevice({0x50: chip})]


def _driver(trial: Trial, attempts: int) -> DriverSide | LinuxDriver:
    how: dict[str, Any] = {
        "generation": trial.generation,
        "indirect": trial.indirect,
        "static": POOL_PAGES if trial.static else 0,
        "fifo": trial.fifo,
    }
    if attempts > 1:
        how["patience"] = PATIENCE
    if trial.driver in trial.listeners:
        return SocketDriver(trial.listeners[trial.driver], wait=trial.wait, **how)
    if trial.driver == WORKER:
        return Worker(**how, notifications=trial.indirect, attempts=attempts)
    if trial.driver == LINUX:
        return LinuxDriver(
            form=trial.generation.name, indirect=trial.indirect, fifo=trial.fifo, uses=USES
        )
    if trial.driver == EXAMINER:
        return Examiner(**how)
    found = resolve_target(PythonSource(trial.driver))
    if not isinstance(found, DriverSide):
        raise TargetError(f"{trial.driver} is no DriverSide")
    for name, value in how.items():
        setattr(found, name, value)
    return found


def _device(trial: Trial) -> DeviceSide | LinuxDeviceSide:
    if trial.device == LINUX:
        return LinuxDeviceSide(form=trial.generation.name)
    if trial.device in (DEVICES, LIVELY):
        found = devices(slow=trial.device == LIVELY)
        return DeviceSide(found, generation=trial.generation, carriers=ALL_CARRIERS)
    if trial.device in trial.listeners:
        listener = trial.listeners[trial.device]
        return SocketDevices(
            listener, generation=trial.generation, wait=trial.wait, carriers=ALL_CARRIERS
        )
    target = resolve_target(PythonSource(trial.device))
    if not isinstance(target, DeviceSide):
        raise TargetError(f"{trial.device} is no DeviceSide")
    target.generation = trial.generation
    return target


def run(trial: Trial, mischief: Mischief | None = None) -> Outcome:
    """Run a pair to its end, with mischief if there is to be some.

    Of an `Examiner` only the answers are judged.
    """
    driver, device = _driver(trial, ATTEMPTS if mischief else 1), _device(trial)
    quiet = mischief is None
    if trial.device == LIVELY and isinstance(device, DeviceSide):
        mischief = mischief or Mischief(rate=CHANGE_RATE, acts=(Act.CHANGE,))
        mischief.changes.extend(changes(device))
    if trial.secure:
        spec = describe(sps=[device], vms=[driver])
    else:
        spec = describe(sps=["unconcerned"], vms=[device, driver])
    outcome = run_system(spec, trial.generation, mischief)
    for side in (driver, device):
        if isinstance(side, (SocketDriver, SocketDevices)):
            outcome.came &= side.has_come
            side.door.leave()
    if isinstance(driver, Examiner):
        for tally in outcome.report:
            if tally.side is Side.DRIVER:
                tally.passed = tally.failed = 0
    if quiet and (said := _met_with(driver, device, lively=trial.device == LIVELY)):
        outcome.ended, outcome.ended_well = said, False
    return outcome


def _met_with(driver: object, device: object, *, lively: bool) -> str:
    """What a side that judges itself has met with; Linux's driver knows which devices are gone."""
    if isinstance(driver, Worker) and driver.problems and not lively:
        return f"the driver met with: {'; '.join(driver.problems.values())}"
    if isinstance(driver, LinuxDriver) and driver.error:
        return f"Linux's driver ends with {driver.error}"
    breaks = isinstance(driver, Examiner)  # what the device side has to find wrong
    if isinstance(device, LinuxDeviceSide) and device.violations and not breaks:
        return f"Linux's device side met with: {'; '.join(device.violations)}"
    return ""


def run_system(
    spec: SystemSpec, generation: Generation, mischief: Mischief | None = None
) -> Outcome:
    """Run any system to its end, and judge all of its buses."""
    judges = Judges(generation)
    system = boot(spec)
    try:
        Tap(system, judges, mischief)
        system.machine.exit_limit = system.machine.exits + EXITS
        ended = run_to_end(system)
        ended.raise_interruption()
    finally:
        system.close()
    good = ended.end in (End.IDLE, End.STOPPED, End.POWERED_OFF)
    return Outcome(judges.close(), sum(judges.messages.values()), ended.said, good)
