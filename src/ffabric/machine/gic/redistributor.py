"""The Redistributors' frames, GICR_* (Arm IHI 0069, 12.10 and 12.11).

Each PE has two 64 KB frames, RD_base and SGI_base, and those of all PEs follow each other. There
are no LPIs, so GICR_CTLR and the LPI registers are RES0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ffabric.machine.gic.bank_registers import (
    IIDR,
    SPI_OFFSETS,
    BankFrame,
    bank_registers,
    identification_registers,
)
from ffabric.machine.gic.interrupts import EXTENDED_PPIS, FIRST_SPI
from ffabric.machine.registers import Register, RegisterMap

if TYPE_CHECKING:
    from ffabric.machine.gic.gic import Gic

FRAME_SIZE = 0x20000
"""Bytes of the frames of one PE."""

SGI_BASE = 0x10000
PPI_OFFSETS = SPI_OFFSETS.above(SGI_BASE)
"""Those of the SGIs and PPIs: where the Distributor has its own, in the SGI frame."""
EXTENDED_PPI_OFFSETS = PPI_OFFSETS.after(FIRST_SPI)
"""Those of the extended PPIs follow them. SGIs alone have NSACR."""

WAKER_PROCESSOR_SLEEP = 1 << 1
WAKER_CHILDREN_ASLEEP = 1 << 2

TYPER_LAST = 1 << 4
TYPER_EXTENDED = 2 << 27
"""PPInum: there are extended PPIs up to 1119."""


class Redistributor(BankFrame):
    """The Redistributor of one PE as the ``secure`` or the Non-secure state sees it."""

    __slots__ = ("pe",)

    def __init__(self, gic: Gic, pe: int, *, secure: bool) -> None:
        super().__init__(gic, gic.private[pe], secure=secure)
        self.pe = pe

    def changed(self) -> None:
        """What is pending may have changed for this PE."""
        self.gic.changed(self.pe)

    def _read_typer(self) -> int:
        last = TYPER_LAST if self.pe == len(self.gic.affinities) - 1 else 0
        extended = TYPER_EXTENDED if self.gic.extended else 0
        return self.gic.affinities[self.pe] << 32 | extended | self.pe << 8 | last

    def _read_waker(self) -> int:
        if not self.secure or self.gic.awake[self.pe]:
            return 0
        return WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP

    def _write_waker(self, value: int) -> None:
        if self.secure:
            self.gic.awake[self.pe] = not value & WAKER_PROCESSOR_SLEEP
            self.gic.changed()

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("GICR_CTLR", 0x0000, 0),
        Register("GICR_IIDR", 0x0004, IIDR),
        Register("GICR_TYPER", 0x0008, _read_typer, size=8),
        Register("GICR_WAKER", 0x0014, _read_waker, _write_waker),
        *identification_registers("GICR", 0),
        *bank_registers("GICR", range(FIRST_SPI), PPI_OFFSETS),
        *bank_registers("GICR", EXTENDED_PPIS, EXTENDED_PPI_OFFSETS, suffix="E"),
        *identification_registers("GICR_SGI", SGI_BASE),
    )


class RedistributorRegion:
    """The frames GICR_* of all PEs, 128 KB each, one after the other."""

    __slots__ = ("frames",)

    def __init__(self, gic: Gic, *, secure: bool) -> None:
        self.frames = [Redistributor(gic, pe, secure=secure) for pe in range(len(gic.private))]

    @property
    def size(self) -> int:
        """The bytes of the region."""
        return FRAME_SIZE * len(self.frames)

    def read(self, offset: int, size: int) -> int:
        """Read ``size`` bytes at ``offset``."""
        return self.frames[offset // FRAME_SIZE].read(offset % FRAME_SIZE, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the ``size`` bytes of ``value`` at ``offset``."""
        self.frames[offset // FRAME_SIZE].write(offset % FRAME_SIZE, size, value)
