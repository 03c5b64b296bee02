"""The Generic Watchdog (Arm DEN0094, Base System Architecture: Generic Watchdog).

Two stages, each one offset (WOR) long on the system counter. With the watchdog enabled:

* an explicit refresh (a write to WRR, WOR or WCS) sets the compare value to now + WOR and clears
  both signals;
* a timeout (the counter passes the compare value) in the first stage asserts WS0, the interrupt,
  and sets the compare value to now + WOR again; in the second it asserts WS1, the reset, and the
  watchdog rests until it is refreshed.

Disabled, it has no signal asserted and no deadline. This is revision 1: WOR has 48 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ffabric.machine.bus import Device
from ffabric.machine.clock import NS_PER_TICK, Clock, Event
from ffabric.machine.devices.description import DeviceDescription, Frame, RaiseIrq, Wiring
from ffabric.machine.registers import Register, RegisterDevice, RegisterMap

WCS_ENABLE = 1 << 0
WCS_WS0 = 1 << 1
WCS_WS1 = 1 << 2

OFFSET_MASK = (1 << 48) - 1

IIDR = 1 << 16 | 0x43B
"""W_IIDR: architecture revision 1, implementer Arm."""


class GenericWatchdog:
    """The watchdog behind its two frames, ``control`` and ``refresh``."""

    __slots__ = (
        "_clock",
        "_event",
        "_on_reset",
        "_raise_irq",
        "compare",
        "control",
        "enabled",
        "offset",
        "refresh",
        "ws0",
        "ws1",
    )

    def __init__(
        self, clock: Clock, raise_irq: RaiseIrq, on_reset: Callable[[], None] | None = None
    ) -> None:
        self._clock = clock
        self._raise_irq = raise_irq
        self._on_reset = on_reset
        self._event: Event | None = None
        self.enabled = False
        self.offset = 0
        self.compare = 0
        self.ws0 = False
        self.ws1 = False
        self.control = ControlFrame(self)
        self.refresh = RefreshFrame(self)

    def explicit_refresh(self) -> None:
        """Start the first stage anew, if enabled."""
        self._signal(ws0=False, ws1=False)
        if self.enabled:
            self.compare = self._clock.counter() + self.offset
        self.set_deadline()

    def set_deadline(self) -> None:
        """Wait for the counter to pass the compare value, unless there is nothing to wait for."""
        if self._event is not None:
            self._clock.cancel(self._event)
            self._event = None
        if self.enabled and not self.ws1:
            deadline = (max(self.compare, self._clock.counter()) + 1) * NS_PER_TICK
            self._event = self._clock.at(deadline, self._timeout)

    def _timeout(self) -> None:
        if self.ws0:
            self._signal(ws0=True, ws1=True)
        else:
            self.compare = self._clock.counter() + self.offset
            self._signal(ws0=True, ws1=False)
        self.set_deadline()

    def _signal(self, *, ws0: bool, ws1: bool) -> None:
        irq_changed = ws0 != self.ws0
        reset = ws1 and not self.ws1
        self.ws0 = ws0
        self.ws1 = ws1
        if irq_changed:
            self._raise_irq(ws0)
        if reset and self._on_reset is not None:
            self._on_reset()


class RefreshFrame(RegisterDevice):
    """The refresh frame: a write to WRR refreshes."""

    __slots__ = ("watchdog",)

    def __init__(self, watchdog: GenericWatchdog) -> None:
        self.watchdog = watchdog

    def _write_wrr(self, _value: int) -> None:
        self.watchdog.explicit_refresh()

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("WRR", 0x000, 0, _write_wrr),
        Register("W_IIDR", 0xFCC, IIDR),
    )


class ControlFrame(RegisterDevice):
    """The control frame: WCS, WOR, WCV."""

    __slots__ = ("watchdog",)

    def __init__(self, watchdog: GenericWatchdog) -> None:
        self.watchdog = watchdog

    def serve(self) -> None:
        """Refresh it, as a driver does."""
        self.watchdog.explicit_refresh()

    def _read_wcs(self) -> int:
        watchdog = self.watchdog
        return WCS_ENABLE * watchdog.enabled | WCS_WS0 * watchdog.ws0 | WCS_WS1 * watchdog.ws1

    def _write_wcs(self, value: int) -> None:
        self.watchdog.enabled = bool(value & WCS_ENABLE)
        self.watchdog.explicit_refresh()

    def _read_wor(self) -> int:
        return self.watchdog.offset

    def _write_wor(self, value: int) -> None:
        self.watchdog.offset = value & OFFSET_MASK
        self.watchdog.explicit_refresh()

    def _read_wcv(self) -> int:
        return self.watchdog.compare

    def _write_wcv(self, value: int) -> None:
        self.watchdog.compare = value
        self.watchdog.set_deadline()

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("WCS", 0x000, _read_wcs, _write_wcs),
        Register("WOR", 0x008, _read_wor, _write_wor, size=8),
        Register("WCV", 0x010, _read_wcv, _write_wcv, size=8),
        Register("W_IIDR", 0xFCC, IIDR),
    )


def _create(wiring: Wiring) -> tuple[Device, ...]:
    watchdog = GenericWatchdog(wiring.clock, wiring.irq(0), wiring.on_reset)
    return watchdog.control, watchdog.refresh


DESCRIPTION = DeviceDescription(
    type="generic_watchdog",
    title="Generic Watchdog",
    compatible=("arm,sbsa-gwdt",),
    frames=(Frame("control", 0x1000), Frame("refresh", 0x1000)),
    interrupts=("ws0",),
    create=_create,
)
