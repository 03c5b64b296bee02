"""Registers that read as written: a device of a board that nobody models.

Firmware that programs a power controller, a memory controller or a board's system registers needs
no more than that they are there. A byte that was never written reads as 0.
"""

from __future__ import annotations

from ffabric.machine.devices.description import DeviceDescription, Frame, Wiring


class Stub:
    """Bytes, by offset; nothing happens when they are written."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written: dict[int, int] = {}

    def read(self, offset: int, size: int) -> int:
        """Read `size` bytes at `offset`, little-endian."""
        written = self.written
        return sum(written.get(offset + n, 0) << 8 * n for n in range(size))

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the `size` bytes of `value` at `offset`."""
        for n in range(size):
            self.written[offset + n] = value >> 8 * n & 0xFF


def _create(_wiring: Wiring) -> tuple[Stub, ...]:
    return (Stub(),)


DESCRIPTION = DeviceDescription(
    type="stub",
    title="Registers that read as written",
    compatible=(),
    frames=(Frame("registers", 0x1000),),
    interrupts=(),
    create=_create,
)
