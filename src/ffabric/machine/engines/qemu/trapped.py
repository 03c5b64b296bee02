"""Devices that a confined guest in QEMU has: each access is an abort of stage 2, made on our bus.

Stage 2 has nothing at their addresses, so QEMU's own devices are nobody's. The syndrome of the
abort says what was accessed, if it was one load or store of one register without a write-back
(ESR_EL2.ISV; Arm DDI 0487, D17.2.37). Of any other access the guest takes the abort.

Where no device is, reads are zero and writes ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ffabric.abi.words import MASK64
from ffabric.machine.faults import DATA

if TYPE_CHECKING:
    from ffabric.machine.bus import Bus, Region
    from ffabric.machine.engines.qemu.mailbox import Block
    from ffabric.machine.faults import Fault

_VALID, _SIGNED, _WIDE, _WRITE = 1 << 24, 1 << 21, 1 << 15, 1 << 6
_SIZE_SHIFT, _REGISTER_SHIFT, _ZERO = 22, 16, 31
_WORD = 4


class Window(NamedTuple):
    """Where a guest has a device: from `ipa` to `end`, at `pa` on the bus."""

    ipa: int
    end: int
    pa: int
    writable: bool


class Devices:
    """The windows of one guest; ``secure``: whether Secure devices are there, before others."""

    def __init__(self, bus: Bus, windows: Sequence[Window], *, secure: bool) -> None:
        self._bus = bus
        self._windows = windows
        self._secure = secure

    def access(self, fault: Fault, block: Block) -> bool:
        """Do what a CPU has wanted that has made this ``fault``; False if it was no such access."""
        syndrome = fault.syndrome
        if fault.kind != DATA or not syndrome & _VALID:
            return False
        size = 1 << (syndrome >> _SIZE_SHIFT & 3)
        window = self._window(fault.ipa, size)
        if window is None or (fault.write and not window.writable):
            return False
        pa = window.pa + fault.ipa - window.ipa
        register = syndrome >> _REGISTER_SHIFT & 31
        if syndrome & _WRITE:
            value = 0 if register == _ZERO else block.register(register)
            self._write(pa, size, value & (1 << 8 * size) - 1)
        else:
            value = self._read(pa, size)
            if syndrome & _SIGNED and value >> 8 * size - 1:
                value |= -1 << 8 * size
            if register != _ZERO:
                block.set_register(register, value & (MASK64 if syndrome & _WIDE else 0xFFFF_FFFF))
        return True

    def _window(self, ipa: int, size: int) -> Window | None:
        for each in self._windows:
            if each.ipa <= ipa and ipa + size <= each.end:
                return each
        return None

    def _read(self, pa: int, size: int) -> int:
        if size > _WORD:
            return self._read(pa, _WORD) | self._read(pa + _WORD, _WORD) << 32
        region = self._find(pa)
        return 0 if region is None else region.device.read(pa - region.base, size)

    def _write(self, pa: int, size: int, value: int) -> None:
        if size > _WORD:
            self._write(pa, _WORD, value & 0xFFFF_FFFF)
            self._write(pa + _WORD, _WORD, value >> 32)
            return
        region = self._find(pa)
        if region is not None:
            region.device.write(pa - region.base, size, value)

    def _find(self, pa: int) -> Region | None:
        """The device there: of a Secure guest's own space, or else a Non-secure one."""
        found = self._bus.find(pa, secure=self._secure)
        if found is None and self._secure:
            found = self._bus.find(pa, secure=False)
        return found
