"""The registers that the Distributor and each Redistributor have for their bank of interrupts.

The same registers at the same offsets (Arm IHI 0069, 12.9 and 12.11): in the Distributor for the
SPIs, in a Redistributor's SGI frame for the SGIs and PPIs of its PE. With two Security states a
Non-secure access sees Non-secure Group 1 only: fields of other interrupts are RAZ/WI unless
GICD_NSACR lends them, priorities are shifted (4.8.1), and the registers that assign groups are
RAZ/WI altogether.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi.words import MASK32
from ffabric.machine.gic.interrupts import FIRST_SPI, PRIORITY_MASK, SGIS, InterruptBank
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


def non_secure_priority(priority: int) -> int:
    """A priority as the Non-secure state reads it (4.8.1): the upper half, shifted."""
    return priority << 1 & 0xFF if priority & 0x80 else 0


def from_non_secure_priority(value: int) -> int:
    """The priority that a Non-secure write of ``value`` gives (4.8.1): always in the upper half."""
    return (0x80 | value >> 1) & PRIORITY_MASK


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
    words: int,
    access: tuple[Getter, Setter],
    lent: tuple[int, int] = (NEVER_LENT, NEVER_LENT),
) -> RegisterArray:
    """One bit for each interrupt: the setter gets the visible bits that were written as ones.

    ``lent`` are the NSACR levels that let the Non-secure state read and write.
    """
    get, put = access
    read_lent, write_lent = lent

    def read(frame: BankFrame, word: int) -> int:
        return (get(frame.bank) & frame.visible(read_lent)) >> 32 * word & MASK32

    def write(frame: BankFrame, word: int, value: int) -> None:
        put(frame.bank, value << 32 * word & frame.visible(write_lent))
        frame.changed()

    return RegisterArray(name, offset, words, read, write)


def _group_bits(name: str, offset: int, words: int, attribute: str) -> RegisterArray:
    """One bit for each interrupt, read and written as a whole by the Secure state only."""

    def read(frame: BankFrame, word: int) -> int:
        return int(getattr(frame.bank, attribute)) >> 32 * word & MASK32 if frame.secure else 0

    def write(frame: BankFrame, word: int, value: int) -> None:
        if frame.secure:
            mask = MASK32 << 32 * word & frame.bank.implemented
            kept = getattr(frame.bank, attribute) & ~mask
            setattr(frame.bank, attribute, kept | value << 32 * word & mask)
            frame.changed()

    return RegisterArray(name, offset, words, read, write)


def _read_priority(frame: BankFrame, intid: int) -> int:
    if not frame.visible() >> intid & 1:
        return 0
    priority = frame.bank.priority[intid]
    return priority if frame.secure else non_secure_priority(priority)


def _write_priority(frame: BankFrame, intid: int, value: int) -> None:
    if frame.visible() >> intid & 1:
        priority = value & PRIORITY_MASK if frame.secure else from_non_secure_priority(value)
        frame.bank.priority[intid] = priority
        frame.changed()


def _read_configuration(frame: BankFrame, word: int) -> int:
    edge = (frame.bank.edge & frame.visible()) >> 16 * word
    return sum(2 << 2 * field for field in range(16) if edge >> field & 1)


def _write_configuration(frame: BankFrame, word: int, value: int) -> None:
    edge = sum(1 << field for field in range(16) if value >> 2 * field & 2)
    mask = 0xFFFF << 16 * word & frame.visible() & ~SGIS
    frame.bank.edge = frame.bank.edge & ~mask | edge << 16 * word & mask
    frame.changed()


def _read_ns_access(frame: BankFrame, word: int) -> int:
    if not frame.secure:
        return 0
    levels = [bits >> 16 * word for bits in frame.bank.ns_access[1:]]
    return sum(
        (levels[0] >> field & 1) + (levels[1] >> field & 1) + (levels[2] >> field & 1) << 2 * field
        for field in range(16)
    )


def _write_ns_access(frame: BankFrame, word: int, value: int) -> None:
    if not frame.secure:
        return
    mask = 0xFFFF << 16 * word & frame.bank.implemented
    for level in (1, 2, 3):
        bits = sum(1 << field for field in range(16) if value >> 2 * field & 3 >= level)
        kept = frame.bank.ns_access[level] & ~mask
        frame.bank.ns_access[level] = kept | bits << 16 * word & mask


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
_PRIORITY = (_read_priority, _write_priority)
_CONFIGURATION = (_read_configuration, _write_configuration)
_NS_ACCESS = (_read_ns_access, _write_ns_access)


def bank_registers(prefix: str, base: int, words: int) -> tuple[RegisterArray, ...]:
    """The registers of a bank of ``32 * words`` INTIDs in the frame at ``base``."""
    return (
        _group_bits(f"{prefix}_IGROUPR", base + 0x080, words, "non_secure"),
        _bits(f"{prefix}_ISENABLER", base + 0x100, words, _ENABLE),
        _bits(f"{prefix}_ICENABLER", base + 0x180, words, _DISABLE),
        _bits(f"{prefix}_ISPENDR", base + 0x200, words, _SET_PENDING, (1, 1)),
        _bits(f"{prefix}_ICPENDR", base + 0x280, words, _CLEAR_PENDING, (2, 2)),
        _bits(f"{prefix}_ISACTIVER", base + 0x300, words, _ACTIVATE, (2, NEVER_LENT)),
        _bits(f"{prefix}_ICACTIVER", base + 0x380, words, _DEACTIVATE, (2, NEVER_LENT)),
        RegisterArray(f"{prefix}_IPRIORITYR", base + 0x400, 32 * words, *_PRIORITY, size=1),
        RegisterArray(f"{prefix}_ICFGR", base + 0xC00, 2 * words, *_CONFIGURATION),
        _group_bits(f"{prefix}_IGRPMODR", base + 0xD00, words, "modifier"),
        RegisterArray(f"{prefix}_NSACR", base + 0xE00, 2 * words, *_NS_ACCESS),
    )


SPI_WORDS = 1024 // FIRST_SPI
"""The words of a Distributor register with one bit for each INTID below 1024."""
