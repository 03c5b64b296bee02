"""The SP805 watchdog (Arm DDI 0270).

A 32-bit counter that runs down from LOAD while INTEN is set, at ``frequency``. The first time it
reaches zero it raises the interrupt, and starts again from LOAD; the second time, with the
interrupt not cleared meanwhile and RESEN set, it asks for a reset and stops. Writing LOAD, writing
INTCLR (which clears the interrupt) and setting INTEN start it again from LOAD; clearing INTEN stops
it and withdraws the interrupt. While LOCK is locked, all other registers ignore writes.

A deadline is on the clock only for a zero that changes something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ffabric.machine.bus import Device
from ffabric.machine.clock import Clock, Event
from ffabric.machine.devices.description import DeviceDescription, Frame, RaiseIrq, Wiring
from ffabric.machine.registers import Register, RegisterDevice, RegisterMap, identification

FREQUENCY = 32768
"""Hz of the counter: the rate of the watchdogs of Arm's Fixed Virtual Platforms."""

CONTROL_INTEN = 1 << 0
CONTROL_RESEN = 1 << 1

UNLOCK = 0x1ACC_E551
LOCK = 0xC00
"""The offset of WDOGLOCK."""

SECOND = 1_000_000_000


class Sp805(RegisterDevice):
    """A watchdog on ``clock``; ``on_reset`` is called when it asks for a reset."""

    __slots__ = (
        "_clock",
        "_event",
        "_frequency",
        "_on_reset",
        "_raise_irq",
        "_started",
        "_value",
        "control",
        "interrupt",
        "load",
        "locked",
        "reset_requested",
    )

    def __init__(
        self,
        clock: Clock,
        raise_irq: RaiseIrq,
        on_reset: Callable[[], None] | None = None,
        *,
        frequency: int = FREQUENCY,
    ) -> None:
        self._clock = clock
        self._raise_irq = raise_irq
        self._on_reset = on_reset
        self._frequency = frequency
        self._event: Event | None = None
        self._started = 0
        self._value = 0xFFFF_FFFF
        self.load = 0xFFFF_FFFF
        self.control = 0
        self.interrupt = False
        self.locked = False
        self.reset_requested = False

    @property
    def running(self) -> bool:
        """The counter is counting."""
        return bool(self.control & CONTROL_INTEN) and not self.reset_requested

    @property
    def value(self) -> int:
        """The counter."""
        if not self.running:
            return self._value
        return self._period - self._elapsed() % self._period

    @property
    def _period(self) -> int:
        """Ticks from one zero to the next; LOAD must not be 0 (3.3.1)."""
        return max(self.load, 1)

    def _elapsed(self) -> int:
        """Ticks since the counter was started."""
        return (self._clock.now - self._started) * self._frequency // SECOND

    def _restart(self) -> None:
        self._started = self._clock.now
        self._value = self.load
        self.reset_requested = False
        self._set_deadline()

    def _set_deadline(self) -> None:
        if self._event is not None:
            self._clock.cancel(self._event)
            self._event = None
        if self.running and (not self.interrupt or self.control & CONTROL_RESEN):
            ticks = (self._elapsed() // self._period + 1) * self._period
            deadline = self._started - -ticks * SECOND // self._frequency
            self._event = self._clock.at(deadline, self._zero)

    def _zero(self) -> None:
        self._event = None
        if not self.interrupt:
            self._set_interrupt(level=True)
            self._set_deadline()
            return
        self._value = 0
        self.reset_requested = True
        if self._on_reset is not None:
            self._on_reset()

    def _set_interrupt(self, *, level: bool) -> None:
        if level != self.interrupt:
            self.interrupt = level
            self._raise_irq(level)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the ``size`` bytes of ``value`` at ``offset``, if not locked."""
        if not self.locked or offset == LOCK:
            super().write(offset, size, value)

    def _read_load(self) -> int:
        return self.load

    def _write_load(self, value: int) -> None:
        self.load = value
        self._restart()

    def _read_value(self) -> int:
        return self.value

    def _read_control(self) -> int:
        return self.control

    def _write_control(self, value: int) -> None:
        was_enabled = self.control & CONTROL_INTEN
        self._value = self.value
        self.control = value & (CONTROL_INTEN | CONTROL_RESEN)
        if not self.control & CONTROL_INTEN:
            self._set_interrupt(level=False)
        if self.control & CONTROL_INTEN and not was_enabled:
            self._restart()
        else:
            self._set_deadline()

    def _write_clear(self, _value: int) -> None:
        self.serve()

    def serve(self) -> None:
        """Clear the interrupt and count from the start, as a driver does."""
        self._set_interrupt(level=False)
        self._restart()

    def _read_interrupt(self) -> int:
        return int(self.interrupt)

    def _read_lock(self) -> int:
        return int(self.locked)

    def _write_lock(self, value: int) -> None:
        self.locked = value != UNLOCK

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("WDOGLOAD", 0x000, _read_load, _write_load),
        Register("WDOGVALUE", 0x004, _read_value),
        Register("WDOGCONTROL", 0x008, _read_control, _write_control),
        Register("WDOGINTCLR", 0x00C, None, _write_clear),
        Register("WDOGRIS", 0x010, _read_interrupt),
        Register("WDOGMIS", 0x014, _read_interrupt),
        Register("WDOGLOCK", LOCK, _read_lock, _write_lock),
        *identification("WDOG", 0xFE0, (0x05, 0x18, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1)),
    )


def _create(wiring: Wiring) -> tuple[Device, ...]:
    frequency = FREQUENCY if wiring.frequency is None else wiring.frequency
    return (Sp805(wiring.clock, wiring.irq(0), wiring.on_reset, frequency=frequency),)


DESCRIPTION = DeviceDescription(
    type="sp805",
    title="SP805 watchdog",
    compatible=("arm,sp805",),
    frames=(Frame("registers", 0x1000),),
    interrupts=("wdogint",),
    create=_create,
)
