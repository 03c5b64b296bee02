"""Memory of a VM that is shared with OP-TEE, as the VM's driver has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.optee.message import Fmem, Type
from ffabric.abi.words import PAGE, pages_for

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess

NULL = Fmem(Type.FMEM_OUTPUT)
"""An output that refers to no memory: a TA tells its size."""


class Shm:
    """`size` bytes at `ipa` that OP-TEE knows by the handle `cookie`."""

    def __init__(self, memory: GuestAccess, ipa: int, size: int, cookie: int, *, own: bool) -> None:
        self.memory = memory
        self.ipa = ipa
        self.size = size
        self.cookie = cookie
        self.own = own
        """The driver allocated its pages."""

    @property
    def internal_offset(self) -> int:
        """Where it begins in its first page."""
        return self.ipa % PAGE

    @property
    def first_page(self) -> int:
        """The IPA of its first page."""
        return self.ipa - self.internal_offset

    @property
    def pages(self) -> int:
        """How many pages it touches."""
        return pages_for(self.internal_offset + self.size)

    def read(self, count: int | None = None, at: int = 0) -> bytes:
        """`count` bytes (None: all that are left) from `at`."""
        return self.memory.read(self.ipa + at, self.size - at if count is None else count)

    def write(self, data: bytes, at: int = 0) -> None:
        """Store `data` at `at`."""
        self.memory.write(self.ipa + at, data)

    def input(self, size: int | None = None, at: int = 0) -> Fmem:
        """A part of it as a parameter that a TA reads."""
        return self._part(Type.FMEM_INPUT, size, at)

    def output(self, size: int | None = None, at: int = 0) -> Fmem:
        """A part of it as a parameter that a TA writes."""
        return self._part(Type.FMEM_OUTPUT, size, at)

    def inout(self, size: int | None = None, at: int = 0) -> Fmem:
        """A part of it as a parameter that a TA reads and writes."""
        return self._part(Type.FMEM_INOUT, size, at)

    def _part(self, kind: Type, size: int | None, at: int) -> Fmem:
        size = self.size - at if size is None else size
        return Fmem(kind, at, self.internal_offset, size, self.cookie)
