"""The Generic Timer: comparators on the system counter (Arm DDI 0487, D12 and I5).

A timer is a comparator: with ``count`` = system counter - offset,

* the condition is met when ``count >= CVAL``, unsigned, and goes away when CVAL moves past the
  count, or when the count wraps (which takes an offset ahead of the counter: it is 64 bits wide);
* CTL.ISTATUS is the condition while CTL.ENABLE is set;
* the interrupt line is ISTATUS and not CTL.IMASK: a level, so that moving CVAL, masking or
  disabling lowers it;
* TVAL is a view of CVAL: it reads CVAL - count and writes CVAL = count + TVAL, signed, 32 bits.

So nothing happens between two accesses but the edge where the count reaches CVAL, or wraps: that is
the one deadline on the clock, and only if it can change the line. The same comparator serves the
physical and virtual timers of a PE (system registers) and those of a memory-mapped CNTBase frame
such as AP_REFCLK.
"""

from __future__ import annotations

from typing import ClassVar

from ffabric.abi.words import MASK32, MASK64
from ffabric.machine.bus import Device
from ffabric.machine.clock import FREQUENCY, NS_PER_TICK, Clock, Event
from ffabric.machine.devices.description import (
    DeviceDescription,
    Frame,
    RaiseIrq,
    Wiring,
    unconnected,
)
from ffabric.machine.registers import Register, RegisterArray, RegisterDevice, RegisterMap, stored

CTL_ENABLE = 1 << 0
CTL_IMASK = 1 << 1
CTL_ISTATUS = 1 << 2


FAR_TICKS = 1 << 56
"""A deadline this many ticks away (36 years) is none: software that wants no interrupt sets it."""

PPI_PHYSICAL = 30
"""The INTID of the EL1 physical timer of the Non-secure state (Arm DEN0094)."""
PPI_SECURE_PHYSICAL = 29
"""The INTID of the EL1 physical timer of the Secure state."""
PPI_SECURE_EL2 = 20
"""The INTID of the EL2 physical timer of the Secure state."""
PPI_EL2 = 26
"""The INTID of the EL2 physical timer of the Non-secure state."""
PPI_VIRTUAL = 27
"""The INTID of the EL1 virtual timer."""


class Timer:
    """One comparator on ``clock``; ``raise_irq`` gets the level of its line when that changes."""

    __slots__ = ("_clock", "_compare", "_control", "_event", "_level", "_offset", "_raise_irq")

    def __init__(self, clock: Clock, raise_irq: RaiseIrq) -> None:
        self._clock = clock
        self._raise_irq = raise_irq
        self._control = 0
        self._compare = 0
        self._offset = 0
        self._level = False
        self._event: Event | None = None

    @property
    def is_asserted(self) -> bool:
        """The level of its line."""
        return self._level

    @property
    def count(self) -> int:
        """The system counter as the timer sees it."""
        return self._clock.counter() - self._offset & MASK64

    @property
    def offset(self) -> int:
        """What the count lags behind the system counter (CNTVOFF)."""
        return self._offset

    @offset.setter
    def offset(self, value: int) -> None:
        self._offset = value & MASK64
        self._update()

    @property
    def control(self) -> int:
        """CTL: ENABLE, IMASK, and read-only ISTATUS."""
        met = self._control & CTL_ENABLE and self.count >= self._compare
        return self._control | CTL_ISTATUS * bool(met)

    @control.setter
    def control(self, value: int) -> None:
        self._control = value & (CTL_ENABLE | CTL_IMASK)
        self._update()

    @property
    def compare(self) -> int:
        """CVAL."""
        return self._compare

    @compare.setter
    def compare(self, value: int) -> None:
        self._compare = value & MASK64
        self._update()

    @property
    def value(self) -> int:
        """TVAL, as its 32 bits."""
        return self._compare - self.count & MASK32

    @value.setter
    def value(self, value: int) -> None:
        signed = (value & MASK32 ^ 0x8000_0000) - 0x8000_0000
        self.compare = self.count + signed

    @property
    def remaining(self) -> int | None:
        """Nanoseconds until its interrupt; None if it is disabled or masked."""
        if self._control != CTL_ENABLE:
            return None
        return max(self._compare - self.count, 0) * NS_PER_TICK

    def _update(self) -> None:
        if self._event is not None:
            self._clock.cancel(self._event)
            self._event = None
        unmasked = self._control == CTL_ENABLE
        count = self.count
        met = count >= self._compare
        to_next = MASK64 + 1 - count if met else self._compare - count
        if unmasked and to_next < FAR_TICKS:
            deadline = (self._clock.counter() + to_next) * NS_PER_TICK
            self._event = self._clock.at(deadline, self._update)
        level = unmasked and met
        if level != self._level:
            self._level = level
            self._raise_irq(level)


class ArchitectedTimers:
    """The timers of EL1 and S-EL1 on one PE, and the counters beside them."""

    __slots__ = ("clock", "physical", "secure", "virtual")

    def __init__(
        self,
        clock: Clock,
        raise_physical: RaiseIrq,
        raise_virtual: RaiseIrq = unconnected,
        raise_secure: RaiseIrq = unconnected,
    ) -> None:
        self.clock = clock
        self.physical = Timer(clock, raise_physical)
        self.virtual = Timer(clock, raise_virtual)
        self.secure = Timer(clock, raise_secure)

    def turn_off(self) -> None:
        """Disable all of them, as they are when their PE comes up."""
        for timer in (self.physical, self.virtual, self.secure):
            timer.control = 0

    def timer_of(self, name: str) -> Timer:
        """The timer that a system register belongs to."""
        return self._find(name)[0]

    def sysreg_read(self, name: str) -> int:
        """Read a system register such as ``CNTP_CTL_EL0``."""
        timer, attribute = self._find(name)
        return FREQUENCY if attribute is None else int(getattr(timer, attribute))

    def sysreg_write(self, name: str, value: int) -> None:
        """Write a system register; writes to the counters and to CNTFRQ_EL0 are ignored."""
        timer, attribute = self._find(name)
        if attribute not in {None, "count"}:
            setattr(timer, str(attribute), value)

    def _find(self, name: str) -> tuple[Timer, str | None]:
        try:
            _encoding, kind, attribute = SYSTEM_REGISTERS[name]
        except KeyError:
            raise ValueError(f"no Generic Timer system register {name}") from None
        timer: Timer = getattr(self, kind)
        return timer, attribute


Encoding = tuple[int, int, int, int, int]

SYSTEM_REGISTERS: dict[str, tuple[Encoding, str, str | None]] = {
    "CNTFRQ_EL0": ((3, 3, 14, 0, 0), "physical", None),
    "CNTPCT_EL0": ((3, 3, 14, 0, 1), "physical", "count"),
    "CNTVCT_EL0": ((3, 3, 14, 0, 2), "virtual", "count"),
    "CNTPCTSS_EL0": ((3, 3, 14, 0, 5), "physical", "count"),
    "CNTVCTSS_EL0": ((3, 3, 14, 0, 6), "virtual", "count"),
    "CNTP_TVAL_EL0": ((3, 3, 14, 2, 0), "physical", "value"),
    "CNTP_CTL_EL0": ((3, 3, 14, 2, 1), "physical", "control"),
    "CNTP_CVAL_EL0": ((3, 3, 14, 2, 2), "physical", "compare"),
    "CNTV_TVAL_EL0": ((3, 3, 14, 3, 0), "virtual", "value"),
    "CNTV_CTL_EL0": ((3, 3, 14, 3, 1), "virtual", "control"),
    "CNTV_CVAL_EL0": ((3, 3, 14, 3, 2), "virtual", "compare"),
    "CNTVOFF_EL2": ((3, 4, 14, 0, 3), "virtual", "offset"),
    "CNTPS_TVAL_EL1": ((3, 7, 14, 2, 0), "secure", "value"),
    "CNTPS_CTL_EL1": ((3, 7, 14, 2, 1), "secure", "control"),
    "CNTPS_CVAL_EL1": ((3, 7, 14, 2, 2), "secure", "compare"),
}
"""Every implemented register: encoding (op0, op1, CRn, CRm, op2), timer and its attribute."""

NAMES: dict[Encoding, str] = {row[0]: name for name, row in SYSTEM_REGISTERS.items()}
"""The name of the register with an encoding."""


def _timer_register(name: str, offset: int, timer: str, attribute: str, size: int) -> Register:
    def read(frame: CntBase) -> int:
        return int(getattr(getattr(frame, timer), attribute))

    def write(frame: CntBase, value: int) -> None:
        setattr(getattr(frame, timer), attribute, value)

    writable = attribute not in {"count", "offset"}
    return Register(name, offset, read, write if writable else None, size=size)


class CntBase(RegisterDevice):
    """A CNTBase frame: a physical and a virtual timer (DDI 0487, I5.7)."""

    __slots__ = ("el0_access", "physical", "virtual")

    def __init__(
        self, clock: Clock, raise_irq: RaiseIrq, raise_virtual: RaiseIrq = unconnected
    ) -> None:
        self.physical = Timer(clock, raise_irq)
        self.virtual = Timer(clock, raise_virtual)
        self.el0_access = 0

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        _timer_register("CNTPCT", 0x000, "physical", "count", 8),
        _timer_register("CNTVCT", 0x008, "virtual", "count", 8),
        Register("CNTFRQ", 0x010, FREQUENCY),
        stored("CNTEL0ACR", 0x014, "el0_access", 0x303),
        _timer_register("CNTVOFF", 0x018, "virtual", "offset", 8),
        _timer_register("CNTP_CVAL", 0x020, "physical", "compare", 8),
        _timer_register("CNTP_TVAL", 0x028, "physical", "value", 4),
        _timer_register("CNTP_CTL", 0x02C, "physical", "control", 4),
        _timer_register("CNTV_CVAL", 0x030, "virtual", "compare", 8),
        _timer_register("CNTV_TVAL", 0x038, "virtual", "value", 4),
        _timer_register("CNTV_CTL", 0x03C, "virtual", "control", 4),
    )


class CntCtlBase(RegisterDevice):
    """The CNTCTLBase frame over ``frames`` (DDI 0487, I5.7).

    CNTACR and CNTNSAR keep what is written; they do not restrict the frames: stage 2 does.
    """

    __slots__ = ("access", "frames", "non_secure")

    def __init__(self, *frames: CntBase) -> None:
        self.frames = frames
        self.access = [0x3F] * len(frames)
        self.non_secure = (1 << len(frames)) - 1

    def _read_tidr(self) -> int:
        return sum(0b0011 << 4 * index for index in range(len(self.frames)))

    def _read_access(self, index: int) -> int:
        return self.access[index] if index < len(self.access) else 0

    def _write_access(self, index: int, value: int) -> None:
        if index < len(self.access):
            self.access[index] = value & 0x3F

    def _read_offset(self, index: int) -> int:
        return self.frames[index].virtual.offset if index < len(self.frames) else 0

    def _write_offset(self, index: int, value: int) -> None:
        if index < len(self.frames):
            self.frames[index].virtual.offset = value

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("CNTFRQ", 0x000, FREQUENCY),
        stored("CNTNSAR", 0x004, "non_secure", 0xFF),
        Register("CNTTIDR", 0x008, _read_tidr),
        RegisterArray("CNTACR", 0x040, 8, _read_access, _write_access),
        RegisterArray("CNTVOFF", 0x080, 8, _read_offset, _write_offset, size=8),
    )


def _create(wiring: Wiring) -> tuple[Device, ...]:
    base = CntBase(wiring.clock, wiring.irq(0), wiring.irq(1))
    return base, CntCtlBase(base)


DESCRIPTION = DeviceDescription(
    type="generic_timer",
    title="Memory-mapped Generic Timer",
    compatible=("arm,armv7-timer-mem",),
    frames=(Frame("base", 0x1000), Frame("control", 0x1000)),
    interrupts=("physical", "virtual"),
    create=_create,
)
