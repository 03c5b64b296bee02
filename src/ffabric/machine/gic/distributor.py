"""The Distributor's frame, GICD_* (Arm IHI 0069, 12.9), as one Security state sees it.

Affinity routing is always on for both Security states and there are always two of them: ARE_S and
ARE_NS are RAO/WI, DS is RAZ/WI. So what legacy operation alone uses (ITARGETSR, SGIR, the banked
first word of the bitmaps) is RES0, and no write is ever in progress (RWP = 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ffabric.machine.gic.bank_registers import (
    IIDR,
    NEVER_LENT,
    SPI_WORDS,
    BankFrame,
    bank_registers,
    identification_registers,
)
from ffabric.machine.registers import Register, RegisterArray, RegisterMap

if TYPE_CHECKING:
    from ffabric.machine.gic.gic import Gic

FRAME_SIZE = 0x10000

CTLR_ENABLE_GROUP0 = 1 << 0
CTLR_ENABLE_GROUP1NS = 1 << 1
CTLR_ENABLE_GROUP1S = 1 << 2
CTLR_ARE_S = 1 << 4
CTLR_ARE_NS = 1 << 5
CTLR_NS_ARE = 1 << 4
"""ARE_NS where the Non-secure view has it."""
CTLR_ENABLES = CTLR_ENABLE_GROUP0 | CTLR_ENABLE_GROUP1NS | CTLR_ENABLE_GROUP1S

TYPER_FIXED = 1 << 10 | 9 << 19 | 1 << 24
"""SecurityExtn, IDbits (10 bits of INTID), A3V."""

ROUTE_MASK = 0xFF_80FF_FFFF
"""The implemented bits of GICD_IROUTER: Aff3, Interrupt_Routing_Mode, Aff2, Aff1, Aff0."""


class Distributor(BankFrame):
    """The Distributor as the ``secure`` or the Non-secure state sees it."""

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
        return TYPER_FIXED | (self.bank.implemented.bit_length() - 1) // 32

    def _read_route(self, intid: int) -> int:
        return self.gic.routes[intid] if self.visible(3) >> intid & 1 else 0

    def _write_route(self, intid: int, value: int) -> None:
        if self.visible(3) >> intid & 1:
            self.gic.route(intid, value & ROUTE_MASK)

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("GICD_CTLR", 0x0000, _read_ctlr, _write_ctlr),
        Register("GICD_TYPER", 0x0004, _read_typer),
        Register("GICD_IIDR", 0x0008, IIDR),
        Register("GICD_TYPER2", 0x000C, 0),
        *bank_registers("GICD", 0, SPI_WORDS),
        RegisterArray("GICD_IROUTER", 0x6000, 1024, _read_route, _write_route, size=8),
        *identification_registers("GICD", 0),
    )
