"""Where Unicorn keeps what it does not expose, found by asking it questions with known answers.

Two short programs are run: the one word of uc_struct that holds how many instructions each had is
the instruction counter, the one place of a saved context that holds the syndrome of its SVC is the
exception. HCR_EL2.VI raises a virtual interrupt (Arm ARM DDI 0487, D19.2.48): of all the structures
that uc_struct points to, the one word that gains the bit for it is the processor's interrupt lines.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from ffabric.machine.engines.unicorn import native
from ffabric.machine.engines.unicorn.native import Emulator, Layout, UnicornError
from ffabric.machine.engines.unicorn.package import uc

_STRUCTURE = 4096  # bytes of uc_struct that are searched; it has more than twice as many
_PROCESSOR = 512  # and of what it points to
_ADDRESSES = range(0x1_0000, 1 << 56)  # in which a pointer may be
_PROBE_PC = 0x1000
_NOP = 0xD503201F
_SVC = 0xD4000001  # | immediate << 5
_EC_SVC64 = 0x15 << 26 | 1 << 25  # | immediate: the syndrome of an SVC
_HCR_EL2 = (3, 4, 1, 1, 0)
_HCR_VI = 1 << 7

_write = ctypes.CDLL(None).write
_write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_write.restype = ctypes.c_ssize_t


@functools.cache
def find() -> Layout:
    """Find the `Layout` of the Unicorn library at hand; UnicornError if it has another form."""
    probes = [_run(nops, limit) for nops, limit in ((3, 0x12345), (17, 0xABCDE))]
    counters = set.intersection(*(counters for counters, _ in probes))
    exceptions = set.intersection(*(exceptions for _, exceptions in probes))
    lines = set.intersection(_lines(), _lines())
    if len(counters) != 1 or len(exceptions) != 1 or not lines:
        found = f"{counters}, {exceptions}, {lines}"
        raise UnicornError(f"Unicorn's structures are not as expected: {found}")
    return Layout(counters.pop(), exceptions.pop(), *min(lines, key=_distance))


def _distance(place: tuple[int, int]) -> int:
    """How far the word is from where the pointer points.

    Structures may lie side by side, so that the pointer to the one before the processor's seems to
    lead to the word, too; the nearest is the processor's own.
    """
    return place[1]


@contextmanager
def _emulator() -> Iterator[Emulator]:
    emulator = Emulator("max", Layout(0, 0, 0, 0))
    try:
        yield emulator
    finally:
        emulator.close()


def _run(nops: int, limit: int) -> tuple[set[int], set[int]]:
    """Run `nops` NOPs and an SVC: where the instruction count, and where its syndrome is found."""
    code = struct.pack(f"<{nops + 1}I", *[_NOP] * nops, _SVC | nops << 5)
    count = struct.pack("@2N", nops + 1, limit)
    syndrome = struct.pack("<IIQI", _EC_SVC64 | nops, 0, 0, 1)
    counters: set[int] = set()
    exceptions: set[int] = set()
    with _emulator() as emulator:

        def look(_engine: int, _number: int, _user: int) -> None:
            structure = ctypes.string_at(emulator.address, _STRUCTURE)
            counters.update(_places(structure, count))
            exceptions.update(_places(emulator.context(), syndrome))
            emulator.stop()

        emulator.map_code(_PROBE_PC, code)
        emulator.hook(uc.UC_HOOK_INTR, native.InterruptHook(look))
        if error := emulator.run(_PROBE_PC, limit):
            raise UnicornError(f"a probe ends with error {error}")
        if emulator.lost:
            raise emulator.lost[0]
    return counters, exceptions


def _lines() -> set[tuple[int, int]]:
    """Where the word with the interrupt lines may be, as `Layout.processor` and `interrupts`."""
    virtual = native.INTERRUPT_LINES["vIRQ"]
    found = set()
    with _emulator() as emulator, _Reader() as reader:
        hcr = emulator.read_system(_HCR_EL2)
        structure = ctypes.string_at(emulator.address, _STRUCTURE)
        pointers = dict(enumerate(struct.unpack(f"@{_STRUCTURE // 8}Q", structure)))
        before = {n: reader.read(pointer, _PROCESSOR) for n, pointer in pointers.items()}
        emulator.write_system(_HCR_EL2, hcr | _HCR_VI)
        for n, pointer in pointers.items():
            was, now = before[n], reader.read(pointer, _PROCESSOR)
            if was is not None and now is not None:
                words = zip(_words(was), _words(now), strict=True)
                found |= {(8 * n, 4 * m) for m, (a, b) in enumerate(words) if (a ^ b) == virtual}
    return found


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"@{len(data) // 4}I", data)


class _Reader:
    """Reads memory that may not be there, which the kernel does not mind when it writes a pipe."""

    def __enter__(self) -> Self:
        self._out, self._in = os.pipe()
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._out)
        os.close(self._in)

    def read(self, address: int, size: int) -> bytes | None:
        """`size` bytes at a host address; None if there is no memory."""
        if address not in _ADDRESSES:
            return None
        written = _write(self._in, address, size)
        data = os.read(self._out, written) if written > 0 else b""
        return data if len(data) == size else None


def _places(haystack: bytes, needle: bytes) -> set[int]:
    return {n for n in range(0, len(haystack), 4) if haystack.startswith(needle, n)}
