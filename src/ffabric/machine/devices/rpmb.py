"""A Replay Protected Memory Block: memory that only who has its key can write, each time once.

It is a partition of an eMMC device. Its key is programmed once and never read; a write is carried
out if its code is that of the key and if it names the write counter, which then goes up; so no
write can be made by others, nor again. A read is answered with a code over its request's nonce.
"""

from __future__ import annotations

from msgspec.structs import replace

from ffabric.abi import rpmb
from ffabric.abi.errors import DecodeError
from ffabric.abi.rpmb import BLOCK, Frame, Result, Type

LAST_COUNT = 0xFFFF_FFFF


class RpmbPartition:
    """A partition of ``blocks`` blocks of 256 bytes, of the card ``cid`` (16 bytes).

    What it keeps is reached with `_key`, `_set_key`, `_count`, `_set_count`, `_load` and `_store`.
    """

    def __init__(self, blocks: int, cid: bytes) -> None:
        self.blocks: int = blocks
        self.cid: bytes = cid
        self._data = bytearray()
        self._programmed = b""
        self._counter = 0

    def request(self, data: bytes, answers: int) -> bytes:
        """Answer frames with so many frames, as a driver does that asks for the result of a write.

        What are no frames is answered with a general failure.
        """
        try:
            frames = rpmb.parse(data)
        except DecodeError:
            return rpmb.build([Frame(Type.RESULT << 8, result=Result.GENERAL)])
        work = {
            Type.PROGRAM_KEY: self._program,
            Type.READ_COUNTER: self._read_counter,
            Type.WRITE: self._write,
        }.get(frames[0].type)  # type: ignore[call-overload]
        if work is not None:
            return rpmb.build([work(frames)])
        if frames[0].type == Type.READ:
            return rpmb.build(self._read(frames[0], answers))
        return rpmb.build([Frame((frames[0].type & 0xFF) << 8, result=Result.GENERAL)])

    def _program(self, frames: list[Frame]) -> Frame:
        answer = Frame(Type.PROGRAM_KEY << 8)
        if self._key():
            answer.result = Result.GENERAL
        else:
            self._set_key(frames[0].mac)
        return answer

    def _read_counter(self, frames: list[Frame]) -> Frame:
        answer = Frame(Type.READ_COUNTER << 8, nonce=frames[0].nonce, counter=self._count())
        return self._answered([answer])[0]

    def _write(self, frames: list[Frame]) -> Frame:
        last = frames[-1]
        answer = Frame(Type.WRITE << 8, address=last.address, counter=self._count())
        answer.result = self._judge_write(frames)
        if answer.result == Result.OK:
            self._store(last.address, b"".join(frame.data for frame in frames))
            self._set_count(self._count() + 1)
            answer.counter = self._count()
        return self._answered([answer])[0]

    def _judge_write(self, frames: list[Frame]) -> Result:
        last = frames[-1]
        if not self._key():
            return Result.NO_KEY
        if self._count() == LAST_COUNT:
            return Result.WRITE
        if not all(
            each.type == Type.WRITE and (each.address, each.count) == (last.address, len(frames))
            for each in frames
        ):
            return Result.GENERAL
        if last.address + len(frames) > self.blocks:
            return Result.ADDRESS
        if not rpmb.is_signed(self._key(), frames):
            return Result.AUTHENTICATION
        return Result.OK if last.counter == self._count() else Result.COUNTER

    def _read(self, request: Frame, answers: int) -> list[Frame]:
        if not 0 < answers <= self.blocks - request.address:
            return [Frame(Type.READ << 8, result=Result.ADDRESS, nonce=request.nonce)]
        data = self._load(request.address, answers)
        head = Frame(Type.READ << 8, b"", request.nonce, 0, request.address, answers)
        blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
        return self._answered([replace(head, data=block) for block in blocks])

    def _answered(self, frames: list[Frame]) -> list[Frame]:
        """Answers, with their code; without a key they say so."""
        key = self._key()
        if not key:
            for frame in frames:
                frame.result = Result.NO_KEY
            return frames
        return rpmb.signed(key, frames)

    # What it keeps.

    def _key(self) -> bytes:
        """The key; empty as long as there is none."""
        return self._programmed

    def _set_key(self, key: bytes) -> None:
        self._programmed = key

    def _count(self) -> int:
        return self._counter

    def _set_count(self, count: int) -> None:
        self._counter = count

    def _load(self, address: int, count: int) -> bytes:
        """Blocks from an address on."""
        at, end = address * BLOCK, (address + count) * BLOCK
        return bytes(self._data[at:end]).ljust(end - at, b"\0")

    def _store(self, address: int, data: bytes) -> None:
        at = address * BLOCK
        self._data.extend(bytes(max(0, at + len(data) - len(self._data))))
        self._data[at : at + len(data)] = data
