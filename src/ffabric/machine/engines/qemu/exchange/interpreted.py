"""The exchange with a CPU in Python: its exit is seen and read, its answer written.

That is all that a call costs which the firmware answers at once, besides the firmware's own work.
`exchange.c` does the same, method by method: what is changed here is changed there, and the tests
of the mailbox and of the runner execute over both.
"""

from __future__ import annotations

import struct

from ffabric.machine.context import REGISTERS, check_registers

WORD = 8
REQUEST_AT, ANSWER_AT, RESUME_AT, ASLEEP_AT, X_AT, KIND_AT, TICKS_AT = 0, 1, 7, 10, 16, 35, 37
"""Words of a block, of which `ffabric.machine.engines.qemu.mailbox` has the others."""
NONE = -1
"""No kind of an exit."""
_STORE = struct.Struct(f"{REGISTERS}Q").pack_into


class Exchange:
    """With the CPU whose block is ``words``, a writable view of 64-bit words."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._bytes = words.cast("B")
        self._x = words[X_AT : X_AT + REGISTERS]
        self.ticks = 0
        """How long the call took that it had made before the exit that was taken last, in ticks."""

    def take(self, x: list[int], looks: int) -> int:
        """Take an exit that has no answer yet, if there is one within so many looks: its kind.

        ``x`` gets x0 to x17. `NONE` if there is no such exit.
        """
        words = self._words
        for _ in range(looks):
            if words[REQUEST_AT] != words[ANSWER_AT]:
                x[:] = self._x.tolist()
                self.ticks = words[TICKS_AT]
                return words[KIND_AT]
        return NONE

    def answer(self, x: list[int], resume: int) -> bool:
        """Let its call return with ``x`` in x0 to x17, or go on at the address ``resume``.

        Whether it sleeps, and has to be woken. ValueError if ``x`` has what no register holds: then
        it goes on waiting.
        """
        words = self._words
        try:
            _STORE(self._bytes, X_AT * WORD, *x)
        except struct.error:
            check_registers(x)
            raise
        words[RESUME_AT] = resume
        words[ANSWER_AT] = words[REQUEST_AT]
        return bool(words[ASLEEP_AT])
