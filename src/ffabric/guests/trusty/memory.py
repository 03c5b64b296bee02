"""Memory that goes with messages of Trusty's IPC, at both ends.

A client shares or lends memory by FF-A and sends its handle with a message. The service has it
until it closes it; then the device gives it back and says so (RELEASE), and the client takes it
back. If the client goes first, its services lose what they have of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.tipc import Shared
from ffabric.abi.words import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.guests.ffa import Ffa


class Memory:
    """Memory that a client has sent, as its service sees it until it is closed: `size` bytes."""

    def __init__(
        self,
        ffa: Ffa,
        shared: Shared,
        ranges: tuple[tuple[int, int], ...],
        on_close: Callable[[Memory], object],
    ) -> None:
        self.id: int = shared.id
        self.size: int = shared.size
        self.open: bool = True
        self._memory = ffa.memory
        self._ranges = ranges
        self._on_close = on_close

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Read ``size`` bytes, or all to the end. ValueError if that is out of range."""
        count = self.size - offset if size is None else size
        return b"".join(self._memory.read(ipa, part) for ipa, part in self._parts(offset, count))

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes. ValueError if they are out of range."""
        for ipa, part in self._parts(offset, len(data)):
            self._memory.write(ipa, data[:part])
            data = data[part:]

    def close(self) -> None:
        """Stop using the memory; the client gets it back."""
        if self.open:
            self.open = False
            self._on_close(self)

    def _parts(self, offset: int, size: int) -> list[tuple[int, int]]:
        if not self.open or offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"{size} bytes at {offset} of {self}")
        parts = []
        for ipa, pages in self._ranges:
            length = pages * PAGE
            if offset < length and size:
                part = min(size, length - offset)
                parts.append((ipa + offset, part))
                size -= part
                offset = 0
            else:
                offset -= min(offset, length)
        return parts

    def __repr__(self) -> str:
        state = "" if self.open else "closed "
        return f"<{state}Memory {self.id:#x} of {self.size} bytes>"


class Buffer:
    """Memory of a client that goes with messages; `released` when the other side has closed it.

    It is made by `TipcDriver.share`. Lent memory is not the client's until it is back.
    """

    def __init__(self, ffa: Ffa, ipa: int, pages: int, shared: Shared) -> None:
        self.shared = shared
        self.sent: bool = False
        self.released: bool = False
        self.back: bool = False
        """The client has reclaimed it."""
        self._ffa = ffa
        self._ipa, self._pages = ipa, pages

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Read bytes."""
        count = self.shared.size - offset if size is None else size
        return self._ffa.memory.read(self._ipa + offset, count)

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes."""
        self._ffa.memory.write(self._ipa + offset, data)

    async def take_back(self) -> None:
        """Reclaim it. Raises the FfaError of a reclaim while the other side has it."""
        if not self.back:
            await self._ffa.reclaim(self.shared.id)
            self.back = True

    async def free(self) -> None:
        """Reclaim the memory, and free its pages."""
        await self.take_back()
        self._ffa.ram.free(self._ipa, self._pages)

    def __repr__(self) -> str:
        state = "back" if self.back else "released" if self.released else "shared"
        return f"<Buffer {self.shared.id:#x} of {self.shared.size} bytes, {state}>"
