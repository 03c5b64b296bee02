"""The registers of an SMMUv3, its command queue and its event queue (Arm IHI 0070, chapter 6).

Software writes a stream table and says where it is; from then on the table decides over the streams
of the SMMU that are its own. What it writes are its own addresses: the SMMU reads tables and writes
events through the stage 2 of the partition that has the registers, and what comes out of its
translation goes through that stage 2, too. So it can confine its devices, and nothing else.

There is stage 2 only (IDR0.S1P = 0), with granules of 4 KiB, and no stalling, no MSIs, no PCIe, no
cache: a change of a table holds at once, and commands to invalidate have nothing to do.
"""

from __future__ import annotations

from typing import ClassVar, Final

from ffabric.abi.words import MASK32, PAGE
from ffabric.machine.bus import Device
from ffabric.machine.devices.description import DeviceDescription, Frame, Wiring
from ffabric.machine.registers import Register, RegisterDevice, RegisterMap, stored
from ffabric.machine.translation.smmu import Refused, Why
from ffabric.machine.translation.stream_table import StreamTable, translate

REGISTER_PAGE: Final = 0x10000
SID_BITS: Final = 16
QUEUE_BITS: Final = 10
"""A queue has up to 1,024 entries: so many commands take effect at one write of a register."""
IDR0: Final = 1 << 27 | 1 << 26 | 1 << 24 | 1 << 18 | 1 << 4 | 2 << 2 | 1
"""Two-level stream tables, faults terminate, no stalling, VMID16, coherent, AArch64, stage 2."""
IDR1: Final = QUEUE_BITS << 21 | QUEUE_BITS << 16 | SID_BITS
IDR5: Final = 1 << 4 | 5
"""Granules of 4 KiB, addresses of 48 bits."""
SMMUEN, EVENTQEN, CMDQEN = 1 << 0, 1 << 2, 1 << 3
GBPA_UPDATE, GBPA_ABORT = 1 << 31, 1 << 20
CMDQ_ERR = 1 << 0
EVENTQ_ABT_ERR = 1 << 2
CERROR_ILL, CERROR_ABT = 1, 2
COMMAND, EVENT = 16, 32
_QUEUE_BASE: Final = ((1 << 52) - 1) & ~0x1F
_TABLE_BASE: Final = ((1 << 52) - 1) & ~0x3F
_OVERFLOW: Final = 1 << 31
_READ_EVENT, _STAGE2_EVENT, _OF_TABLES, _OF_INPUT = 1 << 35, 1 << 39, 1 << 40, 2 << 40
"""Bits of an event record: the transaction was a read; stage 2 is at fault, and what it was for."""
_COMMANDS: Final = frozenset(
    {0x01, 0x02, 0x03, 0x04, 0x10, 0x11, 0x12, 0x13, 0x20, 0x28, 0x2A, 0x30, 0x46}
)
"""Commands that are known: prefetch, CFGI, TLBI, SYNC (IHI 0070, chapter 4)."""
_EVENTS: Final = {
    Why.BAD_STREAM: 0x02,
    Why.ENTRY_FETCH: 0x03,
    Why.BAD_ENTRY: 0x04,
    Why.WALK: 0x0B,
    Why.TRANSLATION: 0x10,
    Why.ACCESS: 0x12,
    Why.PERMISSION: 0x13,
}
"""The number of the event record of each (IHI 0070, 7.3)."""
_OF_STREAM_TABLES = (Why.BAD_STREAM, Why.ENTRY_FETCH, Why.BAD_ENTRY)
_SPLITS = (6, 8, 10)


def _guarded(name: str, offset: int, attribute: str, enable: int, *, size: int = 4) -> Register:
    """A register that is written only while what it belongs to is not enabled (CR0)."""

    def write(smmu: SmmuV3, value: int) -> None:
        if not smmu.cr0 & enable:
            setattr(smmu, attribute, value & (1 << 8 * size) - 1)

    return Register(name, offset, lambda smmu: getattr(smmu, attribute), write, size=size)


def _words(
    refused: Refused, stream: int, address: int, *, write: bool
) -> tuple[int, int, int, int]:
    """The event record of a transaction that is refused (IHI 0070, 7.3).

    Those of a stream table have no address but that of what could not be read.
    """
    head = stream << 32 | _EVENTS[refused.why]
    if refused.why in _OF_STREAM_TABLES:
        return head, 0, 0, refused.fetched
    kind = _STAGE2_EVENT | (0 if write else _READ_EVENT)
    if refused.why is Why.WALK:
        return head, kind | _OF_TABLES, address, refused.fetched
    return head, kind | _OF_INPUT, address, address & -PAGE


class SmmuV3(RegisterDevice):
    """Page 0 of the registers; page 1 is `QueuePage`. Lines: event queue, global error."""

    __slots__ = (
        "_lines", "_port", "cmdq_base", "cmdq_cons", "cmdq_prod", "cr0", "cr1", "cr2",
        "eventq_base", "eventq_cons", "eventq_prod", "gbpa", "gerror", "gerrorn", "irq_ctrl",
        "table_base", "table_config",
    )  # fmt: skip

    def __init__(self, wiring: Wiring) -> None:
        self._port = wiring.smmu
        self._lines = wiring.irq(0), wiring.irq(1)
        self.cr0 = self.cr1 = self.cr2 = self.gbpa = self.irq_ctrl = 0
        self.gerror = self.gerrorn = 0
        self.table_base = self.table_config = 0
        self.cmdq_base = self.cmdq_prod = self.cmdq_cons = 0
        self.eventq_base = self.eventq_prod = self.eventq_cons = 0
        if self._port is not None:
            self._port.attach(self)

    # What devices meet.

    def translate(self, stream: int, address: int, *, write: bool) -> int:
        """Where a transaction leads. Raises Refused; an event may have been recorded then."""
        if not self.cr0 & SMMUEN:
            if self.gbpa & GBPA_ABORT:
                raise Refused(Why.ABORTED, is_event=False)
            return address
        assert self._port is not None
        try:
            stage2 = self._table().find(self._port.read, stream)
            if stage2 is None:
                return address
            return translate(self._port.read, stage2, address, write=write)
        except Refused as refused:
            if refused.is_event:
                self._record(_words(refused, stream, address, write=write))
            raise

    def _table(self) -> StreamTable:
        config = self.table_config
        split = None
        if config >> 16 & 3 == 1:
            split = config >> 6 & 0x1F
            if split not in _SPLITS:
                raise Refused(Why.BAD_STREAM)
        return StreamTable(self.table_base & _TABLE_BASE, min(config & 0x3F, SID_BITS), split)

    # Queues: an index has a bit above it that says how often it has wrapped, modulo two.

    def _record(self, words: tuple[int, int, int, int]) -> None:
        if not self.cr0 & EVENTQEN:
            return
        bits = min(self.eventq_base & 0x1F, QUEUE_BITS)
        prod, cons = (each & (2 << bits) - 1 for each in (self.eventq_prod, self.eventq_cons))
        if prod ^ cons == 1 << bits:
            acknowledged = self.eventq_cons & _OVERFLOW
            self.eventq_prod = self.eventq_prod & ~_OVERFLOW | acknowledged ^ _OVERFLOW
            return
        data = b"".join(each.to_bytes(8, "little") for each in words)
        at = (self.eventq_base & _QUEUE_BASE) + (prod & (1 << bits) - 1) * EVENT
        assert self._port is not None
        try:
            self._port.write(at, data)
        except LookupError:
            if not (self.gerror ^ self.gerrorn) & EVENTQ_ABT_ERR:
                self._fail(EVENTQ_ABT_ERR)
            return
        self.eventq_prod = self.eventq_prod & _OVERFLOW | prod + 1 & (2 << bits) - 1
        self._signal(0, self.irq_ctrl >> 2 & 1)

    def _fail(self, error: int) -> None:
        """Tell of a global error, which is not active yet."""
        self.gerror ^= error
        self._signal(1, self.irq_ctrl & 1)

    def _signal(self, line: int, enabled: int) -> None:
        if enabled:
            for level in (True, False):
                self._lines[line](level)

    def _execute(self) -> None:
        """Take all commands that there are, up to one that is wrong."""
        bits = min(self.cmdq_base & 0x1F, QUEUE_BITS)
        wrap = (2 << bits) - 1
        is_failed = (self.gerror ^ self.gerrorn) & CMDQ_ERR
        if self._port is None or not self.cr0 & CMDQEN or is_failed:
            return
        at, end = self.cmdq_cons & wrap, self.cmdq_prod & wrap
        for _ in range(1 << bits):
            if at == end:
                break
            place = (self.cmdq_base & _QUEUE_BASE) + (at & (1 << bits) - 1) * COMMAND
            try:
                known = self._port.read(place, COMMAND)[0] in _COMMANDS
                error = 0 if known else CERROR_ILL
            except LookupError:
                error = CERROR_ABT
            if error:
                self.cmdq_cons = at | error << 24
                self._fail(CMDQ_ERR)
                return
            at = at + 1 & wrap
        self.cmdq_cons = at

    # Registers.

    def _write_cr0(self, value: int) -> None:
        self.cr0 = value & (SMMUEN | EVENTQEN | CMDQEN)
        self._execute()

    def _read_cr0(self) -> int:
        return self.cr0

    def _write_gbpa(self, value: int) -> None:
        if value & GBPA_UPDATE:
            self.gbpa = value & ~GBPA_UPDATE & MASK32

    def _read_gbpa(self) -> int:
        return self.gbpa

    def _read_irq_ctrl(self) -> int:
        return self.irq_ctrl

    def _read_gerror(self) -> int:
        return self.gerror

    def _write_gerrorn(self, value: int) -> None:
        self.gerrorn = value & MASK32
        self._execute()

    def _read_gerrorn(self) -> int:
        return self.gerrorn

    def _write_cmdq_prod(self, value: int) -> None:
        self.cmdq_prod = value & MASK32
        self._execute()

    def _read_cmdq_prod(self) -> int:
        return self.cmdq_prod

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("IDR0", 0x00, IDR0),
        Register("IDR1", 0x04, IDR1),
        Register("IDR5", 0x14, IDR5),
        Register("CR0", 0x20, _read_cr0, _write_cr0),
        Register("CR0ACK", 0x24, _read_cr0),
        stored("CR1", 0x28, "cr1", 0xFFF),
        stored("CR2", 0x2C, "cr2", 0b111),
        Register("GBPA", 0x44, _read_gbpa, _write_gbpa),
        stored("IRQ_CTRL", 0x50, "irq_ctrl", 0b111),
        Register("IRQ_CTRLACK", 0x54, _read_irq_ctrl),
        Register("GERROR", 0x60, _read_gerror),
        Register("GERRORN", 0x64, _read_gerrorn, _write_gerrorn),
        _guarded("STRTAB_BASE", 0x80, "table_base", SMMUEN, size=8),
        _guarded("STRTAB_BASE_CFG", 0x88, "table_config", SMMUEN),
        _guarded("CMDQ_BASE", 0x90, "cmdq_base", CMDQEN, size=8),
        Register("CMDQ_PROD", 0x98, _read_cmdq_prod, _write_cmdq_prod),
        _guarded("CMDQ_CONS", 0x9C, "cmdq_cons", CMDQEN),
        _guarded("EVENTQ_BASE", 0xA0, "eventq_base", EVENTQEN, size=8),
    )


class QueuePage(RegisterDevice):
    """Page 1 of the registers: how far the event queue is."""

    __slots__ = ("_smmu",)

    def __init__(self, smmu: SmmuV3) -> None:
        self._smmu = smmu

    def _read_prod(self) -> int:
        return self._smmu.eventq_prod

    def _write_prod(self, value: int) -> None:
        if not self._smmu.cr0 & EVENTQEN:
            self._smmu.eventq_prod = value & MASK32

    def _read_cons(self) -> int:
        return self._smmu.eventq_cons

    def _write_cons(self, value: int) -> None:
        self._smmu.eventq_cons = value & MASK32

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("EVENTQ_PROD", 0xA8, _read_prod, _write_prod),
        Register("EVENTQ_CONS", 0xAC, _read_cons, _write_cons),
    )


def _create(wiring: Wiring) -> tuple[Device, ...]:
    smmu = SmmuV3(wiring)
    return smmu, QueuePage(smmu)


DESCRIPTION = DeviceDescription(
    type="smmuv3",
    title="System MMU (SMMUv3)",
    compatible=("arm,smmu-v3",),
    frames=(Frame("page0", REGISTER_PAGE), Frame("page1", REGISTER_PAGE)),
    interrupts=("eventq", "gerror"),
    create=_create,
)
