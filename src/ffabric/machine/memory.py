"""Physical memory: banks of RAM, each in one physical address space.

A bank belongs to the Secure or to the Non-secure physical address space, as a TZC-400 region does
(Arm DDI 0504, 3.2), and an access names the space it is made in: it succeeds only in the bank's
own. The memory behind a bank is a sparse shared file, so a bank costs what was written to it, and
engines map the same bytes into their own address space through `Bank.fd` or `Bank.mapping`. Nobody
can make that file smaller. A host without memfd (all but Linux) has anonymous memory instead, which
other processes cannot map.
"""

import mmap
import os
import sys
from bisect import bisect_right, insort
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Self

from ffabric.abi.words import PAGE
from ffabric.machine.host import sealed

# From this many bytes on, clearing gives the pages back to the host instead of writing zeroes.
_PUNCH_FROM = 16 * PAGE
_CAN_PUNCH = hasattr(mmap, "MADV_REMOVE")
_NO_FILE = -1
_CHUNK = 16 * PAGE
_ZEROES = bytes(_CHUNK)
_LABEL = 50  # characters of a bank's name that its file has, which takes 249 bytes


class MemoryFault(Exception):  # noqa: N818 (the architecture's word)
    """A physical access that nothing answers: the address `pa` and the `reason`."""

    def __init__(self, pa: int, reason: str) -> None:
        super().__init__(f"{pa:#x}: {reason}")
        self.pa = pa
        self.reason = reason


class Bank:
    """`size` bytes of RAM at physical address `base`, Secure or not.

    `data` is the memory as bytes, `words` the same memory as 64-bit words, `mapping` the same as
    an mmap (whose slices are bytes), `fd` the memfd behind them. All become invalid with `close`.
    """

    __slots__ = ("_fd", "base", "data", "end", "mapping", "name", "secure", "size", "words")

    def __init__(self, name: str, base: int, size: int, *, secure: bool) -> None:
        if base < 0 or size <= 0 or (base | size) % PAGE:
            raise ValueError(f"bank {name}: base {base:#x} and size {size:#x} must be whole pages")
        if sys.byteorder != "little":
            raise OSError("guest memory is little-endian: a little-endian host is needed")
        self.name: str = name
        self.base: int = base
        self.size: int = size
        self.end: int = base + size
        self.secure: bool = secure
        self._fd = _file(name, size)
        try:
            self.mapping: mmap.mmap = mmap.mmap(self._fd, size)
        except BaseException:
            self._close_file()
            raise
        self.data: memoryview[int] = memoryview(self.mapping)
        self.words: memoryview[int] = self.data.cast("Q")

    def __repr__(self) -> str:
        world = "secure" if self.secure else "non-secure"
        return f"<Bank {self.name} {self.base:#x}-{self.end:#x} {world}>"

    @property
    def fd(self) -> int:
        """The memfd that other processes can map. OSError if the host has none."""
        if self._fd == _NO_FILE:
            raise OSError(f"bank {self.name} has no file for other processes: that takes Linux")
        return self._fd

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Another bank with the same bytes. What views all of this bank views all of that one."""
        other = type(self)(self.name, self.base, self.size, secure=self.secure)
        for start, end in self.written():
            other.mapping[start:end] = self.mapping[start:end]
        memo[id(self.data)] = other.data
        memo[id(self.words)] = other.words
        memo[id(self.mapping)] = other.mapping
        return other

    def written(self) -> Iterator[tuple[int, int]]:
        """Ranges of offsets, of whole pages; all bytes outside them are zero."""
        if self._fd == _NO_FILE:
            for start in range(0, self.size, _CHUNK):
                end = min(start + _CHUNK, self.size)
                if self.mapping[start:end] != _ZEROES[: end - start]:
                    yield start, end
            return
        end = 0
        with suppress(OSError):  # there is no data behind the last
            while True:
                start = os.lseek(self._fd, end, os.SEEK_DATA)
                end = os.lseek(self._fd, start, os.SEEK_HOLE)
                yield start, end

    def close(self) -> None:
        """Give the memory back. Memory that somebody still views goes with its last view."""
        for view in (self.words, self.data):
            with suppress(BufferError):
                view.release()
        with suppress(BufferError):
            self.mapping.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._fd != _NO_FILE:
            os.close(self._fd)
            self._fd = _NO_FILE


def _file(name: str, size: int) -> int:
    """A file of `size` zeroes in memory; _NO_FILE, with which mmap gets anonymous memory."""
    if not hasattr(os, "memfd_create"):
        return _NO_FILE
    return sealed.create(f"ffabric:{name[:_LABEL]}".replace("\0", " "), size)


class Piece(NamedTuple):
    """A run of physical memory: `size` bytes at `offset` of a bank."""

    bank: Bank
    offset: int
    size: int


def _by_base(bank: Bank) -> int:
    return bank.base


class PhysicalMemory:
    """The banks of a machine. Every access raises `MemoryFault` where no bank answers it.

    Where one bank ends and the next one of the same world begins, an access goes on.
    """

    __slots__ = ("_last", "banks")

    def __init__(self) -> None:
        self.banks: list[Bank] = []
        self._last: Bank | None = None

    def add(self, name: str, base: int, size: int, *, secure: bool) -> Bank:
        """Add a bank of `size` bytes at `base`, all zero; ValueError if it overlaps another."""
        for other in self.banks:
            if base < other.end and other.base < base + size:
                raise ValueError(f"bank {name} at {base:#x} overlaps {other}")
        bank = Bank(name, base, size, secure=secure)
        insort(self.banks, bank, key=_by_base)
        self._last = self._last or bank
        return bank

    def bank_at(self, pa: int) -> Bank | None:
        """The bank that holds the byte at `pa`."""
        last = self._last
        if last is not None and last.base <= pa < last.end:
            return last
        index = bisect_right(self.banks, pa, key=_by_base) - 1
        if index < 0 or pa >= self.banks[index].end:
            return None
        self._last = self.banks[index]
        return self._last

    def _bank(self, pa: int, *, secure: bool) -> Bank:
        bank = self.bank_at(pa)
        if bank is None:
            raise MemoryFault(pa, "no memory there")
        if bank.secure != secure:
            space = "Secure" if secure else "Non-secure"
            raise MemoryFault(pa, f"{space} access to bank {bank.name} of the other space")
        return bank

    def locate(self, pa: int, n: int, *, secure: bool) -> tuple[Bank, int]:
        """The one bank of the `n` bytes at `pa`, and their offset in it."""
        bank = self._bank(pa, secure=secure)
        if n < 0 or pa + n > bank.end:
            raise MemoryFault(pa, f"{n} bytes run over the end of bank {bank.name}")
        return bank, pa - bank.base

    def pieces(self, pa: int, n: int, *, secure: bool) -> list[Piece]:
        """The `n` bytes at `pa`, bank by bank."""
        found: list[Piece] = []
        at, end = pa, pa + n
        while at < end or not found:
            bank = self._bank(at, secure=secure)
            count = min(end, bank.end) - at
            after = at + count
            if count < 0 or (after < end and self.bank_at(after) is None):
                raise MemoryFault(pa, f"{n} bytes run over the end of bank {bank.name}")
            found.append(Piece(bank, at - bank.base, count))
            at = after
        return found

    def read(self, pa: int, n: int, *, secure: bool) -> bytes:
        """A copy of the `n` bytes at `pa`."""
        bank = self._bank(pa, secure=secure)
        start = pa - bank.base
        if 0 <= n <= bank.size - start:
            return bank.mapping[start : start + n]
        pieces = self.pieces(pa, n, secure=secure)
        return b"".join(bank.mapping[start : start + count] for bank, start, count in pieces)

    def write(self, pa: int, data: bytes | bytearray | memoryview, *, secure: bool) -> None:
        """Store `data`, a buffer of bytes, at `pa`."""
        n = len(data)
        bank = self._bank(pa, secure=secure)
        start = pa - bank.base
        if n <= bank.size - start:
            bank.mapping[start : start + n] = data
            return
        done = 0
        for bank, start, count in self.pieces(pa, n, secure=secure):
            bank.mapping[start : start + count] = data[done : done + count]
            done += count

    def read64(self, pa: int, *, secure: bool) -> int:
        """The little-endian 64-bit word at `pa`, aligned or not."""
        return int.from_bytes(self.read(pa, 8, secure=secure), "little")

    def write64(self, pa: int, value: int, *, secure: bool) -> None:
        """Store the little-endian 64-bit word at `pa`, aligned or not."""
        self.write(pa, value.to_bytes(8, "little"), secure=secure)

    def zero(self, pa: int, n: int, *, secure: bool) -> None:
        """Clear `n` bytes at `pa`; large ranges are given back to the host, if it can take them."""
        for bank, start, count in self.pieces(pa, n, secure=secure):
            self._clear(bank, start, count)

    def _clear(self, bank: Bank, start: int, n: int) -> None:
        end = start + n
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        last = end // mmap.PAGESIZE * mmap.PAGESIZE
        if last - first < _PUNCH_FROM or not _CAN_PUNCH:
            bank.mapping[start:end] = bytes(n)
            return
        bank.mapping[start:first] = bytes(first - start)
        bank.mapping.madvise(mmap.MADV_REMOVE, first, last - first)
        bank.mapping[last:end] = bytes(end - last)

    def close(self) -> None:
        """Give all banks back; the memory holds nothing afterwards. May be called twice."""
        for bank in self.banks:
            bank.close()
        self.banks.clear()
        self._last = None
