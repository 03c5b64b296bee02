"""A driver side as Linux's device side knows it: what was agreed on, and the areas it shares."""

from __future__ import annotations

from ffabric.lab.virtio_msg.linux import wire
from ffabric.lab.virtio_msg.linux.fifo import Ring
from ffabric.lab.virtio_msg.linux.wire import LinuxError


class Area:
    """Memory of the driver side."""

    def __init__(self, handle: int, ranges: tuple[tuple[int, int], ...]) -> None:
        self.handle, self.ranges = handle, ranges

    def ipa(self, offset: int, size: int) -> int | None:
        """Where so many bytes are; None if they are not in one piece of it."""
        for ipa, pages in self.ranges:
            if offset + size <= pages * 4096:
                return ipa + offset
            offset -= pages * 4096
            if offset < 0:
                return None
        return None


class Fifo:
    """The FIFO of a driver side: its memory, its rings, and the notification that tells it."""

    def __init__(self, handle: int, both: tuple[Ring, Ring], notification: int) -> None:
        self.handle, self.notification = handle, notification
        self.incoming, self.outgoing = both


class Peer:
    """What is known of one driver side."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.agreed = self.configured = False
        self.areas: dict[int, Area] = {}
        self.fifo: Fifo | None = None

    def place(self, address: int, size: int) -> int | None:
        """The address of so many bytes at a DMA address; None if they are in no area."""
        area = self.areas.get(address >> wire.AREA_SHIFT)
        return None if area is None else area.ipa(address & (1 << wire.AREA_SHIFT) - 1, size)

    def reach(self, address: int, size: int) -> int:
        """The address of so many bytes at a DMA address. LinuxError if they are in no area."""
        ipa = self.place(address, size)
        if ipa is None:
            raise LinuxError(wire.EINVAL, f"{size} bytes at {address:#x} are in no area")
        return ipa
