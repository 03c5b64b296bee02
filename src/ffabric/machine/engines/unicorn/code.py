"""The pages that translated code came from.

Unicorn drops translated code when its own processor stores to it. It knows nothing of the stores of
others, and executes IC, by which software makes up for that, as a no-operation. To drop all code at
each IC would be right and slow: OP-TEE makes one whenever it enters a thread. So what a page held
when its code was translated is kept, and an IC drops the code only if a page holds something else.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.machine.engines.unicorn import native

if TYPE_CHECKING:
    from ffabric.machine.memory import PhysicalMemory

_IN_PAGE = PAGE - 1
_SEVERAL = b"several"
"""A page of which blocks were translated when it held this, and others when it held that."""


class TranslatedCode:
    """What the translated code of one emulator was made from."""

    def __init__(self, emulator: native.Emulator, memory: PhysicalMemory) -> None:
        self._emulator = emulator
        self._memory = memory
        self._pages: dict[int, bytes] = {}
        emulator.hook(native.HOOK_TRANSLATED, native.TranslatedHook(self._translated))

    def _translated(
        self, _engine: int, block: ctypes._Pointer[native.Block], _previous: object, _user: int
    ) -> None:
        """Unicorn has translated a block."""
        start, size = block.contents.pc, block.contents.size
        for va in {start & ~_IN_PAGE, start + max(size, 1) - 1 & ~_IN_PAGE}:
            pa = self._emulator.fetched_from(va)
            if pa is not None:
                content = self._content(pa)
                if self._pages.setdefault(pa, content) != content:
                    self._pages[pa] = _SEVERAL

    def _content(self, pa: int) -> bytes:
        bank = self._memory.bank_at(pa)
        if bank is None:
            return b""
        at = pa - bank.base
        return bank.mapping[at : at + PAGE]

    def drop_if_changed(self) -> None:
        """Drop all translated code unless it is that of what memory holds now."""
        content = self._content
        if any(content(pa) != was for pa, was in self._pages.items()):
            self._pages.clear()
            self._emulator.flush_code()
