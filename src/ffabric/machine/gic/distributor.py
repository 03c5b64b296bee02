"""The Distributor's frame, GICD_* (Arm IHI 0069, 12.9), as one Security state sees it.

Affinity routing is always on for both Security states and there are always two of them: ARE_S and
ARE_NS are RAO/WI, DS is RAZ/WI. So what legacy operation alone uses (ITARGETSR, SGIR, the banked
first word of the bitmaps) is RES0, and no write is ever in progress (RWP = 0).
"""

from __future__ import annotations

from typing import ClassVar

from ffabric.machine.gic.bank_registers import (
    EXTENDED_SPI_OFFSETS,
    IIDR,
    NEVER_LENT,
    SPI_OFFSETS,
    BankFrame,
    bank_registers,
    identification_registers,
)
from ffabric.machine.gic.gic import (
    CTLR_ENABLE_GROUP0,
    CTLR_ENABLE_GROUP1NS,
    CTLR_ENABLE_GROUP1S,
    Gic,
)
from ffabric.machine.gic.interrupts import EXTENDED_SPIS
from ffabric.machine.registers import Register, RegisterArray, RegisterMap

FRAME_SIZE = 0x10000
SPIS = range(1024)
"""The INTIDs of the registers of SPIs: the first 32 are RES0."""

CTLR_ARE_S = 1 << 4
CTLR_ARE_NS = 1 << 5
CTLR_NS_ARE = 1 << 4
"""ARE_NS where the Non-secure view has it."""
CTLR_ENABLES = CTLR_ENABLE_GROUP0 | CTLR_ENABLE_GROUP1NS | CTLR_ENABLE_GROUP1S

TYPER_FIXED = 1 << 10 | 1 << 24
"""SecurityExtn, A3V."""
TYPER_IDBITS = 9 << 19
"""10 bits of INTID."""
TYPER_EXTENDED = 1 << 8 | 15 << 19 | 31 << 27
"""ESPI, 16 bits of INTID, and ESPI_range: 32 times 32 extended SPIs."""

ROUTE_MASK = 0xFF_80FF_FFFF
"""The implemented bits of GICD_IROUTER: Aff3, Interrupt_Routing_Mode, Aff2, Aff1, Aff0."""


class Distributor(BankFrame):
    """The 64 KB frame GICD_* as the ``secure`` or the Non-secure physical address space has it."""

    __slots__ = ()

    def __init__(self, gic: Gic, *, secure: bool) -> None:
        super().__init__(gic, gic.spis, secure=secure)

    def visible(self, lent: int = NEVER_LENT) -> int:
        """The interrupts this view may touch: its own and those NSACR lends at level ``lent``."""
        bank = self.bank
        if self.secure:
            return bank.implemented
        if lent == NEVER_LENT:
            return bank.non_secure
        return bank.non_secure | bank.ns_access[lent]

    def _read_ctlr(self) -> int:
        enables = self.gic.group_enables
        if self.secure:
            return enables | CTLR_ARE_S | CTLR_ARE_NS
        return enables & CTLR_ENABLE_GROUP1NS | CTLR_NS_ARE

    def _write_ctlr(self, value: int) -> None:
        mine = CTLR_ENABLES if self.secure else CTLR_ENABLE_GROUP1NS
        self.gic.group_enables = self.gic.group_enables & ~mine | value & mine
        self.gic.changed()

    def _read_typer(self) -> int:
        ranges = TYPER_EXTENDED if self.gic.extended else TYPER_IDBITS
        return TYPER_FIXED | ranges | (self.gic.lines - 1) // 32

    def _read_route(self, intid: int) -> int:
        return self.gic.routes[intid] if self.visible(3) >> intid & 1 else 0

    def _write_route(self, intid: int, value: int) -> None:
        if self.visible(3) >> intid & 1:
            self.gic.route(intid, value & ROUTE_MASK)

    def _read_extended_route(self, index: int) -> int:
        return self._read_route(EXTENDED_SPIS.start + index)

    def _write_extended_route(self, index: int, value: int) -> None:
        self._write_route(EXTENDED_SPIS.start + index, value)

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("GICD_CTLR", 0x0000, _read_ctlr, _write_ctlr),
        Register("GICD_TYPER", 0x0004, _read_typer),
        Register("GICD_IIDR", 0x0008, IIDR),
        Register("GICD_TYPER2", 0x000C, 0),
        *bank_registers("GICD", SPIS, SPI_OFFSETS),
        *bank_registers("GICD", EXTENDED_SPIS, EXTENDED_SPI_OFFSETS, suffix="E"),
        RegisterArray("GICD_IROUTER", 0x6000, len(SPIS), _read_route, _write_route, size=8),
        RegisterArray(
            "GICD_IROUTERE",
            0x8000,
            len(EXTENDED_SPIS),
            _read_extended_route,
            _write_extended_route,
            size=8,
        ),
        *identification_registers("GICD", 0),
    )
