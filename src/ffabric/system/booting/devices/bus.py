"""The devices that a system's description names, created and put on the bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ffabric.machine.devices.catalogue import TYPES
from ffabric.machine.devices.description import Wiring
from ffabric.machine.devices.generic_watchdog import ControlFrame
from ffabric.machine.devices.pl011 import Pl011
from ffabric.machine.devices.sp805 import Sp805

if TYPE_CHECKING:
    from ffabric.machine.devices.description import DmaPort, SmmuPort
    from ffabric.machine.lines import Printer
    from ffabric.machine.machine import Machine
    from ffabric.system.spec import DeviceSpec


def add_devices(
    machine: Machine,
    specs: tuple[DeviceSpec, ...],
    *,
    on_line: Callable[[str, str], None],
    on_reset: Callable[[str], None],
    served: dict[int, Callable[[], object]],
    ports: Mapping[str, DmaPort],
    smmus: Mapping[str, SmmuPort],
) -> list[Printer]:
    """Create the devices of ``specs``: their frames on the bus, their interrupts at the GIC.

    ``on_line`` gets the device's name and each line that its console prints, ``on_reset`` the name
    of a watchdog that wants the system reset, ``served`` how the watchdogs are refreshed, by the
    interrupts that they raise, ``ports`` has the way to memory of devices that have one, by name,
    ``smmus`` that of SMMUs whose registers somebody has.
    The consoles among them are returned.
    """
    consoles: list[Printer] = []
    for spec in specs:
        irqs = [partial(machine.gic.set_level, spec.interrupt)] if spec.interrupt else []
        frequency = spec.options.get("frequency")
        frames = TYPES[spec.type].create(
            Wiring(
                clock=machine.clock,
                irqs=irqs,
                on_line=partial(on_line, spec.name),
                on_reset=partial(on_reset, spec.name) if spec.options.get("resets", True) else None,
                frequency=frequency,
                dma=ports.get(spec.name),
                smmu=smmus.get(spec.name),
            )
        )
        for base, frame in zip(spec.bases, frames, strict=False):
            machine.bus.add(base, spec.size, frame, secure=spec.secure)
        if spec.interrupt is not None and isinstance(frames[0], Sp805 | ControlFrame):
            served[spec.interrupt] = frames[0].serve
        consoles += [each for each in frames if isinstance(each, Pl011)]
    return consoles
