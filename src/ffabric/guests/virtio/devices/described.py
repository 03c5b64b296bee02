"""Devices from the [[virtio]] tables of a system's file.

What each type's table may say is declared in `ffabric.system.description.toml.keys`.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ffabric.abi.virtio.block import SECTOR
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.devices.fs import FsDevice
from ffabric.guests.virtio.devices.fs_tree import FsError, read_folder
from ffabric.guests.virtio.devices.gpio import GpioDevice
from ffabric.guests.virtio.devices.i2c import I2cDevice, Registers
from ffabric.guests.virtio.devices.network import Network, NetworkDevice
from ffabric.guests.virtio.devices.rng import RngDevice
from ffabric.guests.virtio.devices.vsock import EchoService, VsockDevice
from ffabric.system.description.python_target import TargetError, resolve_target
from ffabric.system.spec import PythonSource

Say = Callable[[str], object]
Table = Mapping[str, Any]
CHIP: Final = 256
"""Registers of a chip at an I2C adapter."""


class DescriptionError(ValueError):
    """A device cannot be what its table says; the message says why, in one line."""


def made_devices(tables: Sequence[Table], say: Say) -> Iterator[tuple[Device, str | None]]:
    """Each device, and the partition whose it is. ``say`` gets the lines that consoles print.

    Raises DescriptionError.
    """
    networks: dict[str, Network] = {}
    for table in tables:
        name = str(table["name"])
        try:
            device = _MAKERS[table["type"]](table, networks, partial(_say_as, name, say))
        except OSError as error:
            path = f"{error.filename}: " if error.filename else ""
            reason = f"{path}{error.strerror or error}"
            raise DescriptionError(f"[[virtio]] {name}: {reason}") from None
        except (FsError, ValueError) as error:
            raise DescriptionError(f"[[virtio]] {name}: {error}") from None
        yield device, table.get("driver")


def _say_as(name: str, say: Say, line: str) -> None:
    say(f"{name}: {line}")


def _some(table: Table, *names: str) -> dict[str, Any]:
    """What the table says of these."""
    return {name: table[name] for name in names if name in table}


def _block(table: Table, _networks: dict[str, Network], _say: Say) -> Device:
    how = _some(table, "read_only", "serial")
    image, size = table.get("image"), table.get("size")
    if image is not None:
        write_back = table.get("write_back", False)
        return BlockDevice(disk_image(Path(image), size, write_back=write_back), **how)
    if not size:
        raise ValueError("it needs an image or a size")
    return BlockDevice(bytearray(size), **how)


def disk_image(path: Path, size: int | None, *, write_back: bool) -> bytearray | mmap.mmap:
    """The content of a disk of ``size`` bytes, the file's if None: a copy, or the file itself.

    With ``write_back`` the file grows to ``size``, and what is written to the content reaches it.
    OSError if the file cannot be read or written, ValueError if it is no image of such a disk.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is not a regular file")
    there = found.st_size
    size = there if size is None else size
    if not size:
        raise ValueError(f"{path} is empty")
    if there % SECTOR:
        raise ValueError(f"{path} has {there} bytes: no multiple of {SECTOR}, a sector")
    if there > size:
        raise ValueError(f"{path} has {there} bytes, and the disk is to have {size}")
    if write_back:
        with path.open("r+b") as file:
            os.truncate(file.fileno(), size)
            return mmap.mmap(file.fileno(), size)
    data = bytearray(path.read_bytes())
    data.extend(bytes(size - there))
    return data


def _network(table: Table, networks: dict[str, Network], _say: Say) -> Device:
    network = networks.setdefault(table["network"], Network()) if "network" in table else Network()
    how = _some(table, "mtu")
    if "mac" not in table:
        return network.interface(**how)
    device = NetworkDevice(mac=bytes.fromhex(table["mac"].replace(":", "")), **how)
    network.join(device)
    return device


def _console(table: Table, _networks: dict[str, Network], say: Say) -> Device:
    line = bytearray()

    def printed(data: bytes) -> None:
        line.extend(data)
        *whole, rest = bytes(line).split(b"\n")
        for each in whole:
            say(each.rstrip(b"\r").decode("utf-8", "backslashreplace"))
        line[:] = rest

    return ConsoleDevice(printed, **_some(table, "cols", "rows"))


def _rng(table: Table, _networks: dict[str, Network], _say: Say) -> Device:
    return RngDevice(**_some(table, "seed"))


def _vsock(table: Table, _networks: dict[str, Network], _say: Say) -> Device:
    services = {table["echo"]: EchoService()} if "echo" in table else {}
    return VsockDevice(services, **_some(table, "cid"))


def _i2c(table: Table, _networks: dict[str, Network], _say: Say) -> Device:
    targets = table.get("targets", ())
    for address in targets:
        if address >= 1 << 7:
            raise ValueError(f"{address:#x} is no 7-bit address")
    return I2cDevice({address: Registers(bytes(CHIP)) for address in targets})


def _gpio(table: Table, _networks: dict[str, Network], say: Say) -> Device:
    names = table["lines"]

    def driven(line: int, value: int) -> None:
        say(f"{names[line] or f'line {line}'} = {value}")

    return GpioDevice(names, driven)


def _fs(table: Table, _networks: dict[str, Network], _say: Say) -> Device:
    tree = read_folder(Path(table["folder"])) if "folder" in table else None
    return FsDevice(tree, **_some(table, "tag"))


def _python(table: Table, _networks: dict[str, Network], _say: Say) -> Device:
    source = PythonSource(table["python"], Path(table["base"]), table["options"])
    device = resolve_target(source)
    if not isinstance(device, Device):
        raise TargetError(f"{table['python']} is not an ffabric.virtio.Device")
    return device


_MAKERS: Final[dict[str, Callable[[Table, dict[str, Network], Say], Device]]] = {
    "block": _block,
    "network": _network,
    "console": _console,
    "rng": _rng,
    "vsock": _vsock,
    "i2c": _i2c,
    "gpio": _gpio,
    "fs": _fs,
    "python": _python,
}
