"""A counter that nobody turns back: what shows that the files of the storage are too old.

OP-TEE asks the normal world for a Replay Protected Memory Block (RPMB) and keeps the generation of
the newest directory in its first block, authenticated by a key that is made of the hardware key and
of the card's id. Who has the files only, or passes the frames on, cannot make such a frame.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from ffabric.abi import rpmb
from ffabric.abi.errors import DecodeError
from ffabric.abi.optee.message import Fmem, Rmem, Type, Value
from ffabric.abi.optee.rpc import Command, ShmType
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.rpmb import BLOCK, FRAME, Frame
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from ffabric.guests.optee.memory import Region
    from ffabric.guests.optee.threads import Thread

_CID: Final = 16
_NONCE: Final = 16
_MAGIC: Final = b"ffabric1"
_ABSENT: Final = (
    Result.NOT_SUPPORTED,
    Result.NOT_IMPLEMENTED,
    Result.ITEM_NOT_FOUND,
    Result.COMMUNICATION,
    Result.BAD_PARAMETERS,
    Result.GENERIC,
)


class Counter:
    """The counter, if the normal world has such a device; ``huk`` is the hardware key."""

    def __init__(self, huk: bytes) -> None:
        self._huk = huk
        self._key: bytes | None = None
        """The key of the device; empty: there is none; None: nobody has asked."""
        self._kind: int = ShmType.KERNEL
        self._asked = 0

    async def read(self, thread: Thread) -> int:
        """What it says; 0 if there is no device. Raises TeeError if the device is not authentic."""
        if not await self._is_there(thread):
            return 0
        block = (await self._request(thread, Frame(rpmb.Type.READ, count=1)))[0].data
        return int.from_bytes(block[8:16], "little") if block.startswith(_MAGIC) else 0

    async def advance(self, thread: Thread, to: int) -> None:
        """Let it say ``to`` from now on. Raises TeeError."""
        if not await self._is_there(thread):
            return
        assert self._key
        data = (_MAGIC + to.to_bytes(8, "little")).ljust(BLOCK, b"\0")
        counter = (await self._request(thread, Frame(rpmb.Type.READ_COUNTER)))[0].counter
        frames = rpmb.signed(self._key, [Frame(rpmb.Type.WRITE, data, counter=counter, count=1)])
        answer = (await self._frames(thread, frames))[0]
        if answer.result or not rpmb.is_signed(self._key, [answer]):
            raise TeeError(Result.SECURITY, Origin.TEE)

    async def _is_there(self, thread: Thread) -> bool:
        """Whether there is a device with our key, which is programmed if it has none."""
        if self._key is None:
            self._key = await self._find(thread)
        return bool(self._key)

    async def _find(self, thread: Thread) -> bytes:
        try:
            (told,) = await thread.ask(Command.RPMB_PROBE_RESET, [Value(Type.VALUE_OUTPUT)])
            self._kind = told.a if isinstance(told, Value) else ShmType.KERNEL
            async with self._memory(thread) as memory:
                cid = thread.part(Type.FMEM_OUTPUT, memory, _CID)
                await thread.ask(Command.RPMB_PROBE_NEXT, [Value(Type.VALUE_OUTPUT), cid])
                key = hmac.digest(
                    self._huk, b"RPMB" + memory.read(thread.ffa.memory, 0, _CID), hashlib.sha256
                )
        except TeeError as error:
            if error.result not in _ABSENT:
                raise
            return b""
        (answer,) = await self._frames(thread, [Frame(rpmb.Type.READ_COUNTER)])
        if answer.result == rpmb.Result.NO_KEY:
            await self._frames(thread, [Frame(rpmb.Type.PROGRAM_KEY, mac=key)])
        elif answer.result or not rpmb.is_signed(key, [answer]):
            return b""  # somebody else's
        return key

    @asynccontextmanager
    async def _memory(self, thread: Thread) -> AsyncIterator[Region]:
        """Memory of the kind that whoever serves these RPCs wants."""
        region = await thread.allocate(FRAME, self._kind)
        try:
            yield region
        finally:
            await thread.free(region, self._kind)

    async def _request(self, thread: Thread, request: Frame) -> list[Frame]:
        """A request that is answered with our key over a nonce that is new."""
        assert self._key
        self._asked += 1
        fresh = b"nonce" + self._asked.to_bytes(8, "little")
        request.nonce = hmac.digest(self._key, fresh, hashlib.sha256)[:_NONCE]
        frames = await self._frames(thread, [request])
        good = not frames[-1].result and frames[-1].nonce == request.nonce
        if not good or not rpmb.is_signed(self._key, frames):
            raise TeeError(Result.SECURITY, Origin.TEE)
        return frames

    async def _frames(self, thread: Thread, frames: list[Frame]) -> list[Frame]:
        """A frame to the device, and one from it. Raises TeeError."""
        size, there = FRAME * len(frames), thread.ffa.memory
        async with self._memory(thread) as memory:
            memory.write(there, 0, rpmb.build(frames))
            request = thread.part(Type.FMEM_INPUT, memory, size)
            answer = thread.part(Type.FMEM_OUTPUT, memory, size)
            got = (await thread.ask(Command.RPMB_FRAMES, [request, answer]))[1]
            told = got.size if isinstance(got, Fmem | Rmem) else 0
            data = memory.read(there, 0, min(told, size))
        try:
            return rpmb.parse(data)
        except DecodeError:
            raise TeeError(Result.SECURITY, Origin.TEE) from None
