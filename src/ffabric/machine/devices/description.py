"""How a device says what it is, so that a system configuration can create it by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from ffabric.machine.bus import Device
from ffabric.machine.clock import Clock

RaiseIrq = Callable[[bool], None]
"""Drives an interrupt line: True is high."""


def unconnected(_level: bool) -> None:
    """An interrupt line that leads nowhere."""


class DmaPort(Protocol):
    """A device's way to memory."""

    def copy(self, stream: int, source: int, target: int, size: int, *, secure: bool) -> None:
        """Copy `size` bytes with transactions of a StreamID; DmaFault if one is refused."""


class Translation(Protocol):
    """What an SMMU that software programs says of a transaction."""

    def translate(self, stream: int, address: int, *, write: bool) -> int:
        """Where an address leads, for whoever has programmed it. Raises `smmu.Refused`."""


class SmmuPort(Protocol):
    """What an SMMU has to do with the machine."""

    def read(self, address: int, size: int) -> bytes:
        """What is at an address of its programmer. Raises LookupError if nothing is."""

    def write(self, address: int, data: bytes) -> None:
        """Write there. Raises LookupError if nothing is there."""

    def attach(self, smmu: Translation) -> None:
        """From now on ask ``smmu`` about the streams of its programmer."""


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is connected to.

    ``irqs`` are its interrupt lines in the order of the description; those left out lead nowhere.
    ``on_byte`` gets each byte that a console sends, ``on_line`` each whole line, ``on_reset`` is
    called when a watchdog wants the system reset, ``frequency`` (Hz) is that of a device with a
    clock of its own (None: the usual one), ``dma`` is the way to memory of one that has one,
    ``smmu`` that of an SMMU, which decides over others.
    """

    clock: Clock
    irqs: Sequence[RaiseIrq] = ()
    on_byte: Callable[[int], None] | None = None
    on_line: Callable[[str], None] | None = None
    on_reset: Callable[[], None] | None = None
    frequency: int | None = None
    dma: DmaPort | None = None
    smmu: SmmuPort | None = None

    def irq(self, index: int) -> RaiseIrq:
        """Interrupt line ``index``."""
        return self.irqs[index] if index < len(self.irqs) else unconnected


class Frame(msgspec.Struct, frozen=True):
    """A register frame of a device: its name and its size in bytes."""

    name: str
    size: int


class DeviceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of device: its type, ``compatible`` strings, register frames, interrupts by name.

    ``create`` builds one and gives its frames in the order of ``frames``, the one that drivers
    need first; a system may leave the others unmapped.
    """

    type: str
    title: str
    compatible: tuple[str, ...]
    frames: tuple[Frame, ...]
    interrupts: tuple[str, ...]
    create: Callable[[Wiring], tuple[Device, ...]]
