"""The registers that the Distributor and each Redistributor have for their bank of interrupts.

The same registers at the same offsets (Arm IHI 0069, 12.9 and 12.11): in the Distributor for the
SPIs, in a Redistributor's SGI frame for the SGIs and PPIs of its PE. With two Security states a
Non-secure access sees Non-secure Group 1 only: fields of other interrupts are RAZ/WI unless
GICD_NSACR lends them, priorities are shifted (4.8.1), and the registers that assign groups are
RAZ/WI altogether.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ffabric.abi.words import MASK32
from ffabric.machine.gic.interrupts import (
    PRIORITY_MASK,
    SGIS,
    InterruptBank,
    from_non_secure_priority,
    non_secure_priority,
)
from ffabric.machine.registers import (
    Register,
    RegisterArray,
    RegisterDevice,
    identification,
)

if TYPE_CHECKING:
    from ffabric.machine.gic.gic import Gic

Getter = Callable[[InterruptBank], int]
Setter = Callable[[InterruptBank, int], None]


IIDR = 0x0000_043B
"""GICD_IIDR and GICR_IIDR: implementer Arm (JEP106 0x43B), product 0."""

IDENTIFICATION = (
    *(0x04, 0x00, 0x00, 0x00),  # PIDR4 to PIDR7: JEP106 continuation code 4
    *(0x92, 0xB4, 0x3B, 0x00),  # PIDR0 to PIDR3: Arm; PIDR2.ArchRev = 3 (GICv3)
    *(0x0D, 0xF0, 0x05, 0xB1),  # CIDR0 to CIDR3
)
"""The words from 0xFFD0 on of every frame (12.1)."""


def identification_registers(prefix: str, base: int) -> tuple[Register, ...]:
    """PIDR4 to CIDR3 of the frame at ``base``."""
    return identification(prefix, base + 0xFFD0, IDENTIFICATION)


NEVER_LENT = 4
"""An NSACR level no interrupt has."""


class BankFrame(RegisterDevice):
    """One Security state's view of a bank."""

    __slots__ = ("bank", "gic", "secure")

    def __init__(self, gic: Gic, bank: InterruptBank, *, secure: bool) -> None:
        self.gic = gic
        self.bank = bank
        self.secure = secure

    def changed(self) -> None:
        """What is pending may have changed for the PEs that the bank serves."""
        self.gic.changed()

    def visible(self, lent: int = NEVER_LENT) -> int:
        """The interrupts this view may touch: its own and those NSACR lends at level ``lent``."""
        return self.bank.implemented if self.secure else self.bank.non_secure


def _bits(
    name: str,
    offset: int,
    intids: range,
    access: tuple[Getter, Setter],
    lent: tuple[int, int] = (NEVER_LENT, NEVER_LENT),
) -> RegisterArray:
    """One bit for each interrupt: the setter gets the visible bits that were written as ones.

    ``lent`` are the NSACR levels that let the Non-secure state read and write.
    """
    get, put = access
    read_lent, write_lent = lent
    first = intids.start

    def read(frame: BankFrame, word: int) -> int:
        return (get(frame.bank) & frame.visible(read_lent)) >> first + 32 * word & MASK32

    def write(frame: BankFrame, word: int, value: int) -> None:
        put(frame.bank, value << first + 32 * word & frame.visible(write_lent))
        frame.changed()

    return RegisterArray(name, offset, len(intids) // 32, read, write)


def _group_bits(name: str, offset: int, intids: range, attribute: str) -> RegisterArray:
    """One bit for each interrupt, read and written as a whole by the Secure state only."""
    first = intids.start

    def read(frame: BankFrame, word: int) -> int:
        if not frame.secure:
            return 0
        return int(getattr(frame.bank, attribute)) >> first + 32 * word & MASK32

    def write(frame: BankFrame, word: int, value: int) -> None:
        if frame.secure:
            at = first + 32 * word
            mask = MASK32 << at & frame.bank.implemented
            kept = getattr(frame.bank, attribute) & ~mask
            setattr(frame.bank, attribute, kept | value << at & mask)
            frame.changed()

    return RegisterArray(name, offset, len(intids) // 32, read, write)


def _priorities(name: str, offset: int, intids: range) -> RegisterArray:
    """A byte for each interrupt."""
    first = intids.start

    def read(frame: BankFrame, index: int) -> int:
        intid = first + index
        if not frame.visible() >> intid & 1:
            return 0
        priority = frame.bank.priority[intid]
        return priority if frame.secure else non_secure_priority(priority)

    def write(frame: BankFrame, index: int, value: int) -> None:
        intid = first + index
        if frame.visible() >> intid & 1:
            priority = value & PRIORITY_MASK if frame.secure else from_non_secure_priority(value)
            frame.bank.priority[intid] = priority
            frame.changed()

    return RegisterArray(name, offset, len(intids), read, write, size=1)


def _configurations(name: str, offset: int, intids: range) -> RegisterArray:
    """Two bits for each interrupt, of which the upper one says that it is edge-triggered."""
    first = intids.start

    def read(frame: BankFrame, word: int) -> int:
        edge = (frame.bank.edge & frame.visible()) >> first + 16 * word
        return sum(2 << 2 * field for field in range(16) if edge >> field & 1)

    def write(frame: BankFrame, word: int, value: int) -> None:
        at = first + 16 * word
        edge = sum(1 << field for field in range(16) if value >> 2 * field & 2)
        mask = 0xFFFF << at & frame.visible() & ~SGIS
        frame.bank.edge = frame.bank.edge & ~mask | edge << at & mask
        frame.changed()

    return RegisterArray(name, offset, len(intids) // 16, read, write)


def _ns_access(name: str, offset: int, intids: range) -> RegisterArray:
    """Two bits for each interrupt: what the Non-secure state may do with a Secure one."""
    first = intids.start

    def read(frame: BankFrame, word: int) -> int:
        if not frame.secure:
            return 0
        levels = [bits >> first + 16 * word for bits in frame.bank.ns_access[1:]]
        return sum(sum(level >> field & 1 for level in levels) << 2 * field for field in range(16))

    def write(frame: BankFrame, word: int, value: int) -> None:
        if not frame.secure:
            return
        at = first + 16 * word
        mask = 0xFFFF << at & frame.bank.implemented
        for level in (1, 2, 3):
            bits = sum(1 << field for field in range(16) if value >> 2 * field & 3 >= level)
            kept = frame.bank.ns_access[level] & ~mask
            frame.bank.ns_access[level] = kept | bits << at & mask

    return RegisterArray(name, offset, len(intids) // 16, read, write)


def _enable(bank: InterruptBank, bits: int) -> None:
    bank.enabled |= bits


def _disable(bank: InterruptBank, bits: int) -> None:
    bank.enabled &= ~bits


def _activate(bank: InterruptBank, bits: int) -> None:
    bank.active |= bits


def _enabled(bank: InterruptBank) -> int:
    return bank.enabled


def _pending(bank: InterruptBank) -> int:
    return bank.pending


def _active(bank: InterruptBank) -> int:
    return bank.active


_ENABLE = (_enabled, _enable)
_DISABLE = (_enabled, _disable)
_SET_PENDING = (_pending, InterruptBank.set_pending)
_CLEAR_PENDING = (_pending, InterruptBank.clear_pending)
_ACTIVATE = (_active, _activate)
_DEACTIVATE = (_active, InterruptBank.deactivate)


class Offsets(NamedTuple):
    """Where the registers of a range of interrupts begin in a frame (12.8); 0: it has none."""

    igroupr: int
    isenabler: int
    icenabler: int
    ispendr: int
    icpendr: int
    isactiver: int
    icactiver: int
    ipriorityr: int
    icfgr: int
    igrpmodr: int
    nsacr: int

    def above(self, base: int) -> Offsets:
        """These offsets in a frame that begins at ``base``."""
        return Offsets(*(base + each for each in self))

    def after(self, count: int) -> Offsets:
        """Those of the interrupts behind the first ``count`` ones, which have no NSACR."""
        bits, bytes_, fields = count // 8, count, count // 4
        steps = (*(bits,) * 7, bytes_, fields, bits)
        found = (each + step for each, step in zip(self[:-1], steps, strict=True))
        return Offsets(*(*found, 0))


SPI_OFFSETS = Offsets(
    *(0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0x400, 0xC00, 0xD00, 0xE00)
)
EXTENDED_SPI_OFFSETS = Offsets(
    *(0x1000, 0x1200, 0x1400, 0x1600, 0x1800, 0x1A00, 0x1C00, 0x2000, 0x3000, 0x3400, 0x3600)
)


def bank_registers(
    prefix: str, intids: range, at: Offsets, *, suffix: str = ""
) -> tuple[RegisterArray, ...]:
    """The registers of the interrupts ``intids``, a multiple of 32 of them."""

    def name(register: str) -> str:
        return f"{prefix}_{register}{suffix}"

    found = (
        _group_bits(name("IGROUPR"), at.igroupr, intids, "non_secure"),
        _bits(name("ISENABLER"), at.isenabler, intids, _ENABLE),
        _bits(name("ICENABLER"), at.icenabler, intids, _DISABLE),
        _bits(name("ISPENDR"), at.ispendr, intids, _SET_PENDING, (1, 1)),
        _bits(name("ICPENDR"), at.icpendr, intids, _CLEAR_PENDING, (2, 2)),
        _bits(name("ISACTIVER"), at.isactiver, intids, _ACTIVATE, (2, NEVER_LENT)),
        _bits(name("ICACTIVER"), at.icactiver, intids, _DEACTIVATE, (2, NEVER_LENT)),
        _priorities(name("IPRIORITYR"), at.ipriorityr, intids),
        _configurations(name("ICFGR"), at.icfgr, intids),
        _group_bits(name("IGRPMODR"), at.igrpmodr, intids, "modifier"),
    )
    return (*found, _ns_access(name("NSACR"), at.nsacr, intids)) if at.nsacr else found
