"""A small DMA engine: the SMMUv3TestEngine of Arm's FVP, as far as it copies memory.

It has two pages of 64 KiB with a frame of 128 bytes for each thread of work: the *privileged* one
says which stream its transactions are of, the *user* one what to do. A write of ENGINE_MEMCPY to
CMD copies [BEGIN, END] to UDATA[0] at once; CMD then reads ENGINE_HALTED, or ENGINE_ERROR if a
transaction was refused, with its address in UDATA[2] (registers: Arm's FF-A compliance suite,
`platform/driver/inc/pal_smmuv3_testengine.h`).
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.words import MASK32
from ffabric.machine.devices.description import DeviceDescription, DmaPort, Frame, Wiring
from ffabric.machine.devices.stub import Stub
from ffabric.machine.translation.smmu import DmaFault

FRAME: Final = 0x80
FRAME_SIZE: Final = 0x10000
MOST: Final = 1 << 24
"""Bytes that one command copies."""

PCTRL, STREAM_ID = 0x0, 0x8
PCTRL_NON_SECURE = 1
CMD, BEGIN, END, STRIDE, UDATA = 0x0, 0x28, 0x30, 0x38, 0x40

MISCONFIGURED: Final = MASK32 - 1
ERROR: Final = MASK32
HALTED: Final = 1
MEMCPY: Final = 2


class UserPage(Stub):
    """The user frames: registers read as written, but for CMD."""

    __slots__ = ("_dma", "_privileged")

    def __init__(self, privileged: Stub, dma: DmaPort | None) -> None:
        super().__init__()
        self._privileged = privileged
        self._dma = dma

    def read(self, offset: int, size: int) -> int:
        """Read `size` bytes at `offset`; a frame that did nothing yet is halted."""
        found = super().read(offset, size)
        return HALTED if offset % FRAME == CMD and not found else found

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the `size` bytes of `value` at `offset`: a command is executed."""
        super().write(offset, size, value)
        if offset % FRAME == CMD:
            super().write(offset, 4, self._execute(offset, value & MASK32))

    def _execute(self, frame: int, command: int) -> int:
        if command != MEMCPY or self._dma is None:
            return HALTED if command in {0, HALTED} else MISCONFIGURED
        read = super().read
        begin, end, target = (read(frame + at, 8) for at in (BEGIN, END, UDATA))
        size = end + 1 - begin
        if not read(frame + STRIDE, 8):
            return self._failed(frame, begin)
        if not 0 < size <= MOST:
            return MISCONFIGURED
        secure = not self._privileged.read(frame + PCTRL, 4) & PCTRL_NON_SECURE
        stream = self._privileged.read(frame + STREAM_ID, 4)
        try:
            self._dma.copy(stream, begin, target, size, secure=secure)
        except DmaFault as fault:
            return self._failed(frame, fault.address)
        return HALTED

    def _failed(self, frame: int, address: int) -> int:
        super().write(frame + UDATA + 16, 8, address)
        return ERROR


def _create(wiring: Wiring) -> tuple[Stub, ...]:
    privileged = Stub()
    return UserPage(privileged, wiring.dma), privileged


DESCRIPTION = DeviceDescription(
    type="smmuv3_test_engine",
    title="DMA engine (SMMUv3TestEngine)",
    compatible=(),
    frames=(Frame("user", FRAME_SIZE), Frame("privileged", FRAME_SIZE)),
    interrupts=(),
    create=_create,
)
