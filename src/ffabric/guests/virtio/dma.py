"""Memory as devices and drivers see it: by DMA addresses, which are judged before they are used."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from msgspec import Struct


class QueueError(Exception):
    """What a driver has set up, or says in a virtqueue, is not what the specification says."""


class BadAddress(QueueError):  # noqa: N818 - what a bus error is to a device
    """`size` bytes at a DMA address that the device may not reach, or not write."""

    def __init__(self, address: int, size: int, reason: str) -> None:
        super().__init__(f"{size} bytes at {address:#x}: {reason}")
        self.address = address
        self.size = size
        self.reason = reason


class NoRoom(Exception):  # noqa: N818 - an answer
    """No more memory can be given to the device before something has come back."""


class Memory(Protocol):
    """A driver's own memory, by IPA. What has 16 bits is accessed at once, if it is aligned."""

    def read16(self, ipa: int) -> int:
        """A word."""

    def write16(self, ipa: int, value: int) -> None:
        """Store a word."""

    def read(self, ipa: int, n: int) -> bytes:
        """A copy of `n` bytes."""

    def write(self, ipa: int, data: bytes) -> None:
        """Store bytes."""


class Dma(Protocol):
    """What a device can reach. Each access raises BadAddress for what it cannot."""

    def read16(self, address: int) -> int:
        """A word, aligned: by one access."""

    def write16(self, address: int, value: int) -> None:
        """Store a word, aligned: by one access."""

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Judge an access without making it."""

    def read(self, address: int, size: int) -> bytes:
        """A copy of `size` bytes."""

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""


class Coherent(Struct, frozen=True):
    """Memory that driver and device use together for long, by its IPA and by its DMA address."""

    ipa: int
    address: int
    size: int


class Mapped(Struct, frozen=True):
    """A buffer of the driver at `ipa` that the device may use at `address` until it is unmapped.

    `key` is the mapping's own.
    """

    ipa: int
    address: int
    size: int
    from_device: bool
    key: int


class Tally(Struct):
    """What a mapping has cost so far."""

    pages: int = 0
    """Pages that were shared, each as often as it was."""
    copied: int = 0
    """Bytes that were copied."""
    reserved: int = 0
    """Bytes that are shared for as long as the bus is open."""
    touched: int = 0
    """Bytes of those that were ever in use."""


class Mapping(Protocol):
    """How a driver gives memory to its device. All raise what the bus beneath raises.

    What gives memory raises NoRoom if there is none for now.
    """

    shares: int
    """How often memory was shared."""
    tally: Tally

    def open(self) -> Awaitable[None]:
        """Share what is shared from the beginning."""

    def close(self) -> None:
        """The bus is closed, nothing is shared any more: give all pages back."""

    def allocate(self, size: int) -> Awaitable[Coherent]:
        """Memory for a virtqueue, zeroed."""

    def free(self, coherent: Coherent) -> Awaitable[None]:
        """Take it back."""

    def map(self, ipa: int, size: int, *, from_device: bool) -> Awaitable[Mapped]:
        """Let the device read a buffer, or write it."""

    def unmap(self, mapped: Mapped) -> Awaitable[None]:
        """End that; what the device has written is at the buffer's IPA afterwards."""

    def abandon(self, given: Coherent | Mapped) -> Awaitable[None]:
        """The device may use it for ever, as it does not say that it has done: it is out of use."""
