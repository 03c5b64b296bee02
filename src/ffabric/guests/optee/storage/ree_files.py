"""Files of the normal world, which tee-supplicant keeps for OP-TEE (RPC FS, optee_rpc_cmd.h).

Who keeps them may lose them, change them or answer anything: what comes back is bytes, no more of
them than a file may have, and is judged by who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ffabric.abi.optee.message import Fmem, Param, Rmem, Type, Value
from ffabric.abi.optee.rpc import Command, Fs
from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from ffabric.guests.optee.memory import Region
    from ffabric.guests.optee.threads import Thread

CHUNK: Final = 32 << 10
"""Bytes that are read or written at a time."""
MAX_FILE: Final = 8 << 20
_KNOWN: Final = (Result.ITEM_NOT_FOUND, Result.STORAGE_NO_SPACE, Result.OUT_OF_MEMORY)


class ReeFiles:
    """The files, as ``thread`` reaches them.

    Every call raises TeeError: STORAGE_NOT_AVAILABLE if nobody keeps files, STORAGE_NO_SPACE,
    OUT_OF_MEMORY.
    """

    def __init__(self, thread: Thread) -> None:
        self.thread = thread

    async def get(self, name: str) -> bytes | None:
        """The content of a file; None if there is none.

        Raises TeeError (CORRUPT_OBJECT) for a file that is larger than any that was written.
        """
        try:
            number = await self._opened(Fs.OPEN, name)
        except TeeError as error:
            if error.result == Result.ITEM_NOT_FOUND:
                return None
            raise
        content = bytearray()
        while data := await self._read(number, len(content)):
            content += data
            if len(content) > MAX_FILE:
                raise TeeError(Result.CORRUPT_OBJECT, Origin.TEE)
            if len(data) < CHUNK:
                break
        await self._close(number)
        return bytes(content)

    async def put(self, name: str, content: bytes) -> None:
        """Make ``content`` a file's, of which nothing else is left."""
        number = await self._opened(Fs.CREATE, name)
        for at in range(0, len(content), CHUNK):
            part = content[at : at + CHUNK]
            memory = await self._memory(part)
            params: list[Param] = [
                Value(Type.VALUE_INPUT, Fs.WRITE, number, at),
                self.thread.part(Type.FMEM_INPUT, memory, len(part)),
            ]
            await self._ask(params)
        await self._close(number)

    async def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        try:
            await self._ask([Value(Type.VALUE_INPUT, Fs.REMOVE), await self._name(name)])
        except TeeError as error:
            if error.result != Result.ITEM_NOT_FOUND:
                raise

    async def _opened(self, how: Fs, name: str) -> int:
        number = Value(Type.VALUE_OUTPUT)
        asked: list[Param] = [Value(Type.VALUE_INPUT, how), await self._name(name), number]
        answer = (await self._ask(asked))[2]
        assert isinstance(answer, Value)  # an answer has the types of what was asked
        return answer.a

    async def _read(self, number: int, at: int) -> bytes:
        memory = await self._memory()
        params: list[Param] = [
            Value(Type.VALUE_INPUT, Fs.READ, number, at),
            self.thread.part(Type.FMEM_OUTPUT, memory, CHUNK),
        ]
        answer = (await self._ask(params))[1]
        size = answer.size if isinstance(answer, Fmem | Rmem) else 0
        return memory.read(self.thread.ffa.memory, 0, min(size, CHUNK))

    async def _close(self, number: int) -> None:
        await self._ask([Value(Type.VALUE_INPUT, Fs.CLOSE, number)])

    async def _name(self, name: str) -> Param:
        data = f"/{name}\0".encode()
        return self.thread.part(Type.FMEM_INPUT, await self._memory(data), len(data))

    async def _memory(self, content: bytes = b"") -> Region:
        """Memory that both worlds have, with ``content`` at its beginning."""
        memory = await self.thread.payload(CHUNK)
        memory.write(self.thread.ffa.memory, 0, content)
        return memory

    async def _ask(self, params: Sequence[Param]) -> list[Param]:
        try:
            answer = await self.thread.ask(Command.FS, params)
        except TeeError as error:
            known = error.result in _KNOWN
            result = error.result if known else Result.STORAGE_NOT_AVAILABLE
            raise TeeError(result, Origin.TEE) from error
        if [each.attributes for each in answer] != [each.attributes for each in params]:
            raise TeeError(Result.STORAGE_NOT_AVAILABLE, Origin.TEE)
        return answer
