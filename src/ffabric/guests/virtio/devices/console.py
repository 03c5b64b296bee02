"""A console with one port (virtio 1.3, 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ffabric.abi.virtio import console as abi
from ffabric.abi.virtio import ids
from ffabric.guests.virtio.device import Device

MAX_PRINTED: Final = 1 << 20
"""Bytes of a buffer that are printed; the rest of a longer one is not."""


class ConsoleDevice(Device):
    """A terminal of `cols` by `rows`. ``on_output`` gets what the driver prints."""

    id = ids.CONSOLE
    features = abi.F_SIZE | abi.F_EMERG_WRITE
    queue_sizes: Sequence[int] = (16, 16)
    writable: Sequence[tuple[int, int, int]] = abi.WRITABLE

    def __init__(
        self, on_output: Callable[[bytes], object] | None = None, *, cols: int = 80, rows: int = 25
    ) -> None:
        super().__init__()
        self.output: bytearray = bytearray()
        """All that the driver has printed."""
        self.cols: int = cols
        self.rows: int = rows
        self._on_output = on_output
        self._typed = b""

    @property
    def config(self) -> bytes:
        """The size."""
        return abi.CONFIG.at().pack(self.cols, self.rows, 1, 0)

    def write_config(self, offset: int, data: bytes) -> None:
        """An emergency write prints a character."""
        if offset == abi.EMERG_WR_OFFSET:
            self._print(data[:1])

    def resize(self, cols: int, rows: int) -> None:
        """Another size; the driver is told."""
        self.cols, self.rows = cols, rows
        if self.host is not None:
            self.host.config_changed(0, 4)

    def type(self, data: bytes) -> None:
        """Type something: the driver gets it when it has room."""
        self._typed += data
        self.kick(abi.RECEIVE)

    def process(self, index: int) -> None:
        """Print what was transmitted, or fill what can be received into."""
        queue = self.queues[index]
        if queue is None:
            return
        if index == abi.TRANSMIT:
            for chain in queue.chains():
                self._print(queue.read(chain, most=MAX_PRINTED))
                queue.push(chain.head, 0)
        else:
            while self._typed and (chain_ := queue.pop()) is not None:
                written = queue.write(chain_, self._typed)
                self._typed = self._typed[written:]
                queue.push(chain_.head, written)
                if not written:
                    break
        self.signal(index)

    def _print(self, data: bytes) -> None:
        self.output += data
        if self._on_output is not None:
            self._on_output(data)
