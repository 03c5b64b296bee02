"""RX/TX pairs: where the buffers of an endpoint are, and who owns RX (DEN0077A 1.2, section 7.2).

RX is owned by its producer (the partition manager) until a message is written, then by its consumer
until it calls FFA_RX_RELEASE or FFA_MSG_WAIT. TX is read once, as a snapshot, at the moment of a
call.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ffabric.machine.memory import Piece


class Buffer:
    """A buffer of an endpoint as its partition manager maps it: runs of physical memory.

    One run, as nearly always, is slices of its bank's mapping, which cost no view.
    """

    __slots__ = ("_end", "_mapping", "_start", "_views", "ipa", "pieces", "size")

    def __init__(self, ipa: int, pieces: list[Piece]) -> None:
        self.ipa = ipa
        self.pieces = pieces
        self.size = sum(each.size for each in pieces)
        bank, self._start, size = pieces[0]
        self._end = min(self._start + size, bank.size)
        self._mapping = bank.mapping
        self._views: list[memoryview[int]] = []
        if len(pieces) > 1:
            self._views = [each.bank.data[each.offset :][: each.size] for each in pieces]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """This buffer in the copies of its banks."""
        return type(self)(self.ipa, deepcopy(self.pieces, memo))

    def snapshot(self, length: int, offset: int = 0) -> bytes:
        """``length`` bytes from ``offset``, each read once; fewer where the buffer ends."""
        if self._views:
            return b"".join(self._views)[offset : offset + length]
        start = self._start + offset
        end = start + length
        if end > self._end:  # noqa: PLR1730 - min() costs as much as the slice
            end = self._end
        return self._mapping[start:end]

    def write(self, data: bytes, offset: int = 0) -> None:
        """Write ``data`` at ``offset``; it fits (the caller has checked)."""
        if not self._views:
            start = self._start + offset
            end = start + len(data)
            if end <= self._end:
                self._mapping[start:end] = data
            else:
                self._mapping[start : self._end] = data[: self._end - start]
            return
        for view in self._views:
            room = len(view) - offset
            if len(data) <= room:
                view[offset : offset + len(data)] = data
                return
            if room > 0:
                view[offset:] = data[:room]
                data = data[room:]
            offset = max(0, -room)

    def fill(self, data: bytes) -> None:
        """Write ``data``, and zeros behind it, so that nobody reads an earlier message there."""
        self.write(data.ljust(self.size, b"\0"))


class Mailbox:
    """The RX/TX pair of an endpoint; `full` says that the consumer owns RX."""

    __slots__ = ("foreign", "full", "rx", "tx")

    def __init__(self, tx: Buffer, rx: Buffer) -> None:
        self.tx = tx
        self.rx = rx
        self.full = False
        self.foreign = False
        """The other manager owns RX (a VM's, between hypervisor and SPMC)."""
