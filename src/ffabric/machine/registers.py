"""Register frames declared as tables.

A device writes one :class:`Register` or :class:`RegisterArray` a line and gets the accesses of
every width from them. The rules are those of Arm's memory-mapped devices: a register is little-
endian; what no register answers reads as zero and ignores writes (RAZ/WI); a 64-bit register may be
accessed in 32-bit halves, and a half that is written leaves the other as it reads; a narrow write
to a 32-bit register writes zeroes to the rest of it; a byte-wide element is accessed on its own.
An access that is not aligned to its size is RAZ/WI too: a PE faults it before it gets here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from operator import attrgetter
from typing import Any, ClassVar

Reader = Callable[[Any], int]
Writer = Callable[[Any, int], None]
ElementReader = Callable[[Any, int], int]
ElementWriter = Callable[[Any, int, int], None]


class RegisterArray:
    """``count`` registers of ``size`` bytes (1, 4 or 8) from byte ``offset`` on.

    ``read(device, index)`` gives an element, ``write(device, index, value)`` sets one; None reads
    as zero or ignores the write.
    """

    __slots__ = ("count", "name", "offset", "read", "size", "write")

    def __init__(
        self,
        name: str,
        offset: int,
        count: int,
        read: ElementReader | None = None,
        write: ElementWriter | None = None,
        *,
        size: int = 4,
    ) -> None:
        if offset % max(size, 4) or size not in {1, 4, 8} or count * size % 4:
            raise ValueError(f"{name}: {count} elements of {size} bytes at {offset:#x}")
        self.name = name
        self.offset = offset
        self.count = count
        self.size = size
        self.read = read or _read_as_zero
        self.write = write or _write_ignored


def _read_as_zero(_device: object, _index: int) -> int:
    return 0


def _write_ignored(_device: object, _index: int, _value: int) -> None:
    return


class Register(RegisterArray):
    """One register: ``read(device)`` or a constant, and ``write(device, value)``."""

    __slots__ = ()

    def __init__(
        self,
        name: str,
        offset: int,
        read: Reader | int | None = None,
        write: Writer | None = None,
        *,
        size: int = 4,
    ) -> None:
        super().__init__(name, offset, 1, _element_reader(read), _element_writer(write), size=size)


def _element_reader(read: Reader | int | None) -> ElementReader | None:
    if read is None:
        return None
    if isinstance(read, int):
        constant = read
        return lambda _device, _index: constant
    reader = read
    return lambda device, _index: reader(device)


def _element_writer(write: Writer | None) -> ElementWriter | None:
    if write is None:
        return None
    writer = write
    return lambda device, _index, value: writer(device, value)


def stored(name: str, offset: int, attribute: str, mask: int) -> Register:
    """A register that only keeps what is written to it: ``mask`` are its implemented bits."""

    def write(device: object, value: int) -> None:
        setattr(device, attribute, value & mask)

    def read(device: object) -> int:
        return int(getattr(device, attribute))

    return Register(name, offset, read, write)


def identification(prefix: str, offset: int, values: Iterable[int]) -> tuple[Register, ...]:
    """Read-only identification registers, one word each from ``offset`` on."""
    return tuple(
        Register(f"{prefix}_ID{index}", offset + 4 * index, value)
        for index, value in enumerate(values)
    )


class RegisterMap:
    """The registers of a frame, found by offset. Two at the same place are a ValueError."""

    __slots__ = ("_by_offset", "_ends", "_offsets", "registers")

    def __init__(self, *registers: RegisterArray) -> None:
        self.registers = registers
        self._by_offset = sorted(registers, key=attrgetter("offset"))
        self._offsets = [each.offset for each in self._by_offset]
        self._ends = [each.offset + each.count * each.size for each in self._by_offset]
        for (one, other), end in zip(pairwise(self._by_offset), self._ends, strict=False):
            if other.offset < end:
                raise ValueError(f"{other.name} and {one.name} overlap at {other.offset:#x}")

    def __iter__(self) -> Iterator[RegisterArray]:
        return iter(self.registers)

    def find(self, offset: int) -> RegisterArray | None:
        """The register or array that byte ``offset`` belongs to."""
        at = bisect_right(self._offsets, offset) - 1
        return self._by_offset[at] if at >= 0 and offset < self._ends[at] else None


class RegisterDevice:
    """A device whose frame is its ``REGISTERS``."""

    __slots__ = ()

    REGISTERS: ClassVar[RegisterMap]

    def read(self, offset: int, size: int) -> int:
        """Read ``size`` bytes (1, 2, 4 or 8) at ``offset``."""
        if offset % size:
            return 0
        register = self.REGISTERS.find(offset)
        if register is not None and register.size >= size:
            index, within = divmod(offset - register.offset, register.size)
            value = register.read(self, index)
            return value if size == register.size else value >> 8 * within & (1 << 8 * size) - 1
        step = 4 if register is None else register.size
        if step >= size:
            return 0
        return sum(self.read(offset + at, step) << 8 * at for at in range(0, size, step))

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the ``size`` bytes (1, 2, 4 or 8) of ``value`` at ``offset``."""
        if offset % size:
            return
        register = self.REGISTERS.find(offset)
        step = 4 if register is None else register.size
        if step < size:
            for at in range(0, size, step):
                self.write(offset + at, step, value >> 8 * at & (1 << 8 * step) - 1)
        elif register is not None:
            index, within = divmod(offset - register.offset, step)
            if size < step:
                value <<= 8 * within
                if step == 8:
                    value |= register.read(self, index) & ~((1 << 8 * size) - 1 << 8 * within)
            register.write(self, index, value)
