"""The twins of xtest's TAs "concurrent" and "concurrent_large": cases 1005 and 1013.

Several sessions work at the same time; each says how many it has found at work in the memory that
all of them share. What preempts the AArch64 TA in the middle of its work is an interrupt of the
normal world; its twin makes way for one now and then.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Final

from ffabric.abi.optee.message import Type
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.tas.ta import Memref, Params, TaSession, TrustedApp

_WORD: Final = 4
_SLICES: Final = 8
"""Times that a call makes way for the normal world."""


class Command(IntEnum):
    """memref[0] counts calls at work; value[1].a is how often, b becomes the count found."""

    BUSY_LOOP = 0
    SHA256 = 1


class Concurrent(TrustedApp):
    """Works while others do."""

    uuid = "e13010e0-2ae1-11e5-896a-0002a5d5c51b"

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Do one of `Command`."""
        if command == Command.BUSY_LOOP:
            params.expect(Type.FMEM_INOUT, Type.VALUE_INOUT)
        elif command == Command.SHA256:
            params.expect(Type.FMEM_INOUT, Type.VALUE_INOUT, Type.FMEM_INPUT, Type.FMEM_OUTPUT)
        else:
            raise TeeError(Result.BAD_PARAMETERS)
        active, rounds = params.memref(0), params.value(1).a
        if active.size < _WORD:
            raise TeeError(Result.BAD_PARAMETERS)
        params.value(1).b = _count(active, 1)
        digest = b""
        for done in range(_SLICES):
            if command == Command.SHA256:
                for _ in range(rounds * done // _SLICES, rounds * (done + 1) // _SLICES):
                    digest = hashlib.sha256(params.memref(2).read()).digest()
            await session.thread.interrupted()
        _count(active, -1)
        if command == Command.SHA256:
            params.memref(3).write(digest)


class ConcurrentLarge(Concurrent):
    """Like the other one; the AArch64 TA takes more memory."""

    uuid = "5ce0c432-0ab0-40e5-a056-782ca0e6aba2"


def _count(memory: Memref, change: int) -> int:
    """Change the word that all sessions share: its new value. Nobody else runs meanwhile."""
    size = memory.size
    count = int.from_bytes(memory.read()[:_WORD], "little") + change & 0xFFFF_FFFF
    memory.write(count.to_bytes(_WORD, "little"))
    memory.size = size
    return count
