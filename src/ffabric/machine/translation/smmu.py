"""What DMA reaches: streams of devices, and what stands in their way (Arm IHI 0070, SMMUv3).

Each transaction of a device carries a StreamID. An entry of the stream table says what becomes of
it: it is *aborted*, it *bypasses* translation and names physical addresses, or it is translated by
the stage 2 of the partition that has the device (STE.Config: 0b000, 0b100, 0b110). The Secure and
the Non-secure state have tables of their own. A stream may be confined further, to regions that
the partition's manifest gives it (DEN0077A 1.2, table 5.2, `stream-ids`).

The registers of an SMMU are its partition manager's, whom this class is told by. A partition that
has the registers of one of its own (`devices/smmuv3.py`) translates its streams before that: what
comes out goes the same way. A transaction that is refused is a fault.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import msgspec

from ffabric.abi.words import PAGE
from ffabric.machine.translation.descriptors import ADDRESS, S2AP_R, S2AP_W, SW_NS, VALID
from ffabric.machine.translation.stage2 import Stage2

if TYPE_CHECKING:
    from ffabric.machine.devices.description import Translation
    from ffabric.machine.memory import PhysicalMemory

READ, WRITE = 1, 2


class Why(enum.Enum):
    """Why a transaction is refused: the event of an SMMU that reports it (IHI 0070, 7.3)."""

    BAD_STREAM = "C_BAD_STREAMID"
    """The table has no entry for the stream."""
    ABORTED = "F_STREAM_DISABLED"
    """Its entry says that transactions are aborted."""
    TRANSLATION = "F_TRANSLATION"
    """Stage 2 maps nothing there, or nothing that is memory; or no region of the stream has it."""
    PERMISSION = "F_PERMISSION"
    """Stage 2, or the stream's region, does not allow the access."""
    BAD_ENTRY = "C_BAD_STE"
    """The entry that software has written is none that there is."""
    ENTRY_FETCH = "F_STE_FETCH"
    """Where software says that its stream table is there is no memory."""
    WALK = "F_WALK_EABT"
    """Nor where its translation tables are."""
    ACCESS = "F_ACCESS"
    """Its translation tables have a page without its access flag."""


class Refused(Exception):  # noqa: N818 - what the tables say
    """The tables of an SMMU do not let a transaction through.

    `is_event`: the SMMU records an event of it. `fetched`: the address of what it could not read.
    """

    def __init__(self, why: Why, *, is_event: bool = True, fetched: int = 0) -> None:
        super().__init__(why.value)
        self.why = why
        self.is_event = is_event
        self.fetched = fetched


class Region(msgspec.Struct, frozen=True):
    """Memory that a stream may reach: IPA, bytes, and READ or WRITE or both."""

    ipa: int
    size: int
    access: int

    def holds(self, address: int, size: int) -> bool:
        """Whether ``size`` bytes at an IPA are in it."""
        return self.ipa <= address and address + size <= self.ipa + self.size


class Entry(msgspec.Struct, frozen=True):
    """An entry of the stream table: whose stream it is, and what it reaches.

    `stage2` None: it bypasses translation. `regions` None: it reaches all that stage 2 maps.
    """

    owner: str
    stage2: Stage2 | None = None
    regions: tuple[Region, ...] | None = None


class DmaFault(Exception):  # noqa: N818 - what an SMMU reports, seldom an error
    """A transaction that is refused: its stream, the address, whether it writes, and why."""

    def __init__(self, stream: Stream, address: int, *, write: bool, why: Why) -> None:
        self.stream = stream
        self.address = address
        self.write = write
        self.why = why
        verb = "write" if write else "read"
        super().__init__(f"DMA of {stream} may not {verb} {address:#x}: {why.value}")


class Stream(msgspec.Struct, frozen=True):
    """A stream: the SMMU it goes through, its StreamID, and its Security state."""

    smmu: int
    id: int
    secure: bool

    def __str__(self) -> str:
        world = "secure" if self.secure else "non-secure"
        return f"{world} stream {self.id} of SMMU {self.smmu}"


class Smmu:
    """The SMMUs of a machine: their stream tables, and the memory behind them."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.table: dict[Stream, Entry] = {}
        self.programmed: dict[tuple[int, bool, str], Translation] = {}
        """By SMMU, world and partition: who translates the streams of the partition first."""

    def load(self, stream: Stream, entry: Entry, address: int, size: int) -> bytes:
        """What an SMMU itself reads in the name of ``entry``; DmaFault if nothing is there."""
        pieces = self._through(stream, entry, address, size, READ)
        return b"".join(self._memory.read(pa, n, secure=world) for pa, n, world in pieces)

    def store(self, stream: Stream, entry: Entry, address: int, data: bytes) -> None:
        """What an SMMU itself writes."""
        at = 0
        for pa, size, world in list(self._through(stream, entry, address, len(data), WRITE)):
            self._memory.write(pa, data[at : at + size], secure=world)
            at += size

    def read(self, stream: Stream, address: int, size: int) -> bytes:
        """What a device reads; DmaFault if it may not."""
        pieces = self._pieces(stream, address, size, READ)
        return b"".join(self._memory.read(pa, n, secure=world) for pa, n, world in pieces)

    def write(self, stream: Stream, address: int, data: bytes) -> None:
        """A device writes ``data``; DmaFault, and nothing is written, if it may not."""
        at = 0
        for pa, size, world in list(self._pieces(stream, address, len(data), WRITE)):
            self._memory.write(pa, data[at : at + size], secure=world)
            at += size

    def _pieces(
        self, stream: Stream, address: int, size: int, access: int
    ) -> Iterator[tuple[int, int, bool]]:
        """The physical pieces of a range: address, bytes, whether it is secure memory."""
        entry = self.table.get(stream)
        if entry is None:
            self._fault(stream, address, access, Why.BAD_STREAM)
        programmed = self.programmed.get((stream.smmu, stream.secure, entry.owner))
        if programmed is None:
            yield from self._through(stream, entry, address, size, access)
            return
        end = address + size
        while address < end:
            length = min(end, (address | PAGE - 1) + 1) - address
            try:
                to = programmed.translate(stream.id, address, write=access == WRITE)
            except Refused as refused:
                self._fault(stream, address, access, refused.why)
            yield from self._through(stream, entry, to, length, access)
            address += length

    def _through(
        self, stream: Stream, entry: Entry, address: int, size: int, access: int
    ) -> Iterator[tuple[int, int, bool]]:
        """The pieces of a range of the partition that an entry is of."""
        end = address + size
        while address < end:
            length = min(end, (address | PAGE - 1) + 1) - address
            pa, secure = self._physical(stream, entry, address, length, access)
            bank = self._memory.bank_at(pa)
            if bank is None or bank.secure is not secure:
                self._fault(stream, address, access, Why.TRANSLATION)
            yield pa, length, secure
            address += length

    def _physical(
        self, stream: Stream, entry: Entry, address: int, length: int, access: int
    ) -> tuple[int, bool]:
        if entry.regions is not None:
            rights = [each.access for each in entry.regions if each.holds(address, length)]
            if not rights:
                self._fault(stream, address, access, Why.TRANSLATION)
            if not any(each & access for each in rights):
                self._fault(stream, address, access, Why.PERMISSION)
        if entry.stage2 is None:
            return address, stream.secure
        leaf = entry.stage2.translate(address)
        if not leaf & VALID:
            self._fault(stream, address, access, Why.TRANSLATION)
        if not leaf & (S2AP_R if access == READ else S2AP_W):
            self._fault(stream, address, access, Why.PERMISSION)
        secure = stream.secure and not leaf & SW_NS
        return leaf & ADDRESS | address & PAGE - 1, secure

    def _fault(self, stream: Stream, address: int, access: int, why: Why) -> NoReturn:
        raise DmaFault(stream, address, write=access == WRITE, why=why)
