"""Loads and stores of a partition that is Python: what an MMU does for the others.

An access is translated by the partition's stage-2 tables, page by page, and then made in the
physical address space that the leaf names: Non-secure if the partition is, or if the leaf has
SW_NS. RAM is read and written in place; a device sees an access of its size on the bus.
"""

import struct
from mmap import mmap

from ffabric.abi.words import PAGE
from ffabric.machine.bus import Bus
from ffabric.machine.memory import Bank, MemoryFault, PhysicalMemory
from ffabric.machine.translation.descriptors import ADDRESS, AF, S2AP_R, S2AP_W, SW_NS, VALID
from ffabric.machine.translation.stage2 import Stage2

TRANSLATION = "translation fault"
ACCESS_FLAG = "access flag fault"
PERMISSION = "permission fault"
EXTERNAL = "external abort"
ALIGNMENT = "alignment fault"

# Data fault status codes: Arm DDI 0487, ESR_EL2, ISS encoding for a Data Abort. The low two bits
# of the first three are the level.
_DFSC = {
    TRANSLATION: 0b000100,
    ACCESS_FLAG: 0b001000,
    PERMISSION: 0b001100,
    EXTERNAL: 0b010000,
    ALIGNMENT: 0b100001,
}
_U16 = struct.Struct("@H")
"""Native: one access of two bytes. Banks insist on a little-endian host."""
_HAS_LEVEL = {TRANSLATION, ACCESS_FLAG, PERMISSION}


class DataAbort(Exception):  # noqa: N818 (the architecture's word)
    """A load or store that stage 2 or the system refused.

    `ipa` is the first byte that was refused, `write` is true for a store. `level` is the level of
    the table at which the walk ended (0: the address is out of range), and `detail` says more.
    `reason` is "translation fault", "access flag fault", "permission fault", "external abort" or
    "alignment fault".
    """

    __module__ = "ffabric"

    def __init__(self, ipa: int, write: bool, reason: str, level: int, detail: str = "") -> None:
        access = "store to" if write else "load from"
        more = f" ({detail})" if detail else ""
        super().__init__(f"{access} IPA {ipa:#x}: {reason}, level {level}{more}")
        self.ipa = ipa
        self.write = write
        self.reason = reason
        self.level = level
        self.detail = detail

    @property
    def dfsc(self) -> int:
        """The fault status code (bits 5:0 of the syndrome)."""
        return _DFSC[self.reason] | (self.level if self.reason in _HAS_LEVEL else 0)


class NoTranslation:
    """Stands for stage 2 where there is none: a kernel without a hypervisor beneath it.

    With `memory`, a trusted OS: the software itself says which address space it means, and means
    that of the bank.
    """

    def __init__(self, memory: PhysicalMemory | None = None) -> None:
        self.tlbs: list[dict[int, tuple[mmap, int]]] = []
        self._memory = memory

    def translate(self, ipa: int) -> int:
        """The identity, with every permission."""
        bank = None if self._memory is None else self._memory.bank_at(ipa)
        space = SW_NS if bank is not None and not bank.secure else 0
        return ipa & ADDRESS | VALID | AF | S2AP_R | S2AP_W | space

    def level_of(self, ipa: int) -> int:
        """No walk ends anywhere."""
        return 0


class GuestAccess:
    """The memory of a partition as it sees it: addresses are intermediate physical ones.

    An access that crosses pages is made page by page: what precedes a `DataAbort` was done. An
    access of no bytes is none.
    """

    __slots__ = ("_bus", "_memory", "_reads", "_stage2", "_writes", "secure")

    def __init__(
        self,
        stage2: Stage2 | NoTranslation,
        memory: PhysicalMemory,
        *,
        secure: bool,
        bus: Bus | None = None,
    ) -> None:
        self.secure: bool = secure
        self._stage2 = stage2
        self._memory = memory
        self._bus = bus
        # Page number -> (RAM, offset in it less the IPA), for pages that may be read or written.
        self._reads: dict[int, tuple[mmap, int]] = {}
        self._writes: dict[int, tuple[mmap, int]] = {}
        stage2.tlbs += [self._reads, self._writes]

    def close(self) -> None:
        """Take the TLB off the stage-2 tables."""
        own = (self._reads, self._writes)
        self._stage2.tlbs[:] = [t for t in self._stage2.tlbs if all(t is not o for o in own)]

    def read(self, ipa: int, n: int) -> bytes:
        """The `n` bytes at `ipa`; DataAbort where they may not be read."""
        if (ipa & 0xFFF) + n <= PAGE:
            if not n:
                return b""
            entry = self._reads.get(ipa >> 12) or self._fill(ipa, write=False)
            if entry is None:
                return self._read_device(ipa, n)
            ram, delta = entry
            return ram[ipa + delta : ipa + delta + n]
        parts: list[bytes] = []
        end = ipa + n
        while ipa < end:
            stop = self._run(self._reads, ipa, end)
            if stop > ipa:
                ram, delta = self._reads[ipa >> 12]
                parts.append(ram[ipa + delta : stop + delta])
            else:
                stop = min(end, (ipa | 0xFFF) + 1)
                parts.append(self.read(ipa, stop - ipa))
            ipa = stop
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @staticmethod
    def _run(tlb: dict[int, tuple[mmap, int]], ipa: int, end: int) -> int:
        """Up to where pages from ``ipa`` on are known and follow each other in RAM, too."""
        entry = tlb.get(ipa >> 12)
        if entry is None:
            return ipa
        at = (ipa | 0xFFF) + 1
        while at < end and tlb.get(at >> 12) == entry:
            at += PAGE
        return min(at, end)

    def write(self, ipa: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data`, a buffer of bytes, at `ipa`; DataAbort where it may not be written."""
        n = len(data)
        if (ipa & 0xFFF) + n <= PAGE:
            if not n:
                return
            entry = self._writes.get(ipa >> 12) or self._fill(ipa, write=True)
            if entry is None:
                self._write_device(ipa, data)
                return
            ram, delta = entry
            ram[ipa + delta : ipa + delta + n] = data
            return
        view = memoryview(data)
        at, end = ipa, ipa + n
        while at < end:
            stop = self._run(self._writes, at, end)
            if stop > at:
                ram, delta = self._writes[at >> 12]
                ram[at + delta : stop + delta] = view[at - ipa : stop - ipa]
            else:
                stop = min(end, (at | 0xFFF) + 1)
                self.write(at, view[at - ipa : stop - ipa])
            at = stop

    def extents(self, ipa: int, n: int, *, write: bool) -> list[tuple[Bank, int, int]]:
        """Where `n` bytes at `ipa` are: (bank, offset in it, bytes) of each piece in a row.

        For who lets others outside use memory that it may use itself: DataAbort where it may not,
        and where there is no RAM.
        """
        found: list[tuple[Bank, int, int]] = []
        end = ipa + n
        while ipa < end:
            count = min(end - ipa, PAGE - (ipa & 0xFFF))
            pa, secure = self._output(ipa, write=write)
            bank = self._memory.bank_at(pa)
            if bank is None or bank.secure != secure:
                raise self._abort(ipa, EXTERNAL, f"{pa:#x}: no memory there", write=write)
            at = pa - bank.base
            if found and found[-1][0] is bank and found[-1][1] + found[-1][2] == at:
                found[-1] = (bank, found[-1][1], found[-1][2] + count)
            else:
                found.append((bank, at, count))
            ipa += count
        return found

    def read16(self, ipa: int) -> int:
        """The little-endian 16-bit word at `ipa`; if it is aligned, by a single load.

        What somebody outside stores at the same time is seen whole, before or after.
        """
        entry = self._reads.get(ipa >> 12) or self._fill(ipa, write=False)
        if entry is None or ipa & 1:
            return int.from_bytes(self.read(ipa, 2), "little")
        value: int = _U16.unpack_from(entry[0], ipa + entry[1])[0]
        return value

    def write16(self, ipa: int, value: int) -> None:
        """Store the little-endian 16-bit word at `ipa`; if it is aligned, by a single store."""
        entry = self._writes.get(ipa >> 12) or self._fill(ipa, write=True)
        if entry is None or ipa & 1:
            self.write(ipa, value.to_bytes(2, "little"))
        else:
            _U16.pack_into(entry[0], ipa + entry[1], value)

    def read32(self, ipa: int) -> int:
        """The little-endian 32-bit word at `ipa`."""
        return int.from_bytes(self.read(ipa, 4), "little")

    def read64(self, ipa: int) -> int:
        """The little-endian 64-bit word at `ipa`."""
        return int.from_bytes(self.read(ipa, 8), "little")

    def write32(self, ipa: int, value: int) -> None:
        """Store the little-endian 32-bit word at `ipa`."""
        self.write(ipa, value.to_bytes(4, "little"))

    def write64(self, ipa: int, value: int) -> None:
        """Store the little-endian 64-bit word at `ipa`."""
        self.write(ipa, value.to_bytes(8, "little"))

    def _abort(self, ipa: int, reason: str, detail: str = "", *, write: bool) -> DataAbort:
        return DataAbort(ipa, write, reason, self._stage2.level_of(ipa), detail)

    def _output(self, ipa: int, *, write: bool) -> tuple[int, bool]:
        """Translate: the physical address and whether it is in the Secure space."""
        desc = self._stage2.translate(ipa)
        if not desc & VALID:
            raise self._abort(ipa, TRANSLATION, write=write)
        if not desc & AF:
            raise self._abort(ipa, ACCESS_FLAG, write=write)
        if not desc & (S2AP_W if write else S2AP_R):
            raise self._abort(ipa, PERMISSION, write=write)
        return desc & ADDRESS | ipa & 0xFFF, self.secure and not desc & SW_NS

    def _fill(self, ipa: int, *, write: bool) -> tuple[mmap, int] | None:
        """The TLB entry of the page of `ipa`; None if it is not RAM."""
        pa, secure = self._output(ipa, write=write)
        bank = self._memory.bank_at(pa)
        if bank is None:
            return None
        if bank.secure != secure:
            space = "Secure" if secure else "Non-secure"
            detail = f"{space} access to bank {bank.name}"
            raise self._abort(ipa, EXTERNAL, detail, write=write)
        entry = (bank.mapping, pa - bank.base - ipa)
        (self._writes if write else self._reads)[ipa >> 12] = entry
        return entry

    def _device(self, ipa: int, n: int, *, write: bool) -> tuple[Bus, int, bool]:
        pa, secure = self._output(ipa, write=write)
        if n not in {1, 2, 4, 8} or pa % n:
            raise self._abort(ipa, ALIGNMENT, f"{n} bytes of a device at {pa:#x}", write=write)
        if self._bus is None:
            raise self._abort(ipa, EXTERNAL, f"{pa:#x}: no memory there", write=write)
        return self._bus, pa, secure

    def _read_device(self, ipa: int, n: int) -> bytes:
        bus, pa, secure = self._device(ipa, n, write=False)
        try:
            return bus.read(pa, n, secure=secure).to_bytes(n, "little")
        except MemoryFault as fault:
            raise self._abort(ipa, EXTERNAL, str(fault), write=False) from fault

    def _write_device(self, ipa: int, data: bytes | bytearray | memoryview) -> None:
        n = len(data)
        bus, pa, secure = self._device(ipa, n, write=True)
        try:
            bus.write(pa, n, int.from_bytes(data, "little"), secure=secure)
        except MemoryFault as fault:
            raise self._abort(ipa, EXTERNAL, str(fault), write=True) from fault

    def __repr__(self) -> str:
        world = "Secure" if self.secure else "Non-secure"
        return f"<GuestAccess of a {world} partition>"
