"""One Replay Protected Memory Block for all VMs: each has a key, a counter and blocks of its own.

The card has one key, which the hypervisor has programmed, and one counter. What a VM's OP-TEE sees
is a partition that has its own: its frames are judged by the VM's key and counter, and what they
write is written to the card with the hypervisor's. Nothing of a VM's part can be read or written
with another VM's frames, and no VM can forge what the card believes.

    record | blocks of one VM | record | blocks of another | ...

A record says whose part follows (a digest of the VM's name), its key and its counter. A part is the
VM's that has its name, also after the next boot of hypervisor or VM.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from ffabric.abi import rpmb
from ffabric.abi.rpmb import BLOCK, KEY, Frame, Result, Type
from ffabric.machine.devices.rpmb import RpmbPartition

_RECORD: Final = struct.Struct(f"<32sB{KEY}sI")
_MOST_BLOCKS: Final = 16
"""Blocks that are written to the card at a time."""


class RpmbFailed(Exception):  # noqa: N818 - what the card has done
    """The card does not do what it must: it is another one, or it is worn out."""


class SharedRpmb:
    """Parts of ``size`` blocks of a card, on which ``key`` (32 bytes) is the hypervisor's."""

    def __init__(self, card: RpmbPartition, key: bytes, size: int = rpmb.UNIT) -> None:
        self.size = size
        self._card = card
        self._key = key
        self._parts: dict[bytes, Part] = {}
        self._used: set[int] = set()
        card.request(rpmb.build([Frame(Type.PROGRAM_KEY, mac=key)]), 1)
        self._counter = self._ask(Frame(Type.READ_COUNTER), 1)[0].counter
        for number in range(self.room):
            owner, has_key, own_key, count = _RECORD.unpack_from(self.read(self._at(number), 1))
            if any(owner):
                own = own_key if has_key else b""
                self._parts[owner] = Part(self, self._at(number), owner, own, count)
                self._used.add(number)

    @property
    def room(self) -> int:
        """How many VMs there are parts for."""
        return self._card.blocks // (self.size + 1)

    def part_of(self, vm: str) -> Part | None:
        """The part of a VM, by its name; None if there is none left for it."""
        owner = hashlib.sha256(vm.encode()).digest()
        part = self._parts.get(owner)
        if part is None:
            free = [number for number in range(self.room) if number not in self._used]
            if not free:
                return None
            self._used.add(free[0])
            part = self._parts[owner] = Part(self, self._at(free[0]), owner, b"", 0)
            part.record()
        return part

    def _at(self, number: int) -> int:
        return number * (self.size + 1)

    # The card.

    def read(self, address: int, count: int) -> bytes:
        """Blocks of the card. Raises RpmbFailed if they are not authentic."""
        frames = self._ask(Frame(Type.READ, address=address, count=count), count)
        return b"".join(frame.data for frame in frames)

    def write(self, address: int, data: bytes) -> None:
        """Write blocks to the card. Raises RpmbFailed if it does not."""
        step = _MOST_BLOCKS * BLOCK
        for at in range(0, len(data), step):
            blocks = [data[to : to + BLOCK] for to in range(at, min(at + step, len(data)), BLOCK)]
            first = address + at // BLOCK
            frames = [
                Frame(Type.WRITE, block, address=first, count=len(blocks), counter=self._counter)
                for block in blocks
            ]
            answer = rpmb.parse(self._card.request(rpmb.build(rpmb.signed(self._key, frames)), 1))
            if answer[0].result != Result.OK or not rpmb.is_signed(self._key, answer):
                raise RpmbFailed(f"a write is answered with {answer[0].result}")
            self._counter = answer[0].counter

    def _ask(self, request: Frame, answers: int) -> list[Frame]:
        frames = rpmb.parse(self._card.request(rpmb.build([request]), answers))
        if frames[-1].result != Result.OK or not rpmb.is_signed(self._key, frames):
            raise RpmbFailed(f"request {request.type} is answered with {frames[-1].result}")
        return frames


class Part(RpmbPartition):
    """The partition that a VM's OP-TEE sees."""

    def __init__(self, shared: SharedRpmb, at: int, owner: bytes, key: bytes, count: int) -> None:
        super().__init__(shared.size, owner[:16])
        self._shared = shared
        self._at = at
        self._owner = owner
        self._programmed = key
        self._counter = count

    def record(self) -> None:
        """Let the card know key and counter."""
        programmed = bool(self._programmed)
        data = _RECORD.pack(self._owner, programmed, self._programmed, self._counter)
        self._shared.write(self._at, data.ljust(BLOCK, b"\0"))

    def _set_key(self, key: bytes) -> None:
        self._programmed = key
        self.record()

    def _set_count(self, count: int) -> None:
        self._counter = count
        self.record()

    def _load(self, address: int, count: int) -> bytes:
        return self._shared.read(self._at + 1 + address, count)

    def _store(self, address: int, data: bytes) -> None:
        self._shared.write(self._at + 1 + address, data)
